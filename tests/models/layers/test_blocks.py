import keras
import numpy as np
import pytest
import tensorflow as tf

from models.architectures.blocks import AtrousConv2D, ImageNetInput, UpsampleBlock, fit_size


def test_images_become_what_imagenet_weights_were_trained_on():
    levels = np.random.default_rng(0).uniform(0, 255, (1, 4, 4, 3)).astype(np.float32)
    expected = keras.applications.resnet50.preprocess_input(levels.copy())
    # What our images are: per channel less the mean, divided by the standard deviation (here ImageNet's).
    normalized = (levels - [123.68, 116.779, 103.939]) / [58.4, 57.1, 57.4]
    np.testing.assert_allclose(ImageNetInput()(normalized.astype(np.float32)), expected, rtol=0.02, atol=1e-3)


def test_grey_images_get_three_equal_channels():
    grey = np.random.default_rng(0).normal(size=(2, 3, 5, 1)).astype(np.float32)
    np.testing.assert_allclose(ImageNetInput()(grey), np.repeat(grey * 58, 3, axis=-1), rtol=1e-6)


def test_maps_are_cropped_or_padded_at_the_end():
    maps = np.arange(1, 7, dtype=np.float32).reshape(1, 2, 3, 1)
    np.testing.assert_array_equal(fit_size(maps, 3, 2)[0, :, :, 0], [[1, 2], [4, 5], [0, 0]])
    assert fit_size(maps, 2, 3).shape == maps.shape


def test_the_decoder_meets_encoders_that_round_up_or_down():
    for below in (3, 4):
        block = UpsampleBlock(4)
        skip = np.zeros((1, 7, 7, 2), np.float32)
        assert block([np.zeros((1, below, below, 8), np.float32), skip]).shape == (1, 7, 7, 4)


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("rate", [2, 18])
def test_atrous_convolutions_and_their_gradients_equal_those_of_keras(rate, dtype):
    maps = tf.constant(np.random.default_rng(0).normal(size=(2, 9, 12, 4)).astype(np.float32))
    layers = [
        kind(5, 3, padding="same", dilation_rate=rate, dtype=dtype) for kind in (AtrousConv2D, keras.layers.Conv2D)
    ]
    results = []
    for layer in layers:
        layer.build(maps.shape)
        layer.set_weights(layers[0].get_weights())
        with tf.GradientTape() as tape:
            tape.watch(maps)
            outputs = tf.cast(layer(maps), tf.float32)
            loss = tf.reduce_mean(outputs**2)
        results.append([outputs, *tape.gradient(loss, [maps, layer.kernel.value])])
    for ours, expected in zip(*results, strict=True):
        np.testing.assert_allclose(ours, expected, atol=1e-5 if dtype == "float32" else 0.05)
