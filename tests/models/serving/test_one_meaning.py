"""An image means the same to the conversion, to `segpipe predict`, to the model server, and to TF Serving."""

import dataclasses
import io
import json
import pathlib
from collections.abc import Callable
from typing import Any

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
from data.decoding.arrays import no_data
from data.decoding.image_type import read_image_type
from data.decoding.images import BadImageError, encoded_values, read_image, stored_values
from data.decoding.orientation import turned
from data.formats.mask_folder import MaskFolderReader
from data.label_map import LabelMap
from models.exports.network import Network
from models.inputs import preprocessing
from models.inputs.input_pipeline import DecodedExamples
from models.inputs.patches import Patches
from models.inputs.settings import PreprocessingSettings
from models.serving import signatures
from models.serving.inputs import find_inputs
from models.serving.loaded_model import LoadedModel
from models.serving.predict import predict
from models.serving.server.requests import image_size
from tests.conftest import nightly
from tests.data.decoding.files import png, tiff
from tests.data.decoding.test_kinds_of_images import geotiff

GENERATOR = np.random.default_rng(0)
HEIGHT, WIDTH = 24, 32
CLASSES = [f"level_{index}" for index in range(16)]
TURNED = bytes.fromhex("4d4d002a00000008000101120003000000010006000000000000")


