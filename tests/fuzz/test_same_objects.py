"""However a tool stores annotated objects, and however its files are laid out: all pixels are read as they were meant.

`make test` reads 400 data sets, `make test-fuzz` 8,000.
"""

from __future__ import annotations

import shutil

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from PIL import Image

from data.annotations.classes import is_background
from data.base.errors import UserError
from data.consistency import check_consistency
from data.contract import CROWD, IGNORE_LABEL
from data.decoding.notes import Notes, collecting
from data.formats.mask_folder import MaskFolderReader
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


def stored_numbers(rng, numbers):
    """A mask of objects as a file, by its ending: numbers, or colors of which black is none."""
    count = int(numbers.max()) + 1
    way = rng.choice(["8 bits", "16 bits", "32 bits", "colors", "palette", "black elsewhere", "transparent"])
    colors = np.concatenate([[0], 1 + rng.choice(2**24 - 1, count - 1, replace=False)])
    channels = np.stack([colors >> 16, colors >> 8 & 255, colors & 255], axis=1).astype(np.uint8)
    if way == "8 bits":
        numbers = np.concatenate([[0], 1 + rng.permutation(254)[: count - 1]])[numbers]
        return Image.fromarray(numbers.astype(np.uint8)), rng.choice(["png", "bmp", "gif", "tif"])
    if way == "16 bits":
        numbers = np.concatenate([[0], 1 + rng.choice(65533, count - 1, replace=False)])[numbers]
        return Image.fromarray(numbers.astype(np.uint16)), rng.choice(["png", "tif"])
    if way == "32 bits":
        numbers = np.concatenate([[0], 2**16 + rng.choice(2**16, count - 1, replace=False)])[numbers]
        return Image.fromarray(numbers.astype(np.int32)), "tif"
    if way == "colors":
        return Image.fromarray(channels[numbers]), rng.choice(["png", "bmp", "tif"])
    if way == "transparent":
        channels[0] = rng.integers(256, size=3)
        opacity = np.where(numbers > 0, 255, 0).astype(np.uint8)
        return Image.fromarray(np.dstack([channels[numbers], opacity])), "png"
    places = np.arange(count) if way == "palette" else rng.permutation(count)
    if way == "palette" and rng.random() < 0.5:
        channels[0] = 255, 255, 255  # As other numbers with colors: no pixel is black.
    image = Image.fromarray(places[numbers].astype(np.uint8))
    image.putpalette(channels[np.argsort(places)].ravel().tolist())
    return image, rng.choice(["png", "gif", "tif"])


@hypothesis.settings(fuzz(CASES // 5))
@hypothesis.given(st.integers(0, 2**32 - 1))
def test_objects_are_told_apart_however_their_mask_is_stored(tmp_path_factory, seed):
    rng, folder = np.random.default_rng(seed), tmp_path_factory.mktemp("data")
    try:
        height, width = rng.integers(4, 20, 2)
        numbers = np.repeat(rng.integers(0, 12, [height, (width + 1) // 2]), 2, axis=1)[:, :width]
        numbers[0, 0] = 0
        numbers = np.unique(numbers, return_inverse=True)[1].reshape(height, width)
        class_ids = np.concatenate([[0], rng.integers(1, 4, numbers.max())])[numbers].astype(np.uint8)
        mask, ending = stored_numbers(rng, numbers)
        files = {"images/a.png": Image.new("RGB", (width, height)), "masks/a.png": Image.fromarray(class_ids)}
        for name, image in {**files, f"instances/a.{ending}": mask}.items():
            (folder / name).parent.mkdir()
            image.save(folder / name)
        reader = MaskFolderReader(folder=str(folder), objects="instances", classes=("none", "a", "b", "c"))
        (source,) = reader.listing().sources
        labeled = reader.read(source)
        np.testing.assert_array_equal(labeled.class_ids, class_ids)
        np.testing.assert_array_equal(labeled.instances > 0, numbers > 0)
        pairs = {*zip(labeled.instances.ravel().tolist(), numbers.ravel().tolist(), strict=True)}
        assert len(pairs) == numbers.max() + 1 == len(np.unique(labeled.instances))
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
