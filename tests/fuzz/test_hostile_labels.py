"""Label files that are damaged, or made to do harm: each is read, or refused in a sentence that names it.

`make test` reads 700 data sets with such a file, `make test-fuzz` 14,000.
"""

from __future__ import annotations

import importlib
import re
import resource
import shutil
import time

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from data.base.errors import UserError
from data.contract import IGNORE_LABEL
from data.decoding.images import BadImageError
from data.inspection.recognize import recognize
from tests.fuzz.cases import CASES, check_message, fuzz, mutated
from tests.fuzz.hostile import wrong
from tests.fuzz.label_files import WRITE
from tests.fuzz.scenes import draw_scene

pytestmark = pytest.mark.one_line

# Of masks enough damage is done elsewhere.
FORMATS = ["coco", "yolo", "labelme", "cvat", "label-studio", "coco-panoptic", "voc"]
MOST_SECONDS, MOST_KILOBYTES, MOST_LETTERS = 5, 500_000, 800
# What Python says of its own objects, and of mistakes that are not the user's.
NO_WORDS = re.compile(r"\b0x[0-9a-f]{6}|<class|Traceback|NoneType|list index|not subscriptable")


@pytest.fixture(scope="module", autouse=True)
def imported():
    """TensorFlow decodes images; its import takes time and memory, too."""
    importlib.import_module("tensorflow")


@pytest.mark.parametrize("name", FORMATS)
@hypothesis.settings(fuzz(CASES // 10, shrinks=False))
@hypothesis.given(st.integers(0, 2**32 - 1), st.data())
def test_wrong_label_files_are_read_or_refused(tmp_path_factory, name, seed, data):
    rng, folder = np.random.default_rng(seed), tmp_path_factory.mktemp("data")
    try:
        written = WRITE[name](draw_scene(rng, least=6), rng, folder)
        files = [path for path in written.labels if not path.endswith(".png")] or written.labels
        path = files[rng.integers(len(files))]
        content = (folder / path).read_bytes()
        if not content:
            return
        is_damaged = path.endswith(".png") or rng.random() < 0.2
        (folder / path).write_bytes(data.draw(mutated([content])) if is_damaged else wrong(path, content, rng))
        start, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        read(folder, written.labels)
        assert time.process_time() - start < MOST_SECONDS
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MOST_KILOBYTES
    finally:
        shutil.rmtree(folder)


def read(folder, files):
    """Reads all of a data set, one of whose label files is wrong."""
    try:
        recognized = recognize(str(folder))
        classes = len(recognized.label_map)
    except UserError as error:
        check_words(error, folder, folder, *files, "class", "would be empty")
        return
    for entry in recognized.listing.set_aside:
        check_words(f"{entry.input}: {entry.reason}", folder, folder, *files)
    for entry in recognized.listing.ignored:
        check_words(f"{entry.input}: {entry.reason}", folder)
    for source in recognized.listing.sources:
        try:
            found = recognized.reader.read(source).class_ids
        except BadImageError as error:
            check_words(f"{source.image}: {error}", folder, *files, "its mask", "the mask")
            continue
        assert found[found != IGNORE_LABEL].max(initial=0) < classes


def check_words(text, folder, *parts):
    check_message(text, *parts)
    # Where the data set lies differs from machine to machine, and a message names it once for each image.
    words = str(text).replace(f"{folder}/", "")
    assert len(words) < MOST_LETTERS or "is not recognized" in words, text
    assert not NO_WORDS.search(words), text
