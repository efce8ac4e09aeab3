import keras
import numpy as np
import pytest
import tensorflow as tf

from models.layers.atrous import AtrousConv2D


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
