"""Predicted volumes are measured by masks of people: by the definitions, in millimeters, wherever the masks lie."""

import json
import sys

import numpy as np
import pytest

from data.base.errors import UserError
from data.decoding.errors import BadImageError
from data.formats.volume.files import open_volume
from models.serving.inputs import find_inputs
from models.serving.predict import predict
from models.serving.volumes import measures
from models.serving.volumes.masks import find_masks
from models.serving.volumes.measures import DICE, DISTANCE, IOU, means, measure, measure_file
from models.serving.volumes.prediction import SegmentedVolume
from tests.data.formats.volume.volumes import AFFINE, write_nifti, write_segmentation, write_series, write_stack

NAMES = ("nothing", "cat", "dog")
VALUES = {0: 0, 1: 1, 2: 2}
SIDE = 8


def box(*start, size=(6, 7, 8), shape=(20, 22, 24)):
    """A cat, in a volume of nothing."""
    class_ids = np.zeros(shape, np.uint8)
    class_ids[tuple(slice(first, first + length) for first, length in zip(start, size, strict=True))] = 1
    return class_ids


@pytest.mark.parametrize("axis", range(3))
def test_boxes_that_are_shifted_are_as_far_apart_in_millimeters(axis):
    spacing = np.array([0.5, 1.25, 3.0])
    shift = np.zeros(3, int)
    shift[axis] = 3
    here, there = box(5, 5, 5), box(*(5 + shift))
    # Of a side that moved, all points are as far away as it moved, and its area is more than a twentieth.
    for pair in ((here, there), (there, here)):
        assert measure(*pair, NAMES, spacing)["cat"][DISTANCE] == pytest.approx(3 * spacing[axis])
    assert measure(here, here, NAMES, spacing)["cat"] == {DICE: 1, IOU: 1, DISTANCE: 0}


def test_few_voxels_far_away_do_not_count_but_more_do():
    label = box(2, 2, 2, size=(14, 14, 14))
    few, more = label.copy(), label.copy()
    few[18, 18, 18] = 1
    more[16:20, 2:16, 2:16] = 1
    assert measure(label, few, NAMES, (1, 1, 1))["cat"][DISTANCE] == 0
    assert measure(label, more, NAMES, (1, 1, 1))["cat"][DISTANCE] == 4


def test_dice_and_iou_are_those_of_the_definition_over_all_voxels_that_count():
    rng = np.random.default_rng(0)
    label, prediction = (rng.integers(0, 3, (5, 6, 7)).astype(np.uint8) for _ in range(2))
    label[rng.random(label.shape) < 0.2] = 255
    found = measure(label, prediction, NAMES, None)
    counted = label != 255
    for class_id, name in enumerate(NAMES):
        mine, its = (label == class_id) & counted, (prediction == class_id) & counted
        assert found[name] == {
            DICE: pytest.approx(2 * (mine & its).sum() / (mine.sum() + its.sum()), abs=1e-6),
            IOU: pytest.approx((mine & its).sum() / (mine | its).sum(), abs=1e-6),
        }


def test_ignored_voxels_move_no_surface():
    label, prediction = box(5, 5, 5), box(5, 5, 5)
    prediction[11:14, 5:12, 5:13] = 1
    assert measure(label, prediction, NAMES, (1, 1, 1))["cat"][DISTANCE] == 3
    label[11:14] = 255
    assert measure(label, prediction, NAMES, (1, 1, 1))["cat"] == {DICE: 1, IOU: 1, DISTANCE: 0}


def test_a_class_that_is_missing_has_no_distance():
    label, prediction = box(5, 5, 5), box(5, 5, 5)
    prediction[prediction == 1] = 2
    found = measure(label, prediction, ("nothing", "cat", "dog", "cow"), (1, 1, 1))
    assert found["nothing"] == {DICE: 1, IOU: 1, DISTANCE: 0}
    assert found["cat"] == found["dog"] == {DICE: 0, IOU: 0, DISTANCE: None}
    assert found["cow"] == {DICE: None, IOU: None, DISTANCE: None}


def test_a_box_that_would_take_too_much_memory_has_no_distance(monkeypatch):
    monkeypatch.setattr(measures, "MOST_VOXELS", 500)
    found = measure(box(5, 5, 5), box(5, 5, 5), NAMES, (1, 1, 1))
    assert (found["nothing"][DISTANCE], found["cat"][DISTANCE]) == (None, 0)


