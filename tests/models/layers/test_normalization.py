"""Batch normalization in one operation: results, gradients and statistics are those of Keras' layer."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.layers.normalization import BatchNormalization


def _both(dtype: str, **options: Any) -> list[keras.layers.Layer]:
    """Keras' layer and ours, with the same weights."""
    generator = np.random.default_rng(0)
    layers = [
        kind(momentum=0.8, dtype=dtype, **options) for kind in (keras.layers.BatchNormalization, BatchNormalization)
    ]
    for layer in layers:
        layer.build((None, 5, 7, 3))
    # Variances are positive.
    values = [generator.uniform(0.5, 2.0, weight.shape) for weight in layers[0].weights]
    for layer in layers:
        layer.set_weights(values)
    return layers


def _images(count: int = 4) -> tf.Tensor:
    return tf.constant(np.random.default_rng(1).normal(2.0, 3.0, [count, 5, 7, 3]), tf.float32)


def _results(layer: keras.layers.Layer, images: tf.Tensor, training: bool) -> list[np.ndarray]:
    """Outputs, gradients of inputs and weights, and the weights afterwards."""
    with tf.GradientTape() as tape:
        tape.watch(images)
        outputs = tf.cast(layer(images, training=training), tf.float32)
        loss = tf.reduce_sum(outputs * tf.cos(outputs))
    watched = [images, *layer.trainable_weights]
    gradients = tape.gradient(loss, [getattr(variable, "value", variable) for variable in watched])
    return [np.asarray(values, np.float32) for values in (outputs, *gradients, *layer.get_weights())]


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("options", [{}, {"center": False}, {"scale": False, "epsilon": 0.1}])
def test_results_gradients_and_statistics_are_those_of_keras(options: dict[str, Any], training: bool) -> None:
    theirs, ours = (_results(layer, _images(), training) for layer in _both("float32", **options))
    assert len(theirs) == len(ours)
    for expected, found in zip(theirs, ours, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    if training:
        assert not np.allclose(ours[-1], _both("float32", **options)[0].get_weights()[-1])


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("training", [False, True])
def test_in_16_bits_results_differ_by_their_rounding(dtype: str, training: bool) -> None:
    theirs, ours = _both(dtype)
    outputs = [layer(_images(), training=training) for layer in (theirs, ours)]
    assert outputs[0].dtype == outputs[1].dtype == keras.DTypePolicy(dtype).compute_dtype
    np.testing.assert_allclose(*(tf.cast(values, tf.float32) for values in outputs), rtol=0.02, atol=0.02)
    for weight in ours.weights:
        assert weight.dtype == "float32"
    # The statistics are summed in 32 bits.
    for expected, found in zip(theirs.get_weights()[2:], ours.get_weights()[2:], strict=True):
        np.testing.assert_allclose(found, expected, rtol=0.01)


def test_a_layer_that_does_not_train_uses_its_statistics_and_keeps_them() -> None:
    _, layer = _both("float32")
    layer.trainable = False
    before = layer.get_weights()
    np.testing.assert_array_equal(layer(_images(), training=True), layer(_images(), training=False))
    for expected, found in zip(before, layer.get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_one_value_for_each_channel_and_no_image_at_all() -> None:
    theirs, ours = _both("float32")
    pixel = _images()[:1, :1, :1]
    np.testing.assert_allclose(ours(pixel, training=True), theirs(pixel, training=True), atol=1e-5)
    for expected, found in zip(theirs.get_weights(), ours.get_weights(), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert ours(_images(0), training=False).shape == (0, 5, 7, 3)


def test_saved_layers_are_read_again() -> None:
    _, layer = _both("float32", epsilon=0.01)
    again = keras.layers.deserialize(keras.layers.serialize(layer))
    assert type(again) is BatchNormalization
    assert again.get_config() == layer.get_config()
    assert BatchNormalization().name.startswith("batch_normalization")
