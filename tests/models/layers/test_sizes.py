import keras
import numpy as np
import pytest
import tensorflow as tf

from models.layers.sizes import UpsampleBilinear, fit_size, same_padding_offset


def test_maps_are_cropped_or_padded_at_the_end():
    maps = np.arange(1, 7, dtype=np.float32).reshape(1, 2, 3, 1)
    np.testing.assert_array_equal(fit_size(maps, 3, 2)[0, :, :, 0], [[1, 2], [4, 5], [0, 0]])
    assert fit_size(maps, 2, 3).shape == maps.shape


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


def test_maps_of_windows_lie_in_the_middle_of_these():
    maps = np.random.default_rng(0).normal(size=(2, 3, 5, 2)).astype(np.float32)
    expected = tf.image.resize(maps, (12, 20))  # Half-pixel centers.
    np.testing.assert_allclose(UpsampleBilinear(12, 20, 4, offset=1.5)(maps), expected, atol=1e-5)


@pytest.mark.parametrize("size", [16, 17, 18, 20, 23])
def test_the_offset_is_where_strided_convolutions_look(size):
    columns = np.arange(size, dtype=np.float32)[None, :, None]
    for level, points in enumerate((3, 5, 3)):
        kernel = np.eye(points, dtype=np.float32)[points // 2, :, None, None]  # Its middle alone.
        columns = keras.ops.conv(columns, kernel, strides=2, padding="same")
        assert same_padding_offset((size, size), 2 ** (level + 1)) == float(columns[0, 0, 0])
    assert same_padding_offset((16, 17), 8) == 3.5
