import pathlib
import subprocess
import sys

import pydantic
import pytest

from models.evaluation.gate import (
    Best,
    Check,
    Measured,
    Threshold,
    Verdict,
    best_of,
    decide,
    why_not_pushed,
    with_min_mean_iou,
)
from models.evaluation.metric_table import METRICS, of_classes
from models.evaluation.settings import GateSettings

ROOT = pathlib.Path(__file__).parents[3]
ARRAYS = ("confusion_matrix", "image_names", "image_mean_iou", "group_names", "group_totals")


def check(threshold, measured, deployed=None):
    (found,) = decide([threshold], measured, deployed)
    return found


def test_no_class_name_makes_two_metrics_the_same():
    """Keys of metrics by class begin as no other key does, so what follows is the class, whatever it is called."""
    names = [*METRICS, *ARRAYS]
    for metric in METRICS.values():
        if metric.by_class:
            assert not [name for name in names if name.startswith(metric.key(""))]
    classes = ("iou_x", "mean", "*", "a.b", "Straße 7", "")
    values = {metric.key(name): name for metric in METRICS.values() if metric.by_class for name in classes}
    for metric in METRICS.values():
        if metric.by_class:
            assert of_classes(metric.name, values) == {name: name for name in classes}


def test_configuration_and_command_line_need_no_tensorflow():
    code = "import models.evaluation.settings, sys; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_each_threshold_knows_its_key():
    gate = GateSettings.model_validate(
        {
            "min": {"mean_iou": 0.6, "boundary_iou": {"road": 0.4}, "images": 20},
            "slices": {"night": {"iou": {"car": 0.4}}, "*": {"mean_iou": 0.3}},
            "regression": 0.02,
        }
    )
    assert gate.thresholds() == [
        Threshold("mean_iou", 0.6, "gate.min.mean_iou"),
        Threshold("boundary_iou", 0.4, "gate.min.boundary_iou.road", "road"),
        Threshold("images", 20, "gate.min.images"),
        Threshold("iou", 0.4, "gate.slices.night.iou.car", "car", "night"),
        Threshold("mean_iou", 0.3, "gate.slices.*.mean_iou", slice="*"),
        Threshold("mean_iou_change", -0.02, "gate.regression"),
    ]
    assert GateSettings.model_validate({"regression": "not_significantly_worse"}).thresholds()[-1] == Threshold(
        "mean_iou_change_upper", 0.0, "gate.regression"
    )
    # The least mean IoU of a Kubeflow run takes the place of the configured one, and of no other.
    changed = with_min_mean_iou(gate.thresholds(), 0.9)
    assert [item.bound for item in changed] == [0.9, 0.4, 20, 0.4, 0.3, -0.02]


@pytest.mark.parametrize(
    ("threshold", "reason"),
    [
        (Threshold("mean_iou", 0.6, "KEY"), "mean IoU is 0.5500, 0.0500 below 0.6 (KEY)"),
        (
            Threshold("dice", 0.4, "KEY", "car", "night"),
            "Dice of car on night is 0.2000, 0.2000 below 0.4 (KEY)",
        ),
        (Threshold("images", 2000, "KEY"), "number of images is 1234, 766 below 2000 (KEY)"),
        (
            Threshold("mean_iou_change", -0.1, "KEY"),
            "change of mean IoU is -0.1500, 0.0500 below -0.1 (KEY); the deployed model's mean IoU is 0.7000",
        ),
        (
            Threshold("iou", 0, "KEY", "cow"),
            "IoU of cow could not be measured: no pixel of these images is labeled cow (KEY)",
        ),
        (
            Threshold("mean_iou", 0, "KEY", slice="fog"),
            "mean IoU on fog could not be measured: no test image is of slice fog (KEY)",
        ),
        (
            Threshold("mean_iou_small_images", 0, "KEY"),
            "mean IoU of small images could not be measured: these images contain nothing to measure it on (KEY)",
        ),
    ],
)
def test_a_refusal_is_worded_by_the_row_of_its_metric(threshold, reason):
    measured = {
        "": {
            "mean_iou": 0.55,
            "images": 1234,
            "mean_iou_change": -0.15,
            "mean_iou_small_images": None,
            "iou_cow": 0.0,
            "pixels_cow": 0.0,
        },
        "night": {"dice_car": 0.2, "pixels_car": 9},
    }
    found = check(threshold, measured, {"": {"mean_iou": 0.7}, "night": {}})
    assert (found.passed, found.reason) == (False, reason)


def test_each_slice_is_checked_and_none_is_a_refusal():
    threshold = Threshold("mean_iou", 0.3, "gate.slices.*.mean_iou", slice="*")
    measured = {"": {"mean_iou": 0.5}, "b": {"mean_iou": 0.2}, "a": {"mean_iou": 0.3}}
    assert [(item.slice, item.passed) for item in decide([threshold], measured, None)] == [("a", True), ("b", False)]
    found = check(threshold, {"": {"mean_iou": 0.5}})
    assert not found.passed
    assert found.reason == (
        "mean IoU on each slice could not be measured: no test image has a slice (gate.slices.*.mean_iou)"
    )


