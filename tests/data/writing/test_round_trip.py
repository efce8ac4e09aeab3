"""What is written is read again as the same masks, by segpipe's own readers."""

import numpy as np
import pytest
from PIL import Image

from data.annotations.classes import is_background
from data.formats import FORMATS
from data.writing import WRITERS
from tests.data.writing.made_up import NAMES, accept, farthest, masks, write

MASKS = masks()
BOTH = sorted(set(FORMATS) & set(WRITERS))


def _photos(folder):
    for name, mask in MASKS.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        # No two are alike.
        pixels = np.random.default_rng(len(name) + mask.size).integers(0, 256, [*mask.shape, 3]).astype(np.uint8)
        Image.fromarray(pixels).save(folder / name)


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("tolerance", [0.0, 1.0])
def test_readers_find_the_masks_that_were_written(tmp_path, name, tolerance):
    _photos(tmp_path / "data" / "photos")
    (folder,) = write(tmp_path / "data" / "out", [name], MASKS, tolerance)
    source = tmp_path / "data"
    if name == "yolo":  # The images belong in a folder of its own.
        (source / "photos").rename(folder / "images")
        (folder / "images").rename(folder / "train")
        (folder / "images").mkdir()
        (folder / "train").rename(folder / "images" / "train")
        source = folder
    elif name == "label-studio":
        accept(folder)
    reader = FORMATS[name](folder=str(source))
    listing = reader.listing()
    assert not listing.set_aside
    label_map = reader.label_map
    ids = {label.name: label.id for label in label_map.classes}
    assert is_background(label_map.names[0])
    assert set(ids) == set(NAMES)
    for source in listing.sources:
        labeled = reader.read(source)
        (mask,) = [mask for image, mask in MASKS.items() if source.image.endswith(image)]
        expected = np.array([ids[name] for name in NAMES])[mask]
        assert farthest(expected, labeled.class_ids) <= tolerance
    assert len(listing.sources) == len(MASKS)
