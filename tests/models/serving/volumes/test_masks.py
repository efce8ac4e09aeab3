"""Masks of people are found by the names of volumes."""

import os

import numpy as np
import pytest
from PIL import Image

from data.base.errors import UserError
from data.label_map import LabelMap
from models.serving.inputs import find_inputs
from models.serving.volumes.masks import find_masks, values_of_masks
from tests.data.formats.volume.volumes import write_nifti, write_series, write_stack

VOLUME = np.zeros((3, 3, 3), np.uint8)


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def write(*paths):
    for path in paths:
        if path.endswith(".tif"):
            write_stack(path, VOLUME)
        elif path.endswith(".nii.gz"):
            write_nifti(os.path.join(".", path), VOLUME)
        else:
            write_series(path, VOLUME.astype(np.uint16))


def found(masks, *inputs):
    return find_masks(find_inputs(list(inputs), "out").files, masks)


def test_masks_are_called_as_their_volumes_whatever_they_are(tmp_path):
    write("scans/a.nii.gz", "scans/sub/b", "scans/c.tif", "masks/a.nii.gz", "masks/sub/b.nii.gz", "masks/c.tif")
    pairs = found("masks", "scans")
    assert pairs.paths == {
        "scans/a.nii.gz": "masks/a.nii.gz",
        "scans/sub/b": "masks/sub/b.nii.gz",
        "scans/c.tif": "masks/c.tif",
    }
    assert pairs.remarks == []


@pytest.mark.parametrize("side_by_side", [False, True])
def test_a_common_suffix_is_found(side_by_side):
    masks = "scans" if side_by_side else "masks"
    write("scans/a.nii.gz", "scans/b.nii.gz", f"{masks}/a_seg.nii.gz", f"{masks}/b_seg.nii.gz")
    pairs = found(masks, "scans/a.nii.gz", "scans/b.nii.gz")
    assert pairs.paths == {f"scans/{name}.nii.gz": f"{masks}/{name}_seg.nii.gz" for name in "ab"}
    assert pairs.remarks == [f"Masks in {masks}: the masks' names end in _seg"]


def test_a_volume_without_a_mask_is_named():
    write("scans/a.nii.gz", "scans/b.nii.gz", "masks/a.nii.gz")
    pairs = found("masks", "scans")
    assert list(pairs.paths) == ["scans/a.nii.gz"]
    assert pairs.remarks == ["scans/b.nii.gz: it has no mask in masks, and is not measured"]


def test_the_mask_of_a_single_volume_may_have_any_name():
    write("a.nii.gz", "b.nii.gz", "drawn.nii.gz")
    assert found("drawn.nii.gz", "a.nii.gz").paths == {"a.nii.gz": "drawn.nii.gz"}
    with pytest.raises(UserError, match="is one mask, and there are 2 volumes; give the folder with their masks"):
        found("drawn.nii.gz", "a.nii.gz", "b.nii.gz")


def test_what_cannot_be_measured_at_all_is_said_at_once():
    write("scans/a.nii.gz", "masks/z.nii.gz")
    with pytest.raises(UserError, match="masks has no mask of any volume: there are z, and the volumes are a; "):
        found("masks", "scans")
    with pytest.raises(UserError, match="nowhere: there is neither a file nor a folder of this name"):
        found("nowhere", "scans")
    Image.new("L", (4, 4)).save("photo.png")
    with pytest.raises(UserError, match="--masks is for volumes, and none of the inputs is one"):
        found("masks", "photo.png")


def test_other_values_need_a_file_with_the_same_classes(tmp_path):
    label_map = LabelMap.from_names(["nothing", "tumor"])
    assert values_of_masks(label_map, "") == {0: 0, 1: 1}
    path = tmp_path / "labels.yaml"
    path.write_text("- {id: 0, name: nothing}\n- {id: 1, name: tumor, value: [1, 4]}\n- {ignore: [7]}\n")
    assert values_of_masks(label_map, str(path)) == {0: 0, 1: 1, 4: 1, 7: 255}
    path.write_text("- {id: 0, name: nothing}\n- {id: 1, name: edema}\n")
    with pytest.raises(UserError, match="has the classes nothing, edema, and the model has nothing, tumor"):
        values_of_masks(label_map, str(path))
