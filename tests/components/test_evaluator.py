"""What the gate decides on TFMA's own evaluation of a few images, with a real model."""

import dataclasses
import json
import os
import shutil

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import json_format
from tfx.types import standard_artifacts
from tfx.utils import json_utils, path_utils

from components.deployed_model import MEASURED_PROPERTY
from components.evaluator import Executor, digest
from data import contract
from data.decoding.images import encode_png
from models.evaluation.gate import VERDICT_PROPERTY, Best, Measured, Threshold, Verdict
from models.evaluation.metric_table import METRICS, Metric
from models.evaluation.settings import GateSettings
from models.evaluation.tfma_metrics import evaluation_config
from models.serving.signatures import EVALUATION

NAMES = ("nothing", "cat", "dog")


@pytest.fixture
def evaluate(tmp_path, push):
    """Evaluates a model that finds cats in bright pixels, where all is labeled `nothing`; one dark image a slice."""

    def run(gate, slices=(), has_baseline=False, groups=(), versions=None):
        folder = tmp_path / "examples" / "Split-test"
        folder.mkdir(parents=True)
        with tf.io.TFRecordWriter(str(folder / "test.tfrecord")) as writer:
            for index, name in enumerate(slices or ("", "")):
                pixels = np.full([16, 16, 3], 5 * index, np.uint8)
                pixels[:4] = 255
                mask = encode_png(np.zeros([16, 16], np.uint8))
                example = contract.SegmentationExample(encode_png(pixels), "png", 16, 16, mask, f"image {index}", name)
                if groups:
                    example = dataclasses.replace(example, group=groups[index])
                writer.write(example.serialize())
        examples = standard_artifacts.Examples()
        examples.uri, examples.split_names = str(tmp_path / "examples"), '["test"]'
        model, baseline = standard_artifacts.Model(), standard_artifacts.Model()
        evaluation, blessing = standard_artifacts.ModelEvaluation(), standard_artifacts.ModelBlessing()
        for artifact, name in ((model, "model"), (baseline, "baseline"), (evaluation, "out"), (blessing, "blessing")):
            artifact.uri = str(tmp_path / name)
        push(tmp_path / "serving", 1, class_id=1)
        for artifact in (model, baseline) if has_baseline else (model,):
            shutil.copytree(tmp_path / "serving" / "1", path_utils.serving_model_dir(artifact.uri))
        if versions is not None:
            own = digest({"examples": [examples]}, ["test"])
            text = json.dumps([dataclasses.asdict(one) for one in versions(own)])
            baseline.set_string_custom_property(MEASURED_PROPERTY, text)
        thresholds = gate if isinstance(gate, list) else GateSettings.model_validate(gate).thresholds()
        Executor().Do(
            {"examples": [examples], "model": [model], "baseline_model": [baseline]},
            {"evaluation": [evaluation], "blessing": [blessing]},
            {
                "eval_config": json_format.MessageToJson(evaluation_config(NAMES, EVALUATION["model"])),
                "thresholds": json.dumps([dataclasses.asdict(threshold) for threshold in thresholds]),
                "example_splits": json_utils.dumps(["test"]),
                "fairness_indicator_thresholds": json_utils.dumps(None),
                "against_best": int(versions is not None),
            },
        )
        verdict = Verdict.from_json(evaluation.get_string_custom_property(VERDICT_PROPERTY))
        # What Pusher keeps, and reads, and what other tools do.
        kept = Measured(**json.loads(blessing.get_string_custom_property(MEASURED_PROPERTY)))
        assert kept == Measured(0, verdict.test_digest, "model", {"mean_iou": verdict.metrics["mean_iou"]})
        assert blessing.get_int_custom_property("blessed") == verdict.passed
        assert os.listdir(blessing.uri) == ["BLESSED" if verdict.passed else "NOT_BLESSED"]
        return verdict

    return run


