import keras
import numpy as np
import pytest

from models.layers.imagenet import DEVIATION, MEAN, ImageNetInput


def test_images_become_what_imagenet_weights_were_trained_on():
    levels = np.random.default_rng(0).uniform(0, 255, (1, 4, 4, 3)).astype(np.float32)
    expected = keras.applications.resnet50.preprocess_input(levels.copy())
    # What our images are: per channel less the mean, divided by the standard deviation (here ImageNet's).
    normalized = (levels - [123.68, 116.779, 103.939]) / [58.4, 57.1, 57.4]
    layer = ImageNetInput(deviation=1.0, bgr=True)
    np.testing.assert_allclose(layer(normalized.astype(np.float32)), expected, rtol=0.02, atol=1e-3)


def test_a_mean_and_a_deviation_for_all_channels():
    levels = np.random.default_rng(0).uniform(0, 255, (1, 4, 4, 3)).astype(np.float32)
    normalized = ((levels - MEAN) / DEVIATION).astype(np.float32)
    np.testing.assert_allclose(ImageNetInput(127.5, 127.5)(normalized), levels / 127.5 - 1, atol=1e-5)


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_other_channels_than_rgb_take_the_means(channels):
    image = np.random.default_rng(0).normal(size=(2, 3, 5, channels)).astype(np.float32)
    expected = (np.mean(MEAN) + np.mean(DEVIATION) * image - 128) / 64
    np.testing.assert_allclose(ImageNetInput(128.0, 64.0)(image), expected, atol=1e-5)
