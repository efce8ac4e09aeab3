"""Whole runs of the real graph on the offline sample, with a small model."""

import dataclasses
import hashlib
import html
import itertools
import json
import os
import pathlib
import shutil

import numpy as np
import pytest
import tensorflow as tf
import yaml
from PIL import Image
from rich.console import Console

from components import deployed_model
from components.evaluator import read_metrics
from data import contract
from data.base.errors import UserError
from data.base.locking import exclusive
from data.decoding.images import upright_size
from models.evaluation import metrics
from models.evaluation.gate import Best, Measured
from models.exports.exports import FOLDER, make_exports, read_examples
from models.exports.network import Network
from models.inputs import input_pipeline
from models.inputs.preprocessing import placement
from models.inputs.settings import PreprocessingSettings
from models.monitoring.comparison import CLASSES, EMBEDDINGS
from models.network import build_model
from models.serving.inputs import find_inputs
from models.serving.loaded_model import LoadedModel
from models.serving.predict import predict
from models.serving.signatures import feature_spec, read_facts
from models.serving.traffic.records import KeptImage
from models.serving.versions import deployed_version, numbers, read_measured, version_path
from models.settings import ModelSettings
from models.training import trainer
from models.training.warm_start import warm_start
from pipeline.monitoring.monitor import watch
from pipeline.records.lineage import load_history
from pipeline.records.metadata import database_of
from pipeline.records.runs import load_runs
from pipeline.runners.local import RunFailedError, run_locally


def run(config):
    return run_locally(config, Console(file=open(os.devnull, "w")))


def states(result):
    return {component.name: component.state for component in result.components}


def digest(folder):
    """What is in a folder, as one string."""
    files = sorted(path for path in pathlib.Path(folder).rglob("*") if path.is_file())
    return hashlib.sha256(b"".join(str(path).encode() + path.read_bytes() for path in files)).hexdigest()


@pytest.fixture(scope="module")
def pushed_model(first):
    return tf.saved_model.load(first.pushed_path)


def test_a_model_that_passes_is_pushed_whole(first, small_config, output):
    destination = small_config(output).push_destination
    assert first.state == "pushed"
    assert set(states(first).values()) == {"done"}
    before, after = ["DataGate", "Transform", "Trainer", "DeployedModel", "Evaluator", "Pusher"], list(states(first))
    assert [name for name in after if name in before] == before
    assert numbers(destination) == [first.pushed_version]
    assert first.pushed_path == version_path(destination, first.pushed_version)
    assert os.listdir(destination) == [str(first.pushed_version)]
    assert [(check.metric, check.bound, check.passed) for check in first.checks] == [("mean_iou", 0.2, True)]
    assert first.baseline_mean_iou is None


def test_it_answers_in_each_runtime_as_in_tensorflow(first, brain_mri, tmp_path):
    folder = shutil.copytree(first.pushed_path, tmp_path / "model")
    (folder / FOLDER).mkdir()
    network = Network(str(folder))
    examples = list(itertools.islice(read_examples(sorted(map(str, brain_mri.glob("test-*")))), 8))
    images, sizes = [image for image, _ in examples], [upright_size(image) for image, _ in examples]
    measured = make_exports(network, ["onnx", "tflite_int8"], str(folder / FOLDER), images, network.seen(examples))
    expected = LoadedModel(str(folder)).segment(images, sizes, at_original_size=True)
    for name, least in (("onnx", 0.9999), ("tflite_int8", measured["tflite_int8"].agreement - 0.01)):
        model = LoadedModel(str(folder), runtime=name)
        equal = total = 0
        for image, size, one in zip(images, sizes, expected, strict=True):
            equal += (model.segment_whole(image, *size).class_ids == one.class_ids).sum()
            total += one.class_ids.size
        assert equal / total > least
        assert measured[name].agreement > 0.95


def test_nothing_new_computes_and_pushes_nothing(first, small_config, output):
    again = run(small_config(output))
    assert again.state == "unchanged"
    assert set(states(again).values()) == {"cached"}
    assert (again.mean_iou, again.pushed_version) == (first.mean_iou, first.pushed_version)
    assert numbers(small_config(output).push_destination) == [first.pushed_version]


