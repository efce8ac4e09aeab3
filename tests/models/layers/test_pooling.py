import numpy as np
import pytest
import tensorflow as tf

from models.layers.pooling import MaxPoolWithIndices, UnpoolWithIndices


def test_unpooling_puts_values_where_the_maxima_were():
    maps = [
        [1, 9, 2, 2, 7],
        [3, 4, 2, 2, 7],
        [5, 0, 0, 1, 7],
        [8, 6, 3, 0, 7],
        [7, 7, 7, 7, 7],  # An odd last row and column are in no window.
    ]
    maxima, places = MaxPoolWithIndices()(np.array(maps, np.float32)[None, :, :, None])
    np.testing.assert_array_equal(maxima[0, :, :, 0], [[9, 2], [8, 3]])
    np.testing.assert_array_equal(places[0, :, :, 0], [[1, 0], [2, 2]])
    values = np.array([[10, 20], [30, 40]], np.float32)[None, :, :, None]
    unpooled = UnpoolWithIndices(5, 5)([values, places])
    expected = [
        [0, 10, 20, 0, 0],
        [0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0],
        [30, 0, 40, 0, 0],
        [0, 0, 0, 0, 0],
    ]
    np.testing.assert_array_equal(unpooled[0, :, :, 0], expected)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("compiled", [False, True])
def test_pooling_and_unpooling_equal_tensorflows_argmax_and_scatter(dtype, compiled):
    # Every value once, so that there are no ties.
    maps = np.random.default_rng(0).permutation(240).reshape(2, 6, 4, 5)
    maps = tf.cast(maps, dtype)

    @tf.function(jit_compile=compiled)
    def there_and_back(inputs):
        maxima, places = MaxPoolWithIndices(dtype=dtype)(inputs)
        return maxima, UnpoolWithIndices(6, 4, dtype=dtype)([maxima, places])

    maxima, unpooled = there_and_back(maps)
    expected, indices = tf.nn.max_pool_with_argmax(tf.cast(maps, "float32"), 2, 2, "VALID", include_batch_in_index=True)
    np.testing.assert_array_equal(tf.cast(maxima, "float32"), expected)
    scattered = tf.scatter_nd(tf.reshape(indices, [-1, 1]), tf.reshape(expected, [-1]), [240])
    np.testing.assert_array_equal(tf.reshape(tf.cast(unpooled, "float32"), [-1]), scattered)
    assert unpooled.dtype == dtype
