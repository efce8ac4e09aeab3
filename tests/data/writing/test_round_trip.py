"""What is written is read again as the same masks, by segpipe's own readers."""

import numpy as np
import pytest

from data.annotations.classes import is_background
from data.formats import FORMATS
from tests.data.writing.made_up import BOTH, NAMES, as_data_set, farthest, masks, write

MASKS = masks()


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("tolerance", [0.0, 1.0])
def test_readers_find_the_masks_that_were_written(tmp_path, name, tolerance):
    (folder,) = write(tmp_path / "data" / "out", [name], MASKS, tolerance)
    reader = FORMATS[name](folder=str(as_data_set(name, folder, MASKS)))
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