def test_a_worse_model_is_refused_and_the_deployed_one_stays(first, small_config, output, segpipe, tmp_path):
    config = small_config(output, train={"epochs": 1, "learning_rate": 1e-6}, gate={"min": {"mean_iou": 0.01}})
    path = tmp_path / "worse.yaml"
    path.write_text(yaml.safe_dump(config.model_dump(mode="json")))
    before = digest(config.push_destination)
    finished = segpipe("run", "--config", str(path))
    assert finished.returncode == 2, finished.stderr
    worse = load_runs(database_of(config))[-1]
    assert worse.state == "refused"
    assert worse.baseline_version == first.pushed_version
    assert worse.baseline_mean_iou == pytest.approx(first.mean_iou, abs=1e-6)
    assert worse.mean_iou < first.mean_iou - 0.02
    for number in (f"{worse.mean_iou:.4f}", f"{first.mean_iou:.4f}", "below -0.02 (gate.regression)"):
        assert number in finished.stdout
    assert digest(config.push_destination) == before

    # Nothing has changed since: the same answer, from the cache.
    again = run(config)
    assert (again.state, again.reasons) == ("refused", worse.reasons)
    assert set(states(again).values()) == {"cached"}


def test_what_only_the_gate_changes_about_is_compared_with_what_is_deployed(
    first, small_config, output, segpipe, tmp_path
):
    """Training comes from the cache, and its model is the deployed one."""
    config = small_config(output, gate={"min": {"mean_iou": 0.1}, "against": "best"})
    path = tmp_path / "lower.yaml"
    path.write_text(yaml.safe_dump(config.model_dump(mode="json")))
    finished = segpipe("run", "--config", str(path))
    assert finished.returncode == 0, finished.stderr
    lower = load_runs(database_of(config))[-1]
    assert states(lower) | {"Trainer": "cached", "Pusher": "done"} == states(lower)
    assert (lower.state, lower.has_pushed, lower.baseline_version) == ("unchanged", False, first.pushed_version)
    assert lower.baseline_mean_iou == pytest.approx(first.mean_iou, abs=1e-6)
    version = first.pushed_version
    assert f"Deployed model (version {version}, which is this one): {first.mean_iou:.4f}" in finished.stdout
    assert f"Nothing new; the model is deployed already as version {version}" in finished.stdout
    assert lower.best == Best(0, None, [])
    assert "No other version was measured on this test split" in finished.stdout
    assert read_measured(config.push_destination, version) == Measured(
        version, lower.test_digest, "model", {"mean_iou": first.mean_iou}
    )
    # The version remains the first run's.
    assert [(item.version, item.run_id) for item in load_history(config)] == [(version, first.run_id)]
    assert set(states(run(config)).values()) == {"cached"}


def test_a_failure_before_a_component_begins_is_kept_with_its_run(first, small_config, output, monkeypatch):
    """What is deployed is looked up in the driver, of which TFX keeps nothing."""

    def unreachable(*_):
        raise OSError("the push destination is unreachable")

    config = small_config(output)
    before = load_runs(database_of(config))
    monkeypatch.setattr(deployed_model, "find_baseline", unreachable)
    with pytest.raises(RunFailedError, match="DeployedModel failed: OSError: the push destination is unreachable"):
        run(config)
    *others, failed = load_runs(database_of(config))
    assert (failed.state, failed.reasons) == ("failed", ["DeployedModel: OSError: the push destination is unreachable"])
    assert others == before


def test_absolute_thresholds_and_serving_limits_refuse_too(first, small_config, output):
    config = small_config(
        output,
        gate={"min": {"mean_iou": 0.99, "boundary_iou": {"csf": 0.98}}},
        serving={"max_memory_megabytes": 10},
        push={"destination": str(output / "elsewhere")},
    )
    refused = run(config)
    assert refused.state == "refused"
    assert refused.mean_iou == first.mean_iou
    assert states(refused)["Trainer"] == "cached"
    mean_iou, csf, serving = sorted(refused.reasons, key=lambda reason: (reason[0] != "m", reason))
    assert mean_iou == f"mean IoU is {first.mean_iou:.4f}, {0.99 - first.mean_iou:.4f} below 0.99 (gate.min.mean_iou)"
    assert csf.startswith("boundary IoU of csf is 0.")
    assert csf.endswith("below 0.98 (gate.min.boundary_iou.csf)")
    assert serving.startswith("serving.max_memory_megabytes is 10, measured")
    assert numbers(config.push_destination) == []


