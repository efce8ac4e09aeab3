import keras
import numpy as np
import pytest
import tensorflow as tf

from data.base.errors import UserError
from models.decoders.unet import UNet
from models.encoders import FeatureMaps
from models.network import build_model
from models.settings import ModelSettings


def build(input_shape, num_classes, dtype="float32", **model):
    return build_model(ModelSettings(**{"encoder": "plain", **model}), input_shape, num_classes, dtype)


@pytest.mark.parametrize("size", [(32, 32), (37, 50), (33, 16)])
@pytest.mark.parametrize("channels", [1, 3])
def test_logits_have_the_resolution_of_the_input(size, channels):
    model = build((*size, channels), 5, filters=4, depth=3)
    assert model(np.zeros((2, *size, channels), np.float32)).shape == (2, *size, 5)


def test_parameters_are_those_of_the_paper():
    # Figure 1 of the paper: 64 to 1024 filters, four levels, one channel in, two classes out; convolutions with biases.
    # 31,030,658 is what these shapes add up to (padding does not change them).
    model = build((64, 64, 1), 2, filters=64, depth=4, normalization="none")
    expected, channels = 0, 1
    for filters in (64, 128, 256, 512, 1024):
        expected += 9 * channels * filters + filters + 9 * filters * filters + filters
        channels = filters
    for filters in (512, 256, 128, 64):
        expected += 4 * 2 * filters * filters + filters + 9 * 2 * filters * filters + filters + 9 * filters**2 + filters
    expected += 64 * 2 + 2
    assert expected == 31_030_658
    assert model.count_params() == expected


def test_parameters_on_resnet50_add_up():
    filters, below, expected = 4, 2048, 23_587_712 - 2 * 7 * 7 * 64  # One channel instead of three.
    expected += 9 * 1 * filters + 9 * filters * filters + 2 * 4 * filters  # The block on the image.
    for level, skip in ((4, 1024), (3, 512), (2, 256), (1, 64), (0, filters)):
        width = filters * 2**level
        expected += 4 * below * width + width  # 2×2 up-convolution, with biases
        expected += 9 * (width + skip) * width + 9 * width * width + 2 * 4 * width  # two 3×3, with normalization
        below = width
    expected += filters * 5 + 5
    assert build((65, 97, 1), 5, encoder="resnet50", enlargement=1, filters=filters).count_params() == expected


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ({"depth": 4}, {"encoder_3", "encoder_4", "decoder_3"}),
        ({"depth": 2}, {"encoder_1", "encoder_2", "decoder_1"}),
        ({"encoder": "resnet50", "enlargement": 1}, {"decoder_3", "decoder_4"}),
        ({"encoder": "resnet50", "enlargement": 2}, {"decoder_3"}),
    ],
)
def test_dropout_is_at_the_deepest_levels(model, expected):
    built = build((64, 64, 3), 5, filters=4, dropout=0.5, **model)
    assert {layer.name for layer in built.layers if layer.get_config().get("dropout")} == expected


def test_the_image_takes_the_place_of_what_an_encoder_leaves_out_at_the_finest_strides():
    image = keras.Input((37, 50, 5))
    features = [FeatureMaps(keras.layers.MaxPooling2D(stride)(image), stride) for stride in (4, 8, 16)]
    model = keras.Model(image, UNet(filters=4, dropout=0.5).build(image, features, 3, "float32"))
    assert model.output_shape == (None, 37, 50, 3)
    assert model.get_layer("image_at_stride_2").output.shape == (None, 19, 25, 5)
    dropped = {layer.name for layer in model.layers if layer.get_config().get("dropout")}
    assert dropped == {"decoder_2", "decoder_3"}


@pytest.mark.parametrize("normalization", ["batch", "group", "none"])
def test_every_weight_is_trained(normalization):
    keras.utils.set_random_seed(0)
    model = build((16, 16, 3), 3, filters=4, depth=2, normalization=normalization)
    images = np.random.default_rng(0).normal(size=(4, 16, 16, 3)).astype(np.float32)
    labels = np.random.default_rng(1).integers(0, 3, (4, 16, 16))
    with tf.GradientTape() as tape:
        logits = model(images, training=True)
        loss = keras.ops.mean(keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True))
    for variable, gradient in zip(
        model.trainable_variables, tape.gradient(loss, [v.value for v in model.trainable_variables]), strict=True
    ):
        assert gradient is not None, variable.path
        assert float(tf.reduce_max(tf.abs(gradient))) > 0, variable.path


def test_a_saved_model_loads_and_answers_the_same(tmp_path):
    model = build((24, 20, 3), 3, filters=4, depth=2, dropout=0.2)
    images = np.random.default_rng(0).normal(size=(2, 24, 20, 3)).astype(np.float32)
    model.save(tmp_path / "unet.keras")
    loaded = keras.models.load_model(tmp_path / "unet.keras")
    np.testing.assert_array_equal(loaded(images), model(images))


def test_mixed_precision_keeps_weights_and_logits_in_float32():
    model = build((16, 16, 1), 2, "mixed_bfloat16", filters=4, depth=2)
    assert {weight.dtype for weight in model.weights} == {"float32"}
    assert model(np.zeros((1, 16, 16, 1), np.float32)).dtype.name == "float32"
    assert model.get_layer("encoder_0").compute_dtype == "bfloat16"


def test_an_encoder_that_leaves_out_a_stride_is_refused():
    image = keras.Input((32, 32, 3))
    features = [FeatureMaps(image[:, ::stride, ::stride], stride) for stride in (2, 8)]
    with pytest.raises(UserError, match=r"model.decoder: unet takes maps at strides 2, .*; the encoder gives \[2, 8\]"):
        UNet().build(image, features, 2, "float32")
