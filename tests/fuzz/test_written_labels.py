"""What is written for labeling tools is read again as the same masks, or ones within the tolerance.

`make test` writes and reads 100 data sets, `make test-fuzz` 2,000.
"""

from __future__ import annotations

import shutil

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from data.annotations.classes import is_background
from data.inspection.recognize import recognize
from data.label_map import LabelMap
from tests.data.writing.made_up import BOTH, as_data_set, farthest, smooth, write
from tests.fuzz.cases import CASES, fuzz
from tests.fuzz.data_sets import NAMES, scene
from tests.fuzz.scenes import CLASSES

pytestmark = pytest.mark.one_line


@pytest.mark.parametrize("name", BOTH)
@hypothesis.settings(fuzz(CASES // 50, shrinks=False))
@hypothesis.given(st.integers(0, 2**32 - 1))
def test_what_is_written_is_read(tmp_path_factory, name, seed):
    rng, folder = np.random.default_rng(seed), tmp_path_factory.mktemp("data")
    tolerance = float(rng.choice([0, 0, 0.5, 1, 3]))
    names = ["background", *rng.permutation(CLASSES)[: rng.integers(1, 6)].tolist()]
    masks = {}
    for stem in rng.permutation(NAMES)[: rng.integers(3, 6)]:
        mask = scene(rng, list(range(len(names))), ignored=False)
        if rng.random() < 0.3:
            mask = smooth(rng.integers(2**32), *rng.integers(2, 80, 2), classes=len(names))
        masks[f"{stem}{rng.choice(['.png', '.jpg', '.TIF'])}"] = mask.astype(np.uint8)
    masks["first.png"] = np.eye(9, dtype=np.uint8)  # Something is annotated.
    try:
        (written,) = write(folder / "out", [name], masks, tolerance, LabelMap.from_names(names))
        recognized = recognize(str(as_data_set(name, written, masks)))
        check(recognized, name, names, masks, tolerance)
    finally:
        shutil.rmtree(folder)


def check(recognized, name, names, masks, tolerance):
    assert recognized.format == name
    assert not recognized.listing.set_aside
    ids = {label.name: label.id for label in recognized.label_map.classes}
    assert is_background(recognized.label_map.names[0])
    known = {name for name in names if name in ids}
    assert ids.keys() == known
    table = np.array([ids.get(name, 255) for name in names])
    found = {source.image: recognized.reader.read(source).class_ids for source in recognized.listing.sources}
    assert len(found) == len(masks)
    for image, mask in masks.items():
        (ids_of_image,) = [one for path, one in found.items() if path.endswith(f"/{image}")]
        assert farthest(table[mask], ids_of_image) <= tolerance, image