def test_a_threshold_on_a_slice_that_is_not_there_stops_before_training(first, small_config, output):
    with pytest.raises(RunFailedError, match=r"ThresholdCheck failed: (.|\n)*no image of slice nowhere"):
        run(small_config(output, train={"epochs": 9}, gate={"slices": {"nowhere": {"mean_iou": 0.1}}}))
    failed = load_runs(database_of(small_config(output)))[-1]
    assert (states(failed)["DataGate"], "Trainer" in states(failed)) == ("cached", False)


def test_slices_chance_and_the_original_size_decide_if_they_shall(first, small_config, output, brain_mri, pushed_model):
    config = small_config(
        output,
        train={"epochs": 1, "learning_rate": 1e-6},
        evaluation={"resolution": "original"},
        gate={
            "min": {"mean_iou": 0.01},
            "slices": {
                "*": {"mean_iou": 0.01},
                "slice_1": {"iou": {"csf": 0.98}, "mean_iou_change": 0.0},
            },
            "regression": "not_significantly_worse",
        },
    )
    worse = run(config)
    assert states(worse)["Trainer"] == "cached"
    assert worse.resolution == "original"
    assert {(check.metric, check.slice): check.passed for check in worse.checks} == {
        ("mean_iou", ""): True,
        ("mean_iou", "slice_0"): True,
        ("mean_iou", "slice_1"): True,
        ("iou", "slice_1"): False,
        ("mean_iou_change", "slice_1"): False,
        ("mean_iou_change_upper", ""): False,
    }
    slice_1, change, significance = worse.reasons
    assert slice_1.startswith("IoU of csf on slice_1 is 0.")
    assert slice_1.endswith("below 0.98 (gate.slices.slice_1.iou.csf)")
    assert change.startswith("change of mean IoU on slice_1 is -0.")
    assert significance.startswith("upper end of the 95 % interval of the change of mean IoU is -0.")
    assert f"below 0 (gate.regression); the deployed model's mean IoU is {worse.baseline_mean_iou:.4f}" in significance
    page = pathlib.Path(worse.report).read_text()
    assert "Refused by the gate" in page
    assert all(html.escape(reason).replace("&#x27;", "&#39;") in page for reason in worse.reasons)

    # The deployed model, by TensorFlow's own resizing of its logits.
    confusion = np.zeros((4, 4), np.int64)
    examples = raw_examples(brain_mri, "test")
    for logits, example in zip(pushed_model.logits(transformed(output, examples)["image"]), examples, strict=True):
        label = tf.io.decode_png(
            tf.train.Example.FromString(example).features.feature[contract.MASK].bytes_list.value[0]
        )
        height, width, _ = label.shape
        top, left, inner_height, inner_width = placement(height, width, 48, 40, "pad")
        inside = logits[top : top + inner_height, left : left + inner_width]
        class_ids = tf.argmax(tf.image.resize(inside, [height, width]), axis=-1)
        confusion += metrics.confusion_matrix(label[..., 0], class_ids, 4)
    assert worse.baseline_mean_iou == pytest.approx(metrics.mean_iou(metrics.class_totals(confusion)), abs=1e-4)
    assert abs(worse.baseline_mean_iou - first.mean_iou) > 1e-3


def test_a_better_model_is_compared_and_pushed_beside_the_old(first, small_config, output):
    train = {"epochs": 3, "seed": 1, "warmup_epochs": 1, "warm_start": "deployed"}
    config = small_config(output, train=train, gate={"regression": 1.0})
    second = run(config)
    assert second.state == "pushed"
    log = max((output / "logs").iterdir()).read_text()
    assert log.count(f"starting from the weights of {first.pushed_path}: ") == 1
    assert f"weights of the deployed model (version {first.pushed_version}) that fit" in pathlib.Path(
        second.report
    ).read_text(encoding="utf-8")
    assert second.baseline_version == first.pushed_version
    assert numbers(config.push_destination) == [first.pushed_version, second.pushed_version]


def raw_examples(folder, split):
    records = tf.data.TFRecordDataset(sorted(map(str, pathlib.Path(folder).glob(f"{split}-*.tfrecord"))))
    return [record.numpy() for record in records]


