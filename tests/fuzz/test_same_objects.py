"""However a tool stores annotated objects, and however its files are laid out: all pixels are read as they were meant.

`make test` reads 400 data sets, `make test-fuzz` 8,000.
"""

from __future__ import annotations

import shutil

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from data.annotations.classes import is_background
from data.base.errors import UserError
from data.consistency import check_consistency
from data.contract import CROWD, IGNORE_LABEL
from data.decoding.notes import Notes, collecting
from data.inspection.recognize import recognize
from tests.fuzz.cases import CASES, fuzz
from tests.fuzz.label_files import BACKGROUND, WRITE
from tests.fuzz.scenes import draw_scene

pytestmark = pytest.mark.one_line


@pytest.mark.parametrize("name", list(WRITE))
@hypothesis.settings(fuzz(CASES // 25, shrinks=False))
@hypothesis.given(st.integers(0, 2**32 - 1))
def test_what_was_drawn_is_read(tmp_path_factory, name, seed):
    rng, folder = np.random.default_rng(seed), tmp_path_factory.mktemp("data")
    try:
        written = WRITE[name](draw_scene(rng), rng, folder)
        try:
            recognized = recognize(str(folder))
        except UserError as error:
            if "the hashes of their names are alike" in str(error):
                return  # So that no shares fill all splits.
            raise
        check(recognized, written)
    finally:
        shutil.rmtree(folder)


def check(recognized, written):
    assert recognized.format == written.format
    reader, listing, notes = recognized.reader, recognized.listing, Notes()
    assert listing.set_aside == []
    start = len(recognized.folder) + 1
    sources = {source.image[start:]: source for source in listing.sources}
    assert sources.keys() == written.ids.keys(), listing.ignored
    assert {path: sources[path].split for path in written.splits} == written.splits
    names = [label.name for label in reader.label_map.classes]
    assert {name for name in names if not is_background(name)} == written.known
    ids = [names.index(name) if name in names else IGNORE_LABEL for name in written.names]
    assert (ids[0] == IGNORE_LABEL) == (written.names[0] != BACKGROUND)
    table = np.array([*ids, *[IGNORE_LABEL] * (256 - len(ids))])
    for path, meant in written.ids.items():
        with collecting(sources[path].image) as noted:
            labeled = reader.read(sources[path])
        notes.add(noted)
        np.testing.assert_array_equal(labeled.class_ids, table[meant], err_msg=path)
        if labeled.instances is not None and ids[0] == 0:
            np.testing.assert_array_equal(labeled.instances > 0, meant > 0)
            assert not ((labeled.instances == CROWD) & (meant != IGNORE_LABEL)).any()
    check_consistency(notes)
