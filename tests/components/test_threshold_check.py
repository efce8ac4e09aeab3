"""What thresholds are about must be in the test split, which is known before anything is trained."""

import json

import pytest

from components.data_gate import DataGateError, DataStatistics
from components.threshold_check import CheckedThresholds, Executor, needs_of
from models.evaluation.settings import GateSettings

CLASSES = ("road", "car", "sky")


def slice_of(examples, *pixels):
    return {"examples": examples, "pixels": dict(zip(CLASSES, pixels, strict=True))}


# Of slice `day` with cars, `night` without, and `dusk` with nothing.
SLICES = {"day": slice_of(3, 12, 12, 0), "dusk": slice_of(1, 0, 0, 0), "night": slice_of(1, 8, 0, 0)}


def needs(watched="mean_iou", **gate):
    return needs_of(GateSettings(**gate).thresholds(watched))


def check(folder, of_slices=SLICES, objects=None, watched="mean_iou", **gate):
    artifacts = {"data_statistics": DataStatistics(), "checked": CheckedThresholds()}
    for name, artifact in artifacts.items():
        artifact.uri = str(folder / name)
        (folder / name).mkdir()
    test = {"examples": 6, "examples_with_class": {"road": 5, "car": 4, "sky": 0}, "slices": of_slices}
    if objects is not None:
        test["objects"] = dict(zip(CLASSES, objects, strict=True))
    (folder / "data_statistics" / "statistics.json").write_text(json.dumps({"splits": {"test": test}}))
    Executor().Do(
        {"data_statistics": [artifacts["data_statistics"]]},
        {"checked": [artifacts["checked"]]},
        {"needs": needs(watched, **gate)},
    )


def test_thresholds_on_what_test_lacks_stop_the_run(tmp_path):
    with pytest.raises(DataGateError) as caught:
        check(
            tmp_path,
            min={"iou": {"sky": 0.5, "car": 0.5}, "images": 7},
            slices={
                "fog": {"mean_iou": 0},
                "day": {"iou": {"car": 0.5}, "images": 4},
                "night": {"boundary_iou": {"car": 0, "road": 0}, "images": 1},
                "dusk": {"mean_dice": 0},
                "*": {"images": 1, "iou": {"road": 0}},
            },
        )
    first, *found, remedy = str(caught.value).splitlines()
    assert first == "the data lacks what the gate is to measure:"
    assert sorted(found) == [
        "  split test: 3 images in slice day, where there must be 4 (gate.slices.day.images)",
        "  split test: 6 images, where there must be 7 (gate.min.images)",
        "  split test: all pixels in slice dusk are ignored, and there is a threshold on them (gate.slices.dusk)",
        "  split test: no image of slice fog (gate.slices.fog); its slices are day, dusk, night",
        "  split test: no pixel of class car in slice night, which has a threshold (gate.slices.night)",
        "  split test: no pixel of class road in slice dusk, which has a threshold (gate.slices.*)",
        "  split test: no pixel of class sky, which has a threshold (gate.min)",
    ]
    assert "add such images to test, or take the threshold out" in remedy


@pytest.mark.parametrize(
    ("threshold", "line"),
    [
        ({"pq_things": 0.5}, "no object, and there is a threshold on objects (gate.min or gate.regression)"),
        ({"ap50": 0.5}, "no object, and there is a threshold on objects (gate.min or gate.regression)"),
        ({"class_ap": {"road": 0.5}}, "no object of class road, and there is a threshold on objects (gate.min)"),
    ],
)
def test_thresholds_on_objects_need_objects(tmp_path, threshold, line):
    with pytest.raises(DataGateError) as caught:
        check(tmp_path, objects=(0, 0, 0), min=threshold)
    assert f"split test: {line}" in str(caught.value)
    # Panoptic quality of all classes, or of one without objects, needs pixels only.
    (tmp_path / "there").mkdir()
    there = {"pq": 0.5, "pq_stuff": 0.5, "class_pq": {"road": 0.5}, "pq_things": 0.5, "class_ap": {"car": 0.5}}
    check(tmp_path / "there", objects=(0, 3, 0), min=there)


def test_a_comparison_by_objects_needs_objects(tmp_path):
    with pytest.raises(DataGateError, match=r"split test: no object, and .* \(gate.min or gate.regression\)"):
        check(tmp_path, objects=(0, 0, 0), watched="pq_things")
    for watched, objects in (("pq_things", (0, 1, 0)), ("pq", (0, 0, 0))):
        (tmp_path / watched).mkdir()
        check(tmp_path / watched, objects=objects, watched=watched)


def test_thresholds_on_each_slice_need_slices(tmp_path):
    with pytest.raises(DataGateError, match=r"split test: no image has a slice \(gate.slices.\*\)"):
        check(tmp_path, of_slices={}, slices={"*": {"mean_iou": 0.1}})


def test_what_thresholds_need_is_there(tmp_path):
    gate = {"min": {"iou": {"car": 0.5}, "images": 6}, "slices": {"day": {"iou": {"car": 0.5}}, "*": {"images": 1}}}
    check(tmp_path, **gate)
    assert json.loads((tmp_path / "checked" / "needs.json").read_text())


def test_another_value_of_a_threshold_needs_nothing_else():
    gate = {"min": {"mean_iou": 0.4, "iou": {"car": 0.2}}, "slices": {"*": {"mean_iou": 0.1}}, "regression": 0.01}
    other = {
        "slices": {"*": {"mean_dice": 0.7}},
        "regression": "not_significantly_worse",
        "min": {"iou": {"car": 0.3}, "boundary_iou": {"car": 0.9}},
    }
    assert needs(**gate) == needs(**other)
    assert needs(**gate) != needs(**{**gate, "slices": {}})
