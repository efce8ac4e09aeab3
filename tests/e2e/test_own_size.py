"""A whole run on images that stay at their own size: patches in training, tiles in evaluation and serving."""

import io
import os
import shutil

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform as tft
from PIL import Image
from rich.console import Console

from data import contract
from models.evaluation import metrics
from models.exports import FORMATS
from models.exports.exports import FOLDER, check_exports
from models.exports.network import Network
from models.inputs.preprocessing import pixels_of
from models.serving.predict import predict
from models.serving.signatures import feature_spec
from pipeline.cli.common import print_summary
from pipeline.runners.local import run_locally

pytestmark = pytest.mark.one_line


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    return tmp_path_factory.mktemp("own_size") / "output"


@pytest.fixture(scope="module")
def slices(brain_mri, tmp_path_factory):
    """Every third slice of the offline sample: training on patches takes its time."""
    folder = tmp_path_factory.mktemp("slices")
    for path in brain_mri.iterdir():
        if path.suffix != ".tfrecord":
            shutil.copy(path, folder)
            continue
        with tf.io.TFRecordWriter(str(folder / path.name)) as writer:
            for record in tf.data.TFRecordDataset(str(path)).shard(3, 0):
                writer.write(record.numpy())
    return folder


@pytest.fixture(scope="module")
def pushed(small_config, slices, output):
    config = small_config(
        output,
        data={"input": str(slices)},
        preprocessing={"height": 64, "width": 48, "resize": "none"},
        train={"epochs": 5, "sampling": "class_balanced"},
        export=["tflite_float16", "tflite_int8", "onnx"],
    )
    return run_locally(config, Console(file=open(os.devnull, "w")))


@pytest.fixture(scope="module")
def features(slices):
    """Of two examples of the test split: names to bytes."""
    records = [
        record.numpy()
        for path in sorted(slices.glob("test-*"))
        for record in tf.data.TFRecordDataset(str(path)).take(2)
    ][:2]
    parsed = [tf.train.Example.FromString(record).features.feature for record in records]
    return records, [
        {name: feature[name].bytes_list.value[0] for name in (contract.IMAGE, contract.MASK)} for feature in parsed
    ]


def test_a_model_of_patches_is_pushed(pushed):
    assert pushed.state == "pushed"
    assert pushed.mean_iou > 0.5


def test_its_exports_are_measured_and_pushed_with_it(pushed, output):
    found = check_exports(pushed.pushed_path)
    assert list(found) == ["saved_model", "tflite_float16", "tflite_int8", "onnx"]
    assert pushed.exports == found
    # The SavedModel blends tiles that overlap.
    assert found["saved_model"].mean_iou == pytest.approx(pushed.mean_iou, abs=0.1)
    assert found["onnx"].mean_iou == pytest.approx(found["saved_model"].mean_iou, abs=1e-3)
    assert found["tflite_int8"].mean_iou > found["saved_model"].mean_iou - 0.03
    text = io.StringIO()
    print_summary(Console(file=text, width=200), pushed)
    shown = [f"{found[name].mean_iou:.4f}" for name in ("tflite_float16", "tflite_int8", "onnx", "saved_model")]
    assert "tflite_float16 {}, tflite_int8 {}, onnx {} (the SavedModel: {})".format(*shown) in text.getvalue()


def test_its_exports_find_what_the_model_finds_in_images_as_none_was_in_training(pushed, features):
    """Of one value, saturated, overexposed, dark, and noise: values beyond the ranges that integers were given."""
    network, folder = Network(pushed.pushed_path), os.path.join(pushed.pushed_path, FOLDER)
    names = [name for name in pushed.exports if name in FORMATS]
    runtimes = {name: FORMATS[name]().load(os.path.join(folder, FORMATS[name].file)) for name in names}
    tiles = network.pixels(features[1][0][contract.IMAGE]).astype(int)
    image = tiles[tiles.mean(axis=(1, 2, 3)).argmax()]
    images = [np.full_like(image, value) for value in (0, 1, 128, 255)]
    images += [8 * (image - 128) + 128, 3 * image, image // 8, np.random.default_rng(0).integers(0, 256, image.shape)]
    not_empty = 0
    for values in images:
        pixels = np.clip(values, 0, 255).astype(np.uint8)[np.newaxis]
        expected = network.segment(pixels)["class_ids"].numpy()
        not_empty += bool(expected.any())
        for name, segment in runtimes.items():
            class_ids, confidence, _ = segment(pixels)
            assert (class_ids == expected).mean() > (0.8 if FORMATS[name].is_quantized else 0.99)
            assert class_ids.any() == expected.any()
            assert np.isfinite(confidence).all()
    assert not_empty > 1


def test_normalization_is_that_of_all_pixels_of_the_train_split(pushed, output, slices):
    (graph,) = (output / "artifacts" / "Transform" / "transform_graph").iterdir()
    records = [record.numpy() for path in slices.glob("train-*") for record in tf.data.TFRecordDataset(str(path))]
    layer = tft.TFTransformOutput(str(graph)).transform_features_layer()
    features = layer(tf.io.parse_example(records, feature_spec()))
    pixels = np.concatenate([pixels_of(image, 1).numpy().ravel() for image in features["pixels"]]).astype(np.float64)
    np.testing.assert_allclose(features["mean"], np.full([len(records), 1], pixels.mean()), rtol=1e-5)
    np.testing.assert_allclose(features["scale"], np.full([len(records), 1], 1 / pixels.std()), rtol=1e-5)


def test_the_evaluator_counts_what_is_served_at_the_images_size(pushed, features):
    records, examples = features
    model = tf.saved_model.load(pushed.pushed_path)
    confusions = model.signatures["examples"](tf.constant(records))["confusion_matrix"]
    for example, confusion in zip(examples, confusions, strict=True):
        label = tf.io.decode_png(example[contract.MASK]).numpy()[..., 0]
        served = model.signatures["serving_default"](tf.constant([example[contract.IMAGE]]))
        assert served["class_ids"].shape == (1, *label.shape)
        np.testing.assert_array_equal(confusion, metrics.confusion_matrix(label, served["class_ids"][0].numpy(), 4))
        assert served["confidence"].numpy().min() >= 0.25


def test_a_request_may_hold_images_of_several_sizes(pushed, features):
    large = features[1][0][contract.IMAGE]
    pixels = tf.io.decode_image(large, expand_animations=False)
    small = tf.io.encode_png(pixels[:30, :190]).numpy()
    serve = tf.saved_model.load(pushed.pushed_path).signatures["serving_default"]
    both, alone = serve(tf.constant([large, small])), serve(tf.constant([small]))
    assert both["class_ids"].shape == (2, *pixels.shape[:2])
    np.testing.assert_array_equal(both["class_ids"][1, :30, :190], alone["class_ids"][0])
    for outside in (np.s_[1, 30:], np.s_[1, :, 190:]):
        assert (both["class_ids"].numpy()[outside] == contract.IGNORE_LABEL).all()
        assert (both["confidence"].numpy()[outside] == 0).all()


def test_predict_writes_masks_by_tiles(pushed, tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, [150, 333]).astype(np.uint8)).save(tmp_path / "wide.png")
    (prediction,) = predict(pushed.pushed_path, {str(tmp_path / "wide.png"): "wide"}, str(tmp_path / "out"))
    assert (prediction.error, prediction.height, prediction.width) == (None, 150, 333)
    assert Image.open(tmp_path / "out" / "wide_mask.png").size == (333, 150)