def smooth(*shape: int) -> np.ndarray:
    """From 0 to 1, with a direction."""
    rows, columns = np.mgrid[0 : shape[0], 0 : shape[1]]
    return (rows / shape[0] * 0.7 + columns / shape[1] * 0.3 + GENERATOR.random(shape[:2]) * 0.02) / 1.02


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of images, and a model of them.

    Attributes:
      values: of an image, [HEIGHT, WIDTH] or [HEIGHT, WIDTH, bands].
      files: the same values in several kinds of files.
      settings: of the model's input.
      nodata: which value stands for no data.
      image_type: what the conversion finds.
    """

    values: Callable[[], np.ndarray]
    files: tuple[Callable[[np.ndarray], bytes], ...]
    settings: dict[str, Any]
    nodata: int | None = None
    image_type: dict[str, Any] = dataclasses.field(default_factory=dict)


def deep() -> np.ndarray:
    """12 bits."""
    return (smooth(HEIGHT, WIDTH) * 3500 + 400).astype(np.uint16)


def bands() -> np.ndarray:
    """13 bands; a corner has no data, and another one is dark in the first band."""
    values = np.stack([(smooth(HEIGHT, WIDTH) * 9000 + 100 * band + 900) for band in range(13)], axis=2)
    values[:5, :7], values[-5:, -7:, 0] = 0, 0
    return values.astype(np.uint16)


def floats() -> np.ndarray:
    """Two bands far from 0, of which some pixels are NaN and one is infinite."""
    values = np.stack([smooth(HEIGHT, WIDTH) + 10_000, smooth(HEIGHT, WIDTH) * 1e-4], axis=2).astype(np.float32)
    values[3, 4, 1], values[6:9, 7:12], values[20, 30, 0] = np.nan, np.nan, np.inf
    return values


def npy(values: np.ndarray) -> bytes:
    """As clients write it."""
    buffer = io.BytesIO()
    np.save(buffer, values)
    return buffer.getvalue()


KINDS = {
    "12 bits": Kind(
        deep,
        (png, tiff, lambda values: tiff(values, ">", deflate=True), lambda values: npy(values[..., np.newaxis])),
        {"channels": 1, "resize": "stretch", "percentiles": [1.0, 99.0]},
        image_type={"type": "uint16", "bands": 1},
    ),
    "colors of 16 bits": Kind(
        lambda: np.stack([deep() * 16, deep(), deep() * 3], axis=2),
        (png, tiff, geotiff, npy),
        {"channels": 3, "resize": "none"},
        image_type={"type": "uint16", "bands": 3},
    ),
    "13 bands": Kind(
        bands,
        (geotiff, npy, lambda values: geotiff(values, compress="lzw", interleave="band")),
        {"channels": [4, 3, 2, 13], "resize": "none"},
        nodata=0,
        image_type={"type": "uint16", "bands": 13, "nodata": 0},
    ),
    "13 bands, resized": Kind(
        bands,
        (geotiff, npy),
        {"resize": "stretch"},
        nodata=0,
        image_type={"type": "uint16", "bands": 13, "nodata": 0},
    ),
    "floats": Kind(floats, (geotiff, npy), {"resize": "pad"}, image_type={"type": "float32", "bands": 2}),
}


@dataclasses.dataclass(frozen=True)
class Trained:
    """A model and the data that it was made of.

    Attributes:
      kind: of the images.
      converted: the data set.
      model: served.
      network: what is in it.
    """

    kind: Kind
    converted: pathlib.Path
    model: LoadedModel
    network: keras.Model

    @property
    def transform(self) -> Any:
        folder = pathlib.Path(self.model.folder).parent / "transform"
        return tft.TFTransformOutput(str(folder)).transform_features_layer()

    def transformed(self, content: bytes) -> np.ndarray:
        """What the transform graph makes of an image."""
        mask = png(np.zeros((HEIGHT, WIDTH), np.uint8))
        features = {contract.IMAGE: tf.constant([content]), contract.MASK: tf.constant([mask])}
        pixels = self.transform(features)[preprocessing.PIXELS]
        if pixels.dtype == tf.string:
            shape = self.model.input
            return preprocessing.pixels_of(pixels[0], shape.num_channels, tf.as_dtype(shape.stored_type)).numpy()
        return pixels[0].numpy()


def convert_images(folder: pathlib.Path, kind: Kind) -> pathlib.Path:
    """Nine images, in files of all kinds in turn."""
    for index in range(9):
        split = contract.SPLITS[index % 3]
        for name in ("images", "masks"):
            (folder / "in" / name / split).mkdir(parents=True, exist_ok=True)
        values = kind.values()
        files = [file for file in kind.files if not file(values).startswith(b"\x93NUMPY")]
        content = files[index % len(files)](values)
        suffix = "png" if content.startswith(b"\x89PNG") else "tif"
        (folder / "in" / "images" / split / f"{index}.{suffix}").write_bytes(content)
        first = values if values.ndim == 2 else values[..., 0]
        ids = (np.nan_to_num(first) > np.nanmedian(first)).astype(np.uint8)
        Image.fromarray(ids).save(folder / "in" / "masks" / split / f"{index}.png")
    reader = MaskFolderReader(folder=str(folder / "in"), classes=("dark", "bright"), nodata=kind.nodata)
    convert(reader, str(folder / "out"))
    return folder / "out"


def make_model(converted: pathlib.Path, folder: pathlib.Path, settings: dict[str, Any]) -> tuple[str, keras.Model]:
    """A model of tf.Transform's graph, whose classes are levels of brightness of the first channel."""
    size = (16, 16) if settings["resize"] == "none" else (HEIGHT, WIDTH)
    size = (HEIGHT + 8, WIDTH) if settings["resize"] == "pad" else size
    shape = PreprocessingSettings(height=size[0], width=size[1], **settings)
    shape = shape.of_images(read_image_type(str(converted)), str(converted))
    records = [
        tf.train.Example.FromString(record.numpy()).features.feature
        for record in tf.data.TFRecordDataset(sorted(map(str, converted.glob("train*"))))
    ]
    names = (contract.IMAGE, contract.MASK)
    rows = [{name: np.array(features[name].bytes_list.value[0]) for name in names} for features in records]
    metadata = dataset_metadata.DatasetMetadata(schema_utils.schema_from_feature_spec(signatures.feature_spec()))
    options = beam.options.pipeline_options.PipelineOptions(["--direct_running_mode=in_memory"])
    config = shape.model_dump(mode="json")
    with beam.Pipeline(options=options) as pipeline, tft_beam.Context(temp_dir=str(folder / "temp")):
        data = (pipeline | beam.Create(rows), metadata)
        function = data | tft_beam.AnalyzeDataset(lambda inputs: preprocessing.preprocessing_fn(inputs, config))
        _ = function | tft_beam.WriteTransformFn(str(folder / "transform"))
    transform = tft.TFTransformOutput(str(folder / "transform")).transform_features_layer()
    image = keras.Input([shape.height, shape.width, shape.num_channels])
    layer = keras.layers.Conv2D(len(CLASSES), 1)
    model = keras.Model(image, layer(image))
    # Class k is the most likely one where the normalized brightness is about (k - 8) / 4.
    centers = (np.arange(len(CLASSES)) - 8) / 4
    weights = np.zeros([1, 1, shape.num_channels, len(CLASSES)], np.float32)
    weights[0, 0, 0] = 20 * centers
    layer.set_weights([weights, (-10 * centers**2).astype(np.float32)])
    facts = {
        "label_map": LabelMap.from_names(CLASSES).model_dump(mode="json"),
        "preprocessing": shape.model_dump(mode="json", exclude_none=True),
    }
    signatures.export(model, transform, str(folder / "model"), facts)
    return str(folder / "model"), model


