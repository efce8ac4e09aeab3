"""An image means the same to the conversion, to `segpipe predict`, to the model server, and to TF Serving."""

import io
import json
import pathlib

import apache_beam as beam
import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform as tft
import tensorflow_transform.beam as tft_beam
from PIL import Image
from tensorflow_transform.tf_metadata import dataset_metadata, schema_utils

from data import contract
from data.convert import convert
from data.decoding.images import BadImageError, read_image
from data.decoding.orientation import turned
from data.formats.mask_folder import MaskFolderReader
from data.label_map import LabelMap
from models.inputs import preprocessing
from models.inputs.settings import PreprocessingSettings
from models.serving import signatures
from models.serving.inputs import find_inputs
from models.serving.loaded_model import LoadedModel
from models.serving.predict import predict
from models.serving.server.requests import image_size
from tests.data.decoding.files import png, tiff

GENERATOR = np.random.default_rng(0)
HEIGHT, WIDTH = 24, 32
CLASSES = [f"level_{index}" for index in range(16)]
TURNED = bytes.fromhex("4d4d002a00000008000101120003000000010006000000000000")


def smooth(*shape: int) -> np.ndarray:
    """From 0 to 1, with a direction."""
    rows, columns = np.mgrid[0 : shape[0], 0 : shape[1]]
    return (rows / shape[0] * 0.7 + columns / shape[1] * 0.3 + GENERATOR.random(shape[:2]) * 0.02) / 1.02


def deep(*shape: int) -> np.ndarray:
    """12 bits."""
    return (smooth(*shape) * 3500 + 400).astype(np.uint16)


@pytest.fixture(scope="module")
def converted(tmp_path_factory) -> pathlib.Path:
    """A data set of 12 bits in files of 16, as PNG and TIFF."""
    folder = tmp_path_factory.mktemp("deep")
    for index in range(9):
        split = contract.SPLITS[index % 3]
        for kind in ("images", "masks"):
            (folder / "in" / kind / split).mkdir(parents=True, exist_ok=True)
        values = deep(HEIGHT, WIDTH)
        (folder / "in" / "images" / split / f"{index}.png").write_bytes(png(values) if index % 2 else tiff(values))
        Image.fromarray((values > 2000).astype(np.uint8)).save(folder / "in" / "masks" / split / f"{index}.png")
    convert(MaskFolderReader(folder=str(folder / "in"), classes=("dark", "bright")), str(folder / "out"))
    return folder / "out"


def make_model(converted: pathlib.Path, folder: pathlib.Path, known: list[float] | None, resize: str = "none") -> str:
    """A model of tf.Transform's graph, whose classes are levels of brightness."""
    size = {"height": 16, "width": 16} if resize == "none" else {"height": HEIGHT, "width": WIDTH}
    shape = PreprocessingSettings(channels=1, resize=resize, intensity_range=known, **size)
    records = [
        tf.train.Example.FromString(record.numpy()).features.feature
        for record in tf.data.TFRecordDataset(sorted(map(str, converted.glob("train*"))))
    ]
    names = (contract.IMAGE, contract.MASK)
    rows = [{name: np.array(features[name].bytes_list.value[0]) for name in names} for features in records]
    metadata = dataset_metadata.DatasetMetadata(schema_utils.schema_from_feature_spec(signatures.feature_spec()))
    options = beam.options.pipeline_options.PipelineOptions(["--direct_running_mode=in_memory"])
    config = shape.model_dump()
    with beam.Pipeline(options=options) as pipeline, tft_beam.Context(temp_dir=str(folder / "temp")):
        data = (pipeline | beam.Create(rows), metadata)
        function = data | tft_beam.AnalyzeDataset(lambda inputs: preprocessing.preprocessing_fn(inputs, config))
        _ = function | tft_beam.WriteTransformFn(str(folder / "transform"))
    transform = tft.TFTransformOutput(str(folder / "transform")).transform_features_layer()
    image = keras.Input([shape.height, shape.width, 1])
    layer = keras.layers.Conv2D(len(CLASSES), 1)
    model = keras.Model(image, layer(image))
    # Class k is the most likely one where the normalized brightness is about (k - 8) / 4.
    centers = (np.arange(len(CLASSES)) - 8) / 4
    layer.set_weights([(20 * centers)[None, None, None].astype(np.float32), (-10 * centers**2).astype(np.float32)])
    facts = {
        "label_map": LabelMap.from_names(CLASSES).model_dump(mode="json"),
        "preprocessing": shape.model_dump(exclude_none=True),
    }
    signatures.export(model, transform, str(folder / "model"), facts)
    return str(folder / "model")


