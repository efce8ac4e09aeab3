"""All encoders of keras.applications: which maps they give, and that weights of Keras make them Keras' networks."""

import h5py
import keras
import numpy as np
import pytest

from models.encoders import ENCODERS
from models.encoders.applications.application import KerasEncoder
from models.layers.imagenet import DEVIATION, MEAN
from models.network import build_model
from models.settings import ModelSettings
from tests.conftest import nightly

NAMES = [name for name, kind in ENCODERS.items() if issubclass(kind, KerasEncoder)]
# Each of a family, and the others of it.
FAMILIES = [
    name if name in ("resnet50", "efficientnet_v2_b0", "convnext_tiny", "mobilenet_v3_large") else nightly(name)[0]
    for name in NAMES
]


@pytest.mark.one_line
@pytest.mark.parametrize(
    ("encoder", "decoder", "channels"),
    [
        *zip(NAMES, ["unet", "deeplab_v3_plus"] * len(NAMES), [1, 5, 3] * len(NAMES), strict=False),
        ("mobilenet_v3_large", "deeplab_v3_plus", 1),
        ("convnext_tiny", "deeplab_v3_plus", 5),
        ("vgg16", "unet", 5),
        ("vgg16", "segnet", 5),
    ],
)
def test_every_encoder_works_with_its_decoders_and_any_channels(encoder, decoder, channels):
    model = build_model(ModelSettings(encoder=encoder, decoder=decoder, filters=4), (48, 37, channels), 3, "float32")
    assert model.output_shape == (None, 48, 37, 3)


@pytest.mark.one_line
@pytest.mark.parametrize("name", FAMILIES)
def test_features_are_where_their_strides_and_offsets_say(name):
    image = keras.Input((64, 96, 1))
    features = ENCODERS[name](enlargement=1).build(image, 32, "mixed_bfloat16")
    strides = [2, 4, 8, 16, 32][-len(features) :]
    assert [level.stride for level in features] == strides
    assert [level.maps.shape[1:3] for level in features] == [(64 // stride, 96 // stride) for stride in strides]
    assert {level.maps.dtype for level in features} == {"bfloat16"}
    assert strides[0] == (4 if name == "convnext_tiny" else 2)


@pytest.mark.one_line
@pytest.mark.parametrize("name", ["efficientnet_v2_b0", "mobilenet_v3_large"])
def test_the_last_stage_is_dilated_for_an_output_stride_of_16(name):
    encoder = ENCODERS[name](enlargement=1)
    features = encoder.build(keras.Input((64, 96, 3)), 16, "float32")
    assert [level.stride for level in features] == [2, 4, 8, 16, 16]
    assert features[-1].maps.shape[1:3] == (4, 6)
    assert features[-1].offset == features[-2].offset == 15
    plain, dilated = (encoder.network((64, 96, 3), "float32", dilate=dilate) for dilate in (False, True))
    assert [weight.shape for weight in plain.weights] == [weight.shape for weight in dilated.weights]
    # Without a squeeze, which averages over other points, the maps are the same ones at more places.
    for network in (plain, dilated):
        for layer in network.layers:
            if isinstance(layer, keras.layers.Multiply):
                layer.call = lambda inputs: inputs[0]
    dilated.set_weights(plain.get_weights())
    images = np.random.default_rng(0).normal(size=(1, 64, 96, 3)).astype(np.float32)
    expected = np.asarray(plain(images)[-1])
    np.testing.assert_allclose(dilated(images)[-1][:, 1::2, 1::2], expected, atol=1e-4 * np.abs(expected).max())


def randomized(network, seed=0):
    """Gives a network weights that all count: Keras begins with shifts of 0 and the like."""
    generator = np.random.default_rng(seed)
    weights = network.get_weights()
    network.set_weights(
        [value if value.ndim > 1 else generator.uniform(0.5, 1, value.shape).astype(np.float32) for value in weights]
    )
    return network


def published(network, path):
    """Writes weights as Keras publishes them: in the old format, without the model around them."""
    whole = path.with_name("whole.h5")
    network.save(whole)
    with h5py.File(whole) as source, h5py.File(path, "w") as target:
        target.attrs.update(source["model_weights"].attrs)
        for name in source["model_weights"]:
            source["model_weights"].copy(name, target)
    return str(path)


@pytest.mark.parametrize(
    "name", ["resnet50", "efficientnet_v2_b0", *nightly("efficientnet_v2_s"), "convnext_tiny", "mobilenet_v3_large"]
)
def test_with_weights_of_keras_the_maps_are_those_of_keras(name, tmp_path):
    kind = ENCODERS[name]
    size = (64, 64, 3)
    # With the normalization that Keras has in the network, where it has one.
    original = randomized(
        getattr(keras.applications, kind.application)(include_top=False, weights=None, input_shape=size)
    )
    encoder = kind(encoder_weights=published(original, tmp_path / "notop.h5"), enlargement=1)
    image = keras.Input(size)
    ours = keras.Model(image, [level.maps for level in encoder.build(image, 32, "float32")])
    encoder.load_weights(ours)
    theirs = keras.Model(original.inputs, encoder.outputs(original))

    levels = np.random.default_rng(0).uniform(0, 255, (1, *size)).astype(np.float32)
    normalized = ((levels - MEAN) / DEVIATION).astype(np.float32)
    if name == "resnet50":
        levels = (levels - np.float32(MEAN))[..., ::-1]  # It has no normalization of its own.
    for found, expected in zip(ours(normalized), theirs(levels), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.one_line
def test_a_gray_image_gives_the_maps_that_it_gives_in_rgb(tmp_path):
    kind = ENCODERS["efficientnet_v2_b0"]
    original = randomized(keras.applications.EfficientNetV2B0(include_top=False, weights=None, input_shape=(32, 32, 3)))
    encoder = kind(encoder_weights=published(original, tmp_path / "notop.h5"), enlargement=1)
    gray = np.random.default_rng(0).normal(size=(1, 32, 32, 1)).astype(np.float32)
    maps = []
    for channels in (3, 1, 5):
        image = keras.Input((32, 32, channels))
        model = keras.Model(image, [level.maps for level in encoder.build(image, 32, "float32")])
        encoder.load_weights(model)
        maps.append(model(np.repeat(gray, channels, axis=-1)))
    for rgb, *others in zip(*maps, strict=True):
        for other in others:
            np.testing.assert_allclose(other, rgb, atol=1e-4 * np.abs(rgb).max())


@pytest.mark.parametrize("name", [*NAMES, "vgg16"])
def test_the_published_files_are_those_of_keras(name, monkeypatch):
    kind = ENCODERS[name]
    application = getattr(kind, "application", "VGG16")
    asked = {}

    def get_file(name, origin, cache_subdir, file_hash):
        asked.update(name=name, origin=origin, cache_subdir=cache_subdir, file_hash=file_hash)
        raise InterruptedError

    # Keras' own module, where each of its networks looks it up.
    monkeypatch.setattr(keras.src.utils.file_utils, "get_file", get_file)
    with pytest.raises(InterruptedError):
        getattr(keras.applications, application)(include_top=False)
    file = kind.published
    assert asked == {"name": file.name, "origin": file.url, "cache_subdir": "models", "file_hash": file.digest}