@pytest.fixture(
    scope="module", params=["12 bits", "13 bands", *nightly("colors of 16 bits", "13 bands, resized", "floats")]
)
def trained(tmp_path_factory, request) -> Trained:
    folder = tmp_path_factory.mktemp("kind")
    kind = KINDS[request.param]
    converted = convert_images(folder, kind)
    path, network = make_model(converted, folder, kind.settings)
    return Trained(kind, converted, LoadedModel(path, 1), network)


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


def test_all_ways_give_the_same_result(trained, tmp_path):
    model, values = trained.model, trained.kind.values()
    as_converted = encoded_values(values, trained.kind.nodata).encoded
    pixels = trained.transformed(as_converted)
    expected = model.segment([as_converted], [(HEIGHT, WIDTH)])[0]
    assert len(np.unique(expected.class_ids)) > 8
    assert pixels.dtype == (np.uint16 if pixels.shape[0] == HEIGHT and model.keeps_size else np.float32)
    for index, file in enumerate(trained.kind.files):
        content = file(values)
        if content.startswith((b"\x89PNG", b"\x93NUMPY")):  # What clients send.
            np.testing.assert_array_equal(trained.transformed(content), pixels)
            np.testing.assert_array_equal(served(model, content), expected.class_ids)
        if content.startswith(b"\x93NUMPY"):
            continue
        name = f"{index}.png" if content.startswith(b"\x89PNG") else f"{index}.tif"
        whole = model.segment_whole(as_converted, HEIGHT, WIDTH).class_ids
        np.testing.assert_array_equal(predicted(model, tmp_path, name, content), whole)


def test_an_export_begins_with_what_the_model_sees(trained):
    network, content = Network(trained.model.folder), encoded_values(trained.kind.values(), trained.kind.nodata).encoded
    pixels = network.pixels(content)
    assert pixels.dtype == np.float32
    if trained.model.keeps_size:
        assert pixels.shape[1:3] == (16, 16)
        return
    np.testing.assert_array_equal(pixels[0], trained.transformed(content))
    np.testing.assert_array_equal(network.segment(pixels)["class_ids"][0], served(trained.model, content))
    if trained.kind.settings.get("percentiles"):
        # What lies beyond them is clipped inside, too.
        low, high = pixels.min(), pixels.max()
        beyond = np.where(pixels == low, low - 300, np.where(pixels == high, high + 300, pixels))
        np.testing.assert_array_equal(network.segment(beyond)["class_ids"], network.segment(pixels)["class_ids"])


def test_serving_sees_what_training_sees_bit_for_bit(trained):
    """The pixels that the signature takes are those of the training's cache, and so are the results."""
    shape, files = trained.model.input, [str(trained.converted / "test*")]
    records = [
        tf.train.Example.FromString(record.numpy()).features.feature
        for record in tf.data.TFRecordDataset(sorted(map(str, trained.converted.glob("test*"))))
    ]
    images = [features[contract.IMAGE].bytes_list.value[0] for features in records]
    if shape.resize == "none":
        examples = Patches(files, trained.transform, shape, 3, 3 * HEIGHT * WIDTH, "")
        for image, cached in zip(images, examples._images, strict=True):
            _, _, pixels, *_ = trained.model._model.begin_bands(tf.constant(image))
            assert cached.dtype == np.dtype(shape.stored_type)
            np.testing.assert_array_equal(pixels, cached)
        return
    examples = DecodedExamples(files, trained.transform, shape, 3, "")
    assert examples.pixels.dtype == np.dtype(shape.stored_type)
    for index, image in enumerate(images):
        batch, _ = examples.take(tf.constant([index], tf.int64))
        probabilities = tf.nn.softmax(trained.network(batch, training=False))
        found = trained.model.signatures["serving_default"](tf.constant([image]))
        np.testing.assert_array_equal(found["confidence"], tf.reduce_max(probabilities, axis=-1))
        np.testing.assert_array_equal(found["class_ids"], tf.argmax(probabilities, axis=-1))