def transform_graph(output):
    import tensorflow_transform as tft

    (graph,) = (output / "artifacts" / "Transform" / "transform_graph").iterdir()
    return tft.TFTransformOutput(str(graph)).transform_features_layer()


def transformed(output, examples):
    return transform_graph(output)(tf.io.parse_example(examples, feature_spec()))


def trained_model(result, output):
    """The model that the trainer fitted, built anew with the weights that it kept."""
    facts = read_facts(result.pushed_path)
    assert facts["initial_weights"] == "random weights"
    shape = facts["preprocessing"]
    size = (shape["height"], shape["width"], shape["channels"])
    model = build_model(ModelSettings(**facts["model"]), size, 4, "float32")
    first_trainer_run = min((output / "artifacts" / "Trainer" / "model_run").iterdir(), key=lambda path: int(path.name))
    model.load_weights(first_trainer_run / "best.weights.h5")
    return model


def test_a_warm_start_has_the_weights_of_the_pushed_model(first, output, small_config):
    config = small_config(output)
    trainer_config = config.trainer_config(config.load_label_map())
    trainer_config = trainer_config.model_copy(update={"deployed_model": first.pushed_path})
    model = trainer.compiled_model(trainer_config, 4, "float32")
    assert warm_start(model, trainer_config)
    expected = trained_model(first, output).get_weights()
    for weights, deployed in zip(model.get_weights(), expected, strict=True):
        np.testing.assert_array_equal(weights, deployed)


def test_serving_equals_the_transformed_example_bit_for_bit(first, pushed_model, output, brain_mri):
    examples = raw_examples(brain_mri, "test")[:8]
    features = [tf.train.Example.FromString(example).features.feature for example in examples]
    images = [feature[contract.IMAGE].bytes_list.value[0] for feature in features]
    served = pushed_model.signatures["serving_default"](tf.constant(images))
    evaluated = pushed_model.signatures["examples"](tf.constant(examples))["confusion_matrix"]
    of_transform = transformed(output, examples)
    assert of_transform["image"].shape == (8, 48, 40, 1)
    trained = tf.function(trained_model(first, output))
    probabilities = tf.nn.softmax(trained(of_transform["image"], training=False))
    np.testing.assert_array_equal(served["class_ids"], tf.argmax(probabilities, axis=-1))
    labels = of_transform["label"].numpy()
    for confusion, label, class_ids in zip(evaluated, labels, served["class_ids"].numpy(), strict=True):
        np.testing.assert_array_equal(confusion, metrics.confusion_matrix(label, class_ids, 4))
    assert len(np.unique(served["class_ids"])) > 1
    # Padded left and right: 233x197 pixels are 48x41 at this height, so at most a row or column stays empty.
    assert set(np.unique(labels)) <= {0, 1, 2, 3, 255}


def test_normalization_is_that_of_the_train_split(output, first, brain_mri):
    features = transformed(output, raw_examples(brain_mri, "train"))
    inside = features["label"].numpy() != 255
    pixels = features["image"].numpy()[inside]
    assert pixels.mean() == pytest.approx(0, abs=1e-3)
    assert pixels.std() == pytest.approx(1, abs=1e-3)
    # Padding has the mean's color, as near as 8 bits can hold it.
    assert (~inside).any()
    assert np.abs(features["image"].numpy()[~inside]).max() <= 0.5 * features["scale"].numpy().max()


@pytest.mark.parametrize("cache", ["memory", "disk", "none"])
def test_the_trainer_sees_the_transformed_images_bit_for_bit(output, first, brain_mri, cache, tmp_path):
    graph = transform_graph(output)
    expected = graph(tf.io.parse_example(raw_examples(brain_mri, "test"), feature_spec()))
    shape = PreprocessingSettings(height=48, width=40, channels=1, resize="pad")
    place = {"memory": "", "disk": str(tmp_path), "none": None}[cache]
    decoded = input_pipeline.DecodedExamples([f"{brain_mri}/test-*"], graph, shape, len(expected["image"]), place)
    for _ in range(2):
        batches = list(input_pipeline.evaluation_batches(decoded, 4))
        np.testing.assert_array_equal(np.concatenate([image for image, _ in batches]), expected["image"])
        np.testing.assert_array_equal(np.concatenate([label for _, label in batches]), expected["label"])


