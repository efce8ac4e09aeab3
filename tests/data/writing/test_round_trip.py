"""What is written is read again as the same masks, by segpipe's own readers."""

import numpy as np
import pytest

from data.annotations.classes import is_background
from data.formats import FORMATS
from data.label_map import LabelMap
from data.writing import AnnotatedImage
from data.writing.folders import annotation_folders
from data.writing.objects import FoundObjects
from tests.data.writing.made_up import BOTH, LABELS, NAMES, as_data_set, farthest, masks, write

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


@pytest.mark.parametrize("name", [name for name in BOTH if name != "label-studio"])
@pytest.mark.parametrize("tolerance", [0.0, 1.0])
def test_objects_in_parts_are_read_as_one(tmp_path, name, tolerance):
    mask = np.zeros((24, 40), np.uint8)
    mask[:, 30:34], mask[:, 36:] = 2, 2
    numbers = np.zeros(mask.shape, np.int32)
    numbers[4:10, 2:8], numbers[4:10, 12:18], numbers[14:20, 4:12] = 1, 1, 1
    numbers[10, 8] = 1  # It touches the first part at a corner.
    numbers[4:10, 18:24] = 2
    mask[numbers > 0] = 1
    kinds = {"cat": "thing", "big dog": "stuff"}
    labels = LabelMap.model_validate([{**label, "kind": kinds.get(label["name"])} for label in LABELS.model_dump()])
    objects = FoundObjects.measured(numbers, np.array([1, 1]), np.ones(2))
    data = tmp_path / "data"
    (data / "out").mkdir(parents=True)
    with annotation_folders(str(data / "out"), [name], labels, tolerance) as folders:
        path = str(data / "photos" / "a.png")
        folders.add(AnnotatedImage("a.png", "a", path, *mask.shape, folders.regions(mask, objects)))
    folder = data / "out" / f"annotations_{name}"
    reader = FORMATS[name](folder=str(as_data_set(name, folder, {"a.png": mask})))
    (source,) = reader.listing().sources
    labeled = reader.read(source)
    of_cats = labeled.instances[labeled.class_ids == reader.label_map.names.index("cat")]
    assert sorted(np.unique(of_cats, return_counts=True)[1].tolist()) == [36, 36 + 36 + 48 + 1]
    of_dogs = labeled.instances[labeled.class_ids == reader.label_map.names.index("big dog")]
    assert of_dogs.any() == (name != "coco")  # Only there it can be said that a class has no objects.