def test_the_best_version_on_the_same_test_images_counts_if_asked_for(evaluate, tmp_path):
    """Its digest is that of the images, in whatever order and files they are."""
    verdict = evaluate(
        {"min": {"mean_iou": 0.1}, "regression": 0.02, "against": "best"},
        versions=lambda own: [
            Measured(1, "other", "model", {"mean_iou": 0.9}),
            Measured(2, own, "model", {"mean_iou": 0.4}),
        ],
    )
    assert verdict.best == Best(2, 0.4, [1])
    (reason,) = verdict.reasons
    assert reason.startswith("change of mean IoU against the best version (2) is -0.0250, 0.0050 below -0.02 (gate.reg")
    folder = tmp_path / "examples" / "Split-test"
    records = [record.numpy() for record in tf.data.TFRecordDataset(str(folder / "test.tfrecord"))]
    (folder / "test.tfrecord").unlink()
    for index, record in enumerate(reversed(records)):
        with tf.io.TFRecordWriter(str(folder / f"{index}.gz"), "GZIP") as writer:
            writer.write(record)
    examples = standard_artifacts.Examples()
    examples.uri, examples.split_names = str(tmp_path / "examples"), '["test"]'
    assert digest({"examples": [examples]}, ["test"]) == verdict.test_digest
    (folder / "0.gz").unlink()
    assert digest({"examples": [examples]}, ["test"]) != verdict.test_digest


def test_a_model_that_reaches_its_thresholds_is_blessed(evaluate):
    verdict = evaluate(
        {
            "min": {"mean_iou": 0.37, "iou": {"nothing": 0.7}, "pixels": {"nothing": 512}, "images": 2},
            "slices": {"*": {"pixel_accuracy": 0.7}, "night": {"mean_iou_change": 0}},
            "regression": 0,
        },
        slices=("day", "night"),
        has_baseline=True,
    )
    assert verdict.reasons == []
    assert [check.value for check in verdict.checks] == [0.375, 0.75, 512, 2, 0.75, 0.75, 0, 0]
    assert [check.deployed for check in verdict.checks] == [0.375, 0.75, 512, 2, 0.75, 0.75, 0.375, 0.375]


def test_what_cannot_be_measured_is_a_refusal_with_its_reason(evaluate):
    """The cat is predicted, so its IoU is 0, which a threshold of 0 would let pass."""
    verdict = evaluate(
        {"min": {"mean_iou": 0, "iou": {"cat": 0, "dog": 0}}, "slices": {"fog": {"mean_iou": 0}, "*": {"mean_iou": 0}}}
    )
    assert verdict.metrics["iou_cat"] == 0
    assert verdict.reasons == [
        "IoU of cat could not be measured: no pixel of these images is labeled cat (gate.min.iou.cat)",
        "IoU of dog could not be measured: no pixel of these images is labeled dog (gate.min.iou.dog)",
        "mean IoU on fog could not be measured: no test image is of slice fog (gate.slices.fog.mean_iou)",
        "mean IoU on each slice could not be measured: no test image has a slice (gate.slices.*.mean_iou)",
    ]


def test_slices_may_be_called_anything(evaluate):
    """TFMA's own thresholds take `1` for `01`."""
    gate = [Threshold("images", 2, "KEY", slice=name) for name in ("1", "01", "a b/ü", "1.0")]
    verdict = evaluate(gate, slices=("1", "01", "01", "a b/ü", "a b/ü", "*"))
    assert [(check.slice, check.value) for check in verdict.checks] == [
        ("1", 1),
        ("01", 2),
        ("a b/ü", 2),
        ("1.0", None),
    ]


def test_groups_of_images_are_measured_as_wholes(evaluate):
    bounds = {"mean_group_dice": 0.4, "group_iou": {"nothing": 0.7}, "groups": 3}
    verdict = evaluate({"min": {"mean_iou": 0, **bounds}}, slices=("", "x", ""), groups=("a", "b", "a"))
    assert verdict.reasons == ["number of groups is 2, 1 below 3 (gate.min.groups)"]
    assert verdict.metrics["group_iou_nothing"] == 0.75
    assert verdict.metrics["group_iou_dog"] is None


def test_a_new_row_is_measured_configured_decides_and_is_worded(evaluate, monkeypatch):
    def recall(sums):
        hit, labeled, _ = sums.totals
        return np.divide(hit, labeled, out=np.full(3, np.nan), where=labeled > 0)

    row = Metric("recall", "recall", "share of the class's pixels that are found", recall, by_class=True)
    monkeypatch.setitem(METRICS, row.name, row)
    bounds = {"mean_iou": 0, "recall": {"nothing": 0.9}}
    verdict = evaluate({"min": bounds, "slices": {"x": {"recall": {"nothing": 1}}}})
    assert verdict.metrics["recall_nothing"] == 0.75
    assert verdict.reasons == [
        "recall of nothing is 0.7500, 0.1500 below 0.9 (gate.min.recall.nothing)",
        "recall of nothing on x could not be measured: no test image is of slice x (gate.slices.x.recall.nothing)",
    ]