def test_tfma_equals_the_reference(first, pushed_model, output, brain_mri):
    examples = raw_examples(brain_mri, "test")
    features = [tf.train.Example.FromString(example).features.feature for example in examples]
    images = [feature[contract.IMAGE].bytes_list.value[0] for feature in features]
    class_ids = pushed_model.signatures["serving_default"](tf.constant(images))["class_ids"].numpy()
    labels = transformed(output, examples)["label"].numpy()
    confusions = np.array([metrics.confusion_matrix(*maps, 4) for maps in zip(labels, class_ids, strict=True)])
    boundary = sum(metrics.boundary_totals(*maps, 4) for maps in zip(labels, class_ids, strict=True))
    totals = metrics.class_totals(confusions.sum(axis=0))
    by_slice = read_metrics(first_evaluation(output), "")
    assert set(by_slice) == {"", "slice_0", "slice_1"}
    found = by_slice[""]
    assert first.mean_iou == found["mean_iou"]
    np.testing.assert_array_equal(found["confusion_matrix"], confusions.sum(axis=0))
    names = ("background", "csf", "grey_matter", "white_matter")
    for metric, expected in {
        "iou": metrics.class_iou(totals),
        "dice": metrics.class_dice(totals),
        "boundary_iou": metrics.class_iou(boundary),
    }.items():
        np.testing.assert_allclose([found[f"{metric}_{name}"] for name in names], expected)
        assert found[f"mean_{metric}"] == pytest.approx(expected.mean())
    assert found["pixel_accuracy"] == pytest.approx(metrics.pixel_accuracy(totals))
    assert found["frequency_weighted_iou"] == pytest.approx(metrics.frequency_weighted_iou(totals))
    assert found["mean_iou_lower"] < found["mean_iou"] < found["mean_iou_upper"]
    of_images = {
        feature[contract.SOURCE_ID].bytes_list.value[0]: metrics.mean_iou(metrics.class_totals(confusion))
        for feature, confusion in zip(features, confusions, strict=True)
    }
    assert dict(zip(found["image_names"], found["image_mean_iou"], strict=True)) == pytest.approx(of_images)
    # All slices of the brain have one size, 233×197 pixels.
    assert (found["mean_iou_small_images"], found["mean_iou_large_images"]) == (found["mean_iou"], None)
    large = np.zeros((3, 4), np.int64)
    for confusion in confusions:
        of_image = metrics.class_totals(confusion)
        large += np.where(of_image[1] >= 0.1 * of_image[1].sum(), of_image, 0)
    assert found["mean_iou_large_regions"] == pytest.approx(metrics.mean_iou(large))


def first_evaluation(output):
    evaluations = (output / "artifacts" / "Evaluator" / "evaluation").iterdir()
    return str(min(evaluations, key=lambda path: int(path.name)))


def test_a_batch_may_have_any_size(pushed_model, brain_mri):
    for count in (1, 5):
        outputs = pushed_model.signatures["examples"](tf.constant(raw_examples(brain_mri, "test")[:count]))
        assert outputs["confusion_matrix"].shape == (count, 4, 4)


def test_predict_writes_masks_and_overlays_at_each_images_own_size(first, brain_mri, tmp_path):
    (tmp_path / "bad.jpg").write_bytes(b"no image")
    Image.new("RGB", (123, 45)).save(tmp_path / "small.jpg")
    record = next(iter(brain_mri.glob("test-*.tfrecord")))
    inputs = [str(tmp_path / "bad.jpg"), str(tmp_path / "small.jpg"), str(record), str(tmp_path / "none.png")]
    found = list(
        predict(
            os.path.dirname(first.pushed_path), find_inputs(inputs, str(tmp_path / "out")).files, str(tmp_path / "out")
        )
    )
    assert {prediction.image for prediction in found if prediction.error} == {inputs[0], inputs[3]}
    assert len(found) == 2 + 1 + 20
    assert Image.open(tmp_path / "out" / "small_mask.png").size == (123, 45)
    mask = Image.open(tmp_path / "out" / "icbm152_axial_070_mask.png")
    assert (mask.size, mask.mode) == ((197, 233), "L")
    assert set(np.unique(np.asarray(mask))) <= {0, 1, 2, 3}
    assert Image.open(tmp_path / "out" / "icbm152_axial_070_overlay.png").mode == "RGB"
    lines = [json.loads(line) for line in (tmp_path / "out" / "predictions.jsonl").read_text().splitlines()]
    assert [line["image"] for line in lines] == [prediction.image for prediction in found]
    assert "unreadable" in lines[0]["error"]
    of_mask = next(line for line in lines if line.get("mask", "").endswith("icbm152_axial_070_mask.png"))
    counts = np.bincount(np.asarray(mask).ravel(), minlength=4) / mask.width / mask.height
    assert list(of_mask["class_shares"].values()) == pytest.approx(counts.tolist(), abs=1e-6)
    assert 0.25 < of_mask["confidence"] <= 1