def test_means_are_over_the_volumes_that_have_a_value():
    found = means([{"cat": {DICE: 0.5, DISTANCE: None}}, {"cat": {DICE: 1.0, DISTANCE: 2.0}}, {"cat": {DICE: None}}])
    assert found == {"cat": {DICE: (0.75, 2), DISTANCE: (2.0, 1)}}


def measured(volume, class_ids, mask, no_data=None):
    return measure_file(SegmentedVolume(class_ids, 1.0, open_volume(volume).grid, no_data), mask, NAMES, VALUES)


def test_a_mask_in_another_orientation_gives_the_same(tmp_path):
    affine = np.array([[0, 0, 2.0, -7], [-1.5, 0, 0, 3], [0, 3, 0, 11], [0, 0, 0, 1]])
    scan = write_nifti(tmp_path / "scan.nii.gz", np.zeros((20, 22, 24), np.uint8), affine)
    label, prediction = box(5, 4, 6), box(5, 4, 3)
    straight = write_nifti(tmp_path / "straight.nii.gz", label, affine)
    # The same places, but for other axes: [k, i, j], with i counted from the other end.
    backward = np.array([[0.0, -1, 0, 19], [0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1]])
    turned = write_nifti(tmp_path / "turned.nii", label[::-1].transpose(2, 0, 1).copy(), affine @ backward)
    expected = measure(label, prediction, NAMES, (1.5, 3, 2))
    assert expected["cat"][DISTANCE] == 6
    for mask in (straight, turned):
        assert measured(scan, prediction, mask) == expected
    # And if the volume is turned: places are the same, whatever the order of the array.
    class_ids = prediction[::-1].transpose(2, 0, 1)
    assert measured(turned, class_ids, straight)["cat"] == expected["cat"]


def test_a_segmentation_measures_a_series(tmp_path):
    label = np.zeros((10, 8, 6), np.uint8)
    label[2:5, 1:4, 1:5] = 1
    series = write_series(tmp_path / "p1", label.astype(np.uint16))
    mask = write_segmentation(tmp_path / "p1.dcm", {1: label == 1})
    grid = open_volume(series).grid
    prediction = np.roll(grid.moved(label.T, grid), 2, axis=2)
    found = measured(series, prediction, mask)
    # Two slices that are 3 mm apart.
    assert found["cat"][DISTANCE] == 6


def test_a_stack_has_no_spacing_and_so_no_distance(tmp_path):
    label = box(1, 1, 1, size=(3, 3, 3), shape=(8, 8, 8))
    scan, mask = (write_stack(tmp_path / name, label) for name in ("scan.tif", "mask.tif"))
    found = measured(scan, label.T, mask)
    assert found["cat"] == {DICE: 1, IOU: 1}


def test_voxels_without_a_value_are_ignored(tmp_path):
    label, prediction = box(5, 5, 5), box(5, 5, 5)
    prediction[11:14, 5:12, 5:13] = 1
    scan, mask = (write_nifti(tmp_path / name, label) for name in ("scan.nii", "mask.nii"))
    missing = np.zeros(label.shape, bool)
    missing[11:14] = True
    found = measured(scan, prediction, mask, missing)
    assert found["cat"] == {DICE: 1, IOU: 1, DISTANCE: 0}


@pytest.mark.parametrize(
    ("values", "affine", "message"),
    [
        (box(5, 5, 5)[:-1], AFFINE, "sizes differ: the volume has 20x22x24 voxels"),
        (box(5, 5, 5), AFFINE + np.eye(4)[:, [3, 0, 1, 2]], "its mask lies elsewhere"),
        (box(5, 5, 5) * 4, AFFINE, "it holds 4, and the values of the model's classes are 0, 1, 2; --labels FILE says"),
        (box(5, 5, 5) * np.float32(0.5), AFFINE, "it holds 0.5, and labels are whole numbers"),
    ],
)
def test_a_mask_that_does_not_fit_is_one_sentence(tmp_path, values, affine, message):
    scan = write_nifti(tmp_path / "scan.nii", box(5, 5, 5))
    mask = write_nifti(tmp_path / "mask.nii", values, affine)
    with pytest.raises(BadImageError) as raised:
        measured(scan, box(5, 5, 5), mask)
    assert str(raised.value).startswith(f"{mask}: ")
    assert message in str(raised.value)