def test_changes_are_checked_only_against_a_deployed_model():
    threshold = Threshold("mean_iou_change", -0.1, "gate.regression")
    assert decide([threshold], {"": {}}, None) == []
    assert not check(threshold, {"": {}}, {"": {"mean_iou": 0.5}}).passed


def test_a_verdict_comes_back_from_its_record():
    checks = decide([Threshold("mean_iou", 0.6, "KEY"), Threshold("mean_iou", 0.1, "KEY", slice="x")], {"": {}}, None)
    verdict = Verdict({"mean_iou": None}, {"mean_iou": 0.3}, checks, 3, "model")
    assert Verdict.from_json(verdict.to_json()) == verdict
    assert not verdict.passed
    assert len(verdict.reasons) == 2


def test_without_groups_a_threshold_on_them_is_a_refusal_with_its_reason():
    assert check(Threshold("mean_group_iou", 0, "gate.min.mean_group_iou"), {"": {"mean_iou": 1.0}}).reason == (
        "mean IoU of whole groups could not be measured: these images contain nothing to measure it on "
        "(gate.min.mean_group_iou)"
    )


def test_a_model_that_was_not_pushed_has_a_reason():
    passed = Verdict({}, None, [], 0, "model")
    assert why_not_pushed(passed, "too slow", "") == ["too slow"]
    assert why_not_pushed(passed, "", "rolled back") == ["rolled back"]
    assert why_not_pushed(passed, "", "") == ["Pusher did not push it, and left no reason; see its log"]


def test_records_of_earlier_versions_can_still_be_told():
    old = Check(**{"metric": "iou_csf", "slice": "", "value": 0.3, "bound": 0.8, "passed": False})
    assert old.reason == "iou_csf is 0.3000, 0.5000 below 0.8 (gate)"


def test_the_docs_have_the_table():
    text = (ROOT / "docs" / "evaluation.md").read_text()
    rows = [
        f"| `{metric.name}`{', by class' if metric.by_class else ''} | {metric.words} | {metric.definition} |"
        for metric in METRICS.values()
    ]
    begin = text.index("| name |")
    assert text[begin:].split("\n\n")[0].splitlines()[2:] == rows


def test_the_best_version_is_found_among_those_of_the_same_test_images():
    versions = [
        Measured(1, "a", "model", {"mean_iou": 0.9, "pq": None}),
        Measured(2, "b", "model", {"mean_iou": 0.7, "pq": 0.4}),
        Measured(3, "b", "original", {"mean_iou": 0.8}),
        Measured(4, "b", "model", {"mean_iou": 0.7}),
        Measured(5, "b", "model", {"mean_iou": 0.6, "pq": 0.3}),
        Measured(6),
    ]
    assert best_of(versions, "mean_iou", "b", "model") == Best(4, 0.7, [1, 3, 6])
    assert best_of(versions, "pq", "b", "model") == Best(2, 0.4, [1, 3, 4, 6])
    assert best_of(versions, "mean_iou", "c", "model") == Best(0, None, [1, 2, 3, 4, 5, 6])


def test_small_losses_do_not_add_up_against_the_best_version():
    (change,) = [one for one in GateSettings(regression=0.02).thresholds() if one.key == "gate.regression"]

    def against(best, deployed=0.69):
        measured = {"": {"mean_iou": 0.68, "mean_iou_change": 0.68 - deployed if deployed else None}}
        return decide([change], measured, {"": {"mean_iou": deployed}} if deployed else None, best)

    assert [one.passed for one in against(None)] == [True]
    (check,) = against(Best(17, 0.72, []))
    assert (check.passed, check.version, check.deployed) == (False, 17, 0.72)
    assert check.reason == (
        "change of mean IoU against the best version (17) is -0.0400, 0.0200 below -0.02 (gate.regression); that "
        "version's mean IoU is 0.7200"
    )
    # Where none is better than the deployed one, or none was measured, that is what counts.
    for best in (Best(17, 0.69, []), Best(0, None, [3])):
        assert [(one.passed, one.version, one.deployed) for one in against(best)] == [(True, 0, 0.69)]
    # The deployed one may be of other classes.
    assert [one.passed for one in against(Best(17, 0.72, []), deployed=None)] == [False]
    assert against(Best(0, None, []), deployed=None) == []
    verdict = Verdict({}, None, [check], test_digest="a", best=Best(17, 0.72, [3]))
    assert Verdict.from_json(verdict.to_json()) == verdict


def test_what_is_measured_of_versions_cannot_say_what_is_significant():
    with pytest.raises(pydantic.ValidationError, match="against: best needs a number for regression"):
        GateSettings.model_validate({"regression": "not_significantly_worse", "against": "best"})
    assert GateSettings().compared_versions == 0
    assert GateSettings.model_validate({"against": "best", "best_of": 3}).compared_versions == 3