def test_predict_takes_folders_and_patterns_of_any_image(first, segpipe, tmp_path):
    photos = tmp_path / "photos"
    (photos / "more").mkdir(parents=True)
    gray = np.random.default_rng(0).integers(0, 2**16, [30, 20]).astype(np.uint16)
    Image.fromarray(gray).save(photos / "deep.png")
    Image.new("RGBA", (25, 35), (200, 100, 50, 20)).save(photos / "more" / "alpha.png")
    turned = Image.Exif()
    turned[0x0112] = 6  # Turn by 90 degrees to see it upright.
    Image.new("RGB", (40, 10)).save(photos / "more" / "turned.jpg", exif=turned)
    (photos / "notes.txt").write_text("no image")
    (photos / "broken.jpg").write_text("no image")
    out = tmp_path / "out"
    finished = segpipe("predict", "--model", first.pushed_path, "--output", str(out), str(photos))
    assert finished.returncode == 1
    assert f"[1/4] {photos}/broken.jpg: unreadable" in finished.stderr
    # The values of 16 bits mean nothing to a model of images of 8.
    assert f"{photos}/deep.png: " in finished.stderr
    assert "learned from images of 8" in finished.stderr
    assert finished.stdout.splitlines()[-1] == f"2 images written to {out}; 2 could not be used"
    sizes = {str(path.relative_to(out)): Image.open(path).size for path in out.rglob("*_mask.png")}
    assert sizes == {"more/alpha_mask.png": (25, 35), "more/turned_mask.png": (10, 40)}
    assert find_inputs([f"{photos}/more/*.png"], str(out)).files == {f"{photos}/more/alpha.png": "alpha"}


def test_the_monitor_compares_with_what_the_run_was_evaluated_on(first, small_config, output, brain_mri, tmp_path):
    assert first.state == "pushed"
    config = small_config(output, monitor={"min_images": 10})
    # Other tests may have deployed another version, which was evaluated on the same images.
    version = deployed_version(config.push_destination)
    (tmp_path / "2026-11-02").mkdir()
    with tf.io.TFRecordWriter(str(tmp_path / "2026-11-02" / "0.tfrecord")) as writer:
        for image, _ in read_examples(map(str, brain_mri.glob("test*"))):
            size = upright_size(image)
            kept = KeptImage("", image, "png", *size, b"", 1.0, [1.0], version, 0.0)
            writer.write(kept.serialize())
    found = watch(config, str(tmp_path))
    assert (found.remarks, found.is_alert) == ([], False)
    (day,) = found.days
    assert (day.version, day.kept) == (version, 20)
    # Slices that lie side by side count as copies.
    assert 10 <= day.images < 20 <= found.reference + 10 < 40
    assert {test.name for test in day.tests} >= {"brightness", "confidence", CLASSES, EMBEDDINGS}


def test_runs_are_listed(first, small_config, output, segpipe, tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(small_config(output).model_dump(mode="json")))
    finished = segpipe("runs", "--config", str(path), "--json")
    assert finished.returncode == 0, finished.stderr
    listed = [json.loads(line) for line in finished.stdout.splitlines()]
    assert listed[0] == json.loads(json.dumps(dataclasses.asdict(first)))
    table = segpipe("runs", "--config", str(path))
    assert len(table.stdout.splitlines()) > len(listed)
    assert f"{first.mean_iou:.4f}" in table.stdout


def test_a_second_run_in_the_same_folder_is_refused(small_config, tmp_path):
    with exclusive(str(tmp_path), "running a pipeline"), pytest.raises(UserError, match="another process is running"):
        run(small_config(tmp_path))