@pytest.fixture(scope="module", params=["none", "stretch"])
def model(converted, tmp_path_factory, request) -> LoadedModel:
    known = json.loads((converted / "conversion.json").read_text())["intensity_range"]
    folder = tmp_path_factory.mktemp(request.param)
    return LoadedModel(make_model(converted, folder, known, request.param), 1)


def transformed(model: LoadedModel, content: bytes) -> np.ndarray:
    """What the transform graph makes of an image."""
    folder = pathlib.Path(model.folder).parent / "transform"
    layer = tft.TFTransformOutput(str(folder)).transform_features_layer()
    features = {contract.IMAGE: tf.constant([content]), contract.MASK: tf.constant([png(np.zeros((4, 4), np.uint8))])}
    pixels = layer(features)[preprocessing.PIXELS]
    if pixels.dtype == tf.string:
        return preprocessing.pixels_of(pixels[0], 1).numpy()
    return pixels[0].numpy()


def served(model: LoadedModel, content: bytes) -> np.ndarray:
    """As the model server answers."""
    return model.segment([content], [image_size(content, 10_000)])[0].class_ids


def predicted(model: LoadedModel, folder: pathlib.Path, name: str, content: bytes) -> np.ndarray:
    """As `segpipe predict` writes it."""
    (folder / name).write_bytes(content)
    (prediction,) = predict(
        model.folder, find_inputs([str(folder / name)], str(folder / "out")).files, str(folder / "out")
    )
    assert prediction.error is None
    return np.asarray(Image.open(prediction.mask))


def test_deep_images_have_one_meaning(model, converted, tmp_path):
    low, high = model.facts["preprocessing"]["intensity_range"]
    values = deep(HEIGHT, WIDTH)
    as_converted = read_image(png(values), (WIDTH, HEIGHT), 10_000, intensity_range=(low, high))
    assert len(np.unique(tf.io.decode_png(as_converted.encoded))) > 100
    pixels = [transformed(model, content) for content in (png(values), as_converted.encoded)]
    np.testing.assert_array_equal(*pixels)
    expected = served(model, as_converted.encoded)
    assert len(np.unique(expected)) > 8
    np.testing.assert_array_equal(served(model, png(values)), expected)
    np.testing.assert_array_equal(predicted(model, tmp_path, "a.png", png(values)), expected)
    np.testing.assert_array_equal(predicted(model, tmp_path, "b.tif", tiff(values, ">", deflate=True)), expected)


def test_turned_images_have_one_meaning(model, tmp_path):
    upright = (smooth(HEIGHT, WIDTH) * 255).astype(np.uint8)
    stored = turned(upright, 8)  # Turned the other way by EXIF's 6.
    buffer = io.BytesIO()
    Image.fromarray(stored).save(buffer, "JPEG", quality=95, exif=b"Exif\0\0" + TURNED)
    content = buffer.getvalue()
    assert image_size(content, 10_000) == (HEIGHT, WIDTH)
    converted = read_image(content, (WIDTH, HEIGHT), 10_000)
    expected = served(model, converted.encoded)
    assert expected.shape == (HEIGHT, WIDTH)
    # Brightness grows downward.
    assert (np.diff(expected.mean(axis=1)) >= -0.2).all()
    assert expected[-1].mean() > expected[0].mean() + 4
    np.testing.assert_array_equal(served(model, content), expected)
    np.testing.assert_array_equal(predicted(model, tmp_path, "a.jpg", content), expected)
    # In a TFRecord nothing turns it: its mask belongs to the image as it is stored.
    feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[content]))
    example = tf.train.Example(features=tf.train.Features(feature={contract.IMAGE: feature}))
    with tf.io.TFRecordWriter(str(tmp_path / "x.tfrecord")) as writer:
        writer.write(example.SerializeToString())
    (prediction,) = predict(model.folder, {str(tmp_path / "x.tfrecord"): "x"}, str(tmp_path / "records"))
    assert Image.open(prediction.mask).size == (HEIGHT, WIDTH)


def test_without_a_range_sixteen_bits_are_refused(converted, tmp_path):
    model = LoadedModel(make_model(converted, tmp_path, None), 1)
    with pytest.raises(BadImageError, match="16 bits per channel, and the model knows no range"):
        served(model, png(deep(HEIGHT, WIDTH)))
    (tmp_path / "a.png").write_bytes(png(deep(HEIGHT, WIDTH)))
    (prediction,) = predict(model.folder, {str(tmp_path / "a.png"): "a"}, str(tmp_path / "out"))
    assert "more than 8 bits" in prediction.error
