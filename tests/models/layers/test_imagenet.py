import keras
import numpy as np

from models.layers.imagenet import ImageNetInput


def test_images_become_what_imagenet_weights_were_trained_on():
    levels = np.random.default_rng(0).uniform(0, 255, (1, 4, 4, 3)).astype(np.float32)
    expected = keras.applications.resnet50.preprocess_input(levels.copy())
    # What our images are: per channel less the mean, divided by the standard deviation (here ImageNet's).
    normalized = (levels - [123.68, 116.779, 103.939]) / [58.4, 57.1, 57.4]
    np.testing.assert_allclose(ImageNetInput()(normalized.astype(np.float32)), expected, rtol=0.02, atol=1e-3)


def test_gray_images_get_three_equal_channels():
    gray = np.random.default_rng(0).normal(size=(2, 3, 5, 1)).astype(np.float32)
    np.testing.assert_allclose(ImageNetInput()(gray), np.repeat(gray * 58, 3, axis=-1), rtol=1e-6)