def test_statistics_are_those_of_pixels_with_data(trained):
    shape = trained.model.input
    records = tf.data.TFRecordDataset(sorted(map(str, trained.converted.glob("train*"))))
    features = tf.io.parse_example(list(records), signatures.feature_spec())
    transformed = trained.transform(features)
    mean, scale = transformed["mean"][0].numpy(), transformed["scale"][0].numpy()
    images = [stored_values(content).astype(np.float64) for content in features[contract.IMAGE].numpy()]
    chosen = shape.chosen_bands() or range(shape.num_channels)
    data = [values[~no_data(values, shape.nodata)] for values in images]
    data = np.concatenate(data).reshape(-1, images[0].shape[2] if images[0].ndim == 3 else 1)[:, list(chosen)]
    if shape.percentiles:
        data = np.clip(data, *np.percentile(data, shape.percentiles, axis=0))
    # Resizing smooths the edges of what has no data.
    tolerance = 0.02 if shape.may_lack_data or shape.percentiles else 1e-4
    np.testing.assert_allclose(mean, data.mean(axis=0), atol=tolerance * data.std(axis=0).max(), rtol=1e-6)
    np.testing.assert_allclose(scale, 1 / data.std(axis=0), rtol=2 * tolerance)


def test_pixels_without_data_become_the_mean_and_are_ignored(trained):
    values = trained.kind.values()
    is_missing = no_data(values, trained.kind.nodata)
    assert np.count_nonzero(is_missing) == {"bands": 35, "floats": 17}.get(trained.kind.values.__name__, 0)
    report = json.loads((trained.converted / "conversion.json").read_text())
    assert report["image"] == trained.kind.image_type
    share = report["splits"]["train"]["ignored_pixel_share"]
    assert share == pytest.approx(is_missing.mean(), abs=1e-6)
    if trained.model.keeps_size and is_missing.any():
        shape = trained.model.input
        pixels = trained.transformed(encoded_values(values, trained.kind.nodata).encoded)
        assert (pixels[is_missing] == pixels[is_missing][0]).all()
        assert not (pixels[is_missing] == 0).any()
        np.testing.assert_array_equal(pixels[~is_missing], values[..., shape.chosen_bands()][~is_missing])


def test_what_the_model_did_not_learn_from_is_refused(trained):
    values = trained.kind.values()
    usual = png((smooth(HEIGHT, WIDTH) * 255).astype(np.uint8))
    more = encoded_values(np.dstack([values, values])).encoded
    whole = encoded_values(values).encoded
    broken = whole[: len(whole) // 2]
    for content in (usual, more, npy(values.astype(np.float64)), broken, npy(values)[:-7], b""):
        with pytest.raises(BadImageError, match=r"^the (model takes images|image cannot be decoded)") as error:
            trained.model.segment([content], [(HEIGHT, WIDTH)])
        assert "\n" not in str(error.value)


@pytest.fixture(scope="module")
def usual(tmp_path_factory) -> LoadedModel:
    """A model of gray images of 8 bits."""
    folder = tmp_path_factory.mktemp("usual")
    kind = Kind(lambda: (smooth(HEIGHT, WIDTH) * 255).astype(np.uint8), (png,), {})
    return LoadedModel(make_model(convert_images(folder, kind), folder, {"channels": 1, "resize": "none"})[0], 1)


def test_turned_images_have_one_meaning(usual, tmp_path):
    model = usual
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


def test_sixteen_bits_are_refused_by_a_model_of_eight(usual, tmp_path):
    with pytest.raises(BadImageError, match="16 bits per channel, and the model learned from images of 8"):
        served(usual, png(deep()))
    (tmp_path / "a.tif").write_bytes(tiff(deep()))
    (prediction,) = predict(usual.folder, {str(tmp_path / "a.tif"): "a"}, str(tmp_path / "out"))
    assert "learned from images of 8" in prediction.error
