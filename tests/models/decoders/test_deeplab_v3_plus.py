import keras
import numpy as np
import pytest
import tensorflow as tf

from models.architectures.deeplab_v3_plus import UpsampleBilinear, build_deeplab_v3_plus


def test_columns_come_to_lie_at_multiples_of_the_stride():
    maps = np.array([[0, 4, 8]], np.float32)[None, :, :, None]
    upsampled = UpsampleBilinear(2, 11, 4)(maps)
    expected = [0, 1, 2, 3, 4, 5, 6, 7, 8, 8, 8]
    np.testing.assert_array_equal(upsampled[0, :, :, 0], [expected, expected])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("compiled", [False, True])
def test_upsampling_is_bilinear_between_aligned_corners(dtype, compiled):
    maps = np.random.default_rng(0).normal(size=(2, 5, 4, 3)).astype(np.float32)
    layer = UpsampleBilinear(17, 13, 4, dtype=dtype)
    upsampled = tf.function(layer, jit_compile=compiled)(maps)
    expected = tf.compat.v1.image.resize_bilinear(maps, (17, 13), align_corners=True)
    tolerance = {"float32": 1e-5, "bfloat16": 0.03, "float16": 0.003}[dtype]
    np.testing.assert_allclose(tf.cast(upsampled, "float32"), expected, atol=tolerance)
    assert upsampled.dtype == dtype


def test_parts_are_those_of_the_paper():
    model = build_deeplab_v3_plus((128, 96, 3), 5, dtype="float32")
    rates = {
        layer.name: layer.dilation_rate
        for layer in model.layers
        if layer.name.startswith("pyramid_rate") and layer.weights and isinstance(layer, keras.layers.Conv2D)
    }
    assert rates == {f"pyramid_rate_{rate}": (rate, rate) for rate in (6, 12, 18)}
    assert model.get_layer("pyramid").output.shape == (None, 8, 6, 5 * 256)
    assert model.get_layer("decoder").output.shape == (None, 32, 24, 256 + 48)
    wide, low = 4 * 256, 4 * 48  # Weights of batch normalization.
    pyramid = 2 * 2048 * 256 + 3 * 9 * 2048 * 256 + 5 * 256 * 256 + 6 * wide
    decoder = 256 * 48 + low + 9 * 304 * 256 + 9 * 256 * 256 + 2 * wide + 256 * 5 + 5
    assert model.count_params() == 23_587_712 + pyramid + decoder
