"""What the command line says of a run: what decides comes first."""

import dataclasses
import io

import pytest
from rich.console import Console

from models.evaluation.gate import Check
from pipeline.cli.common import print_summary
from pipeline.records.runs import Run

METRICS = {
    "mean_iou": 0.8, "mean_iou_lower": 0.75, "mean_iou_upper": 0.85, "iou_sky": 0.9, "iou_car": 0.7,
    "pq": 0.5, "pq_lower": 0.45, "pq_upper": 0.55, "class_pq_sky": 0.6, "class_pq_car": 0.4,
    "class_ap_sky": None, "class_ap_car": 0.3,
    "pq_things": 0.4, "pq_things_lower": 0.35, "pq_things_upper": 0.42,
}  # fmt: skip


def summary(task, deployed=None, newest=None):
    checks = [Check("mean_iou", "", 0.8, 0.5, True, key="gate.min.mean_iou", deployed=0.77)]
    if deployed is not None:
        checks.append(Check("pq_change", "", 0.1, 0.0, True, key="gate.regression", deployed=deployed))
    values = dict.fromkeys((field.name for field in dataclasses.fields(Run)), None) | {
        "state": "refused", "reasons": ["because"], "metrics": METRICS, "mean_iou": 0.8, "resolution": "model",
        "class_iou": {"sky": 0.9, "car": 0.7}, "configuration": {"task": task} if task else {}, "checks": checks,
        "baseline_mean_iou": None if deployed is None else 0.77, "baseline_version": 3, "newest_span": newest,
        "newest_mean_iou": 0.7,
    }  # fmt: skip
    text = io.StringIO()
    print_summary(Console(file=text, width=200), Run(**values))
    return text.getvalue().strip().splitlines()


@pytest.mark.parametrize("task", ["", "semantic"])
def test_without_objects_it_is_mean_iou(task):
    assert summary(task, 0.3, newest=5)[:4] == [
        "Mean IoU on the test split, at the model's size: 0.8000 (sky 0.9000, car 0.7000)",
        "  95 % confidence interval over images: 0.7500 to 0.8500",
        "Deployed model (version 3): 0.7700",
        "On the test split of the newest span, 5: 0.7000",
    ]


def test_with_objects_it_is_panoptic_quality_and_that_of_the_deployed_model():
    assert summary("panoptic", 0.3, newest=5)[:5] == [
        "Panoptic quality (PQ) on the test split, at the model's size: 0.5000 (sky 0.6000, car 0.4000)",
        "  95 % confidence interval over images: 0.4500 to 0.5500",
        "  Mean IoU of the classes: 0.8000 (sky 0.9000, car 0.7000)",
        "Deployed model (version 3): 0.3000",
        "Mean IoU on the test split of the newest span, 5: 0.7000",
    ]
    lines = summary("instance")
    assert lines[0].startswith("PQ of things on the test split, at the model's size: 0.4000 (car 0.4000)")
    assert lines[3] == "There is no deployed model with this task and these classes to compare with."
