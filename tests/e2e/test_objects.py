"""Whole runs of tasks with objects, on made-up scenes."""

import base64
import io
import os
import pathlib
import re

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from rich.console import Console

from data import contract
from models.evaluation.objects import panoptic_quality
from models.evaluation.objects.segments import Segments, keys, overlaps
from models.serving import signatures
from pipeline.runners.local import run_locally
from tests.scenes import NAMES, write_scenes

pytestmark = pytest.mark.one_line
IS_THING = np.array([False, False, True, True])


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenes") / "records"
    write_scenes(folder, {"train": 48, "eval": 8, "test": 8})
    return folder


@pytest.fixture(scope="module")
def panoptic(small_config, scenes, tmp_path_factory):
    """A run with patches in training and tiles in serving."""
    config = small_config(
        tmp_path_factory.mktemp("panoptic") / "output",
        task="panoptic",
        data={"input": str(scenes)},
        preprocessing={"height": 32, "width": 32, "channels": 3, "resize": "none"},
        train={"epochs": 12},
        gate={"min": {"mean_iou": 0.3, "pq": 0.2, "class_ap": {"disc": 0.01}, "count_agreement": 0.2}},
    )
    return run_locally(config, Console(file=open(os.devnull, "w")))


@pytest.fixture(scope="module")
def examples(scenes):
    """Of the test split: serialized examples, and their features."""
    records = [record.numpy() for record in tf.data.TFRecordDataset(str(scenes / "test-00000-of-00001.tfrecord"))]
    return records, [tf.train.Example.FromString(record).features.feature for record in records]


def test_a_panoptic_model_is_pushed(panoptic):
    assert panoptic.state == "pushed", panoptic.reasons
    assert {check.metric for check in panoptic.checks} == {"mean_iou", "pq", "class_ap", "count_agreement"}
    facts = signatures.read_facts(panoptic.pushed_path)
    assert facts["task"] == "panoptic"
    assert facts["statistics"]["splits"]["train"]["objects"].keys() == set(NAMES)


def test_what_is_served_is_what_is_measured(panoptic, examples):
    records, features = examples
    model = tf.saved_model.load(panoptic.pushed_path)
    measured = model.signatures["examples"](tf.constant(records))
    for index, feature in enumerate(features):
        served = model.signatures["serving_default"](tf.constant([feature[contract.IMAGE].bytes_list.value[0]]))
        label = tf.io.decode_png(feature[contract.MASK].bytes_list.value[0]).numpy()[..., 0]
        objects = tf.io.decode_png(feature[contract.INSTANCES].bytes_list.value[0], 1, tf.uint16).numpy()[..., 0]
        class_ids, own = (served[name].numpy()[0] for name in ("class_ids", "instance_ids"))
        expected = overlaps(keys(label, objects, IS_THING), keys(class_ids, own, IS_THING))
        found = measured["segment_overlaps"].numpy()[index]
        found = found[found[:, 2] > 0]
        np.testing.assert_array_equal(found[np.lexsort([found[:, 1], found[:, 0]])], expected)
        count = int(served["object_count"][0])
        assert count == own.max()
        assert served["object_boxes"].shape == (1, count, 4)
        np.testing.assert_array_equal(np.bincount(own.ravel(), minlength=count + 1)[1:], served["object_areas"][0])
        scores = measured["object_scores"].numpy()[index]
        np.testing.assert_allclose(scores[:count], served["object_scores"].numpy()[0], rtol=1e-5)
        assert not scores[count:].any()


def test_metrics_are_those_of_the_served_objects(panoptic, examples):
    records, _ = examples
    measured = tf.saved_model.load(panoptic.pushed_path).signatures["examples"](tf.constant(records))
    totals = sum(
        panoptic_quality.quality_totals(Segments.of(found[found[:, 2] > 0]), 4)
        for found in measured["segment_overlaps"].numpy()
    )
    (check,) = [check for check in panoptic.checks if check.metric == "pq"]
    assert check.value == pytest.approx(np.nanmean(panoptic_quality.panoptic_quality(totals)), abs=1e-6)


def test_several_images_are_padded_to_the_most_objects(panoptic, examples):
    images = [feature[contract.IMAGE].bytes_list.value[0] for feature in examples[1][:3]]
    empty = tf.io.encode_png(np.full([20, 64, 3], [120, 170, 230], np.uint8)).numpy()
    serve = tf.saved_model.load(panoptic.pushed_path).signatures["serving_default"]
    together = serve(tf.constant([*images, empty]))
    for index, image in enumerate([*images, empty]):
        alone = serve(tf.constant([image]))
        count = int(alone["object_count"][0])
        assert together["object_count"][index] == count
        for name in ("object_classes", "object_scores", "object_boxes", "object_areas"):
            np.testing.assert_allclose(together[name][index, :count], alone[name][0], rtol=1e-4)
            assert not np.any(together[name][index, count:])


def test_the_report_counts_objects_and_shows_those_that_were_missed(panoptic):
    text = pathlib.Path(panoptic.report).read_text(encoding="utf-8")
    # What decides comes first.
    assert text.index("panoptic quality (PQ)<b>") < text.index("mean IoU<b>")
    assert "95 % confidence interval of panoptic quality (PQ), over images" in text
    for part in ('id="objects"', "predicted against labeled", "missed object", "PQ of things", "agreement of counts"):
        assert part in text, part
    layers = re.findall(r'data-stop="3" src="data:image/png;base64,([^"]+)"', text)
    shown = [np.asarray(Image.open(io.BytesIO(base64.b64decode(layer))).convert("RGBA")) for layer in layers]
    assert len(shown) == 8
    colors = {tuple(color) for picture in shown for color in picture[picture[..., 3] > 0][:, :3].tolist()}
    assert colors <= {(213, 94, 0), (0, 114, 178)}