@pytest.fixture(scope="module")
def model(tmp_path_factory, push):
    """Folder of a model that finds cats in bright pixels."""
    folder = tmp_path_factory.mktemp("model")
    push(folder / "serving", 1, 1)
    return str(folder / "serving")


def write_scans(folder):
    """Three volumes with bright blocks; a good mask, one that is shifted by two slices, and one that does not fit."""
    values = np.full((SIDE, SIDE, SIDE), 20, np.uint8)
    values[:4, :4, :4] = 220
    cats = (values > 100).astype(np.uint8)
    for name, mask in (("a", cats), ("b", np.roll(cats, 2, axis=2)), ("c", cats[:-1]), ("d", None)):
        write_nifti(folder / "scans" / f"{name}.nii.gz", values)
        if mask is not None:
            write_nifti(folder / "masks" / f"{name}_seg.nii.gz", mask)


def test_predictions_have_the_measures_of_their_masks(model, tmp_path):
    write_scans(tmp_path)
    files = find_inputs([str(tmp_path / "scans")], str(tmp_path / "out")).files
    masks = find_masks(files, str(tmp_path / "masks")).paths
    good, shifted, unfit, without = predict(model, files, str(tmp_path / "out"), masks=masks)
    assert good.measures["cat"] == {DICE: 1, IOU: 1, DISTANCE: 0}
    assert shifted.measures["cat"] == {DICE: 0.5, IOU: pytest.approx(1 / 3, abs=1e-6), DISTANCE: 6}
    assert unfit.measures is None
    assert "c_seg.nii.gz: sizes differ" in unfit.measures_error
    assert (without.measures, without.measures_error) == (None, "")
    assert all((tmp_path / "out" / f"{name}_mask.nii.gz").exists() for name in "abcd")
    lines = [json.loads(line) for line in (tmp_path / "out" / "predictions.jsonl").read_text().splitlines()]
    common = {"image", "mask", "shape", "class_shares", "confidence"}
    assert [line.keys() - common for line in lines] == [{"measures"}, {"measures"}, {"measures_error"}, set()]
    assert lines[1]["measures"] == shifted.measures


def test_no_result_overwrites_a_mask(model, tmp_path):
    scan = write_nifti(tmp_path / "scan.nii.gz", box(1, 1, 1))
    mask = write_nifti(tmp_path / "out" / "scan_mask.nii.gz", box(1, 1, 1))
    (found,) = predict(model, {scan: "scan"}, str(tmp_path / "out"), masks={scan: mask})
    assert "would overwrite the input" in found.error


def test_a_missing_package_is_said_before_anything_is_predicted(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "surface_distance", None)
    with pytest.raises(UserError, match=r"surface-distance, which is missing; pip install 'segpipe\[volumes\]'"):
        next(predict("nowhere", {"a": "a"}, str(tmp_path / "out"), masks={"a": "b"}))


def test_the_command_ends_with_the_means_and_fails_for_a_mask_that_does_not_fit(model, tmp_path, segpipe):
    write_scans(tmp_path)
    (tmp_path / "labels.yaml").write_text("- {id: 0, name: nothing}\n- {id: 1, name: cat}\n- {id: 2, name: dog}\n")
    finished = segpipe(
        *("predict", "--model", model, "--output", "out", "--masks", "masks", "--labels", "labels.yaml", "scans"),
        folder=tmp_path,
    )
    assert finished.returncode == 1
    assert finished.stdout.endswith(
        """4 images written to out
Means over the volumes that were measured (2):
  nothing: Dice 0.9643, IoU 0.9333, 95th percentile of surface distances 2.00 mm
  cat: Dice 0.7500, IoU 0.6667, 95th percentile of surface distances 3.00 mm
  dog: in no volume
"""
    )
    assert "Masks in masks: the masks' names end in _seg" in finished.stderr
    assert "scans/d.nii.gz: it has no mask in masks, and is not measured" in finished.stderr
    assert "scans/c.nii.gz is not measured: masks/c_seg.nii.gz: sizes differ" in finished.stderr
