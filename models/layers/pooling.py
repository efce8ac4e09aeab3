"""Pooling that remembers where the maxima were, and its inverse."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from models.layers.sizes import fit_size


@keras.saving.register_keras_serializable("segpipe")
class MaxPoolWithIndices(keras.layers.Layer):
    """2×2 max pooling that also says where in its window each maximum was (Badrinarayanan et al., 2017, section 3).

    [batch, height, width, channels] → the maxima, and their places in the windows: uint8, 0 to 3 from left to right and
    top to bottom; both [batch, height // 2, width // 2, channels]. Among equal maxima the first one counts.
    """

    # Not tf.nn.max_pool_with_argmax and a scatter: XLA, which Keras uses on GPUs, compiles no pooling with argmax, and
    # places within windows need neither the batch size nor a type that the operation supports. It is as fast on a CPU.
    def call(self, inputs: Any) -> Any:
        height, width, channels = inputs.shape[1] // 2, inputs.shape[2] // 2, inputs.shape[3]
        windows = keras.ops.reshape(inputs[:, : 2 * height, : 2 * width], (-1, height, 2, width, 2, channels))
        windows = keras.ops.transpose(windows, (0, 1, 3, 2, 4, 5))
        windows = keras.ops.reshape(windows, (-1, height, width, 4, channels))
        return keras.ops.max(windows, axis=3), keras.ops.cast(keras.ops.argmax(windows, axis=3), "uint8")


@keras.saving.register_keras_serializable("segpipe")
class UnpoolWithIndices(keras.layers.Layer):
    """Puts values where the maxima were, and zeros elsewhere (Badrinarayanan et al., 2017, section 3).

    Values and places, both [batch, height // 2, width // 2, channels] → [batch, height, width, channels]. Where the
    height or width is odd, the last row or column, which was in no window, is zero.
    """

    def __init__(self, height: int, width: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.height, self.width = height, width

    def call(self, inputs: list[Any]) -> Any:
        values, places = (keras.ops.expand_dims(maps, 3) for maps in inputs)
        height, width, channels = values.shape[1], values.shape[2], values.shape[4]
        of_window = np.arange(4, dtype=np.uint8).reshape(4, 1)
        windows = keras.ops.where(keras.ops.equal(places, of_window), values, keras.ops.zeros_like(values))
        windows = keras.ops.reshape(windows, (-1, height, width, 2, 2, channels))
        windows = keras.ops.transpose(windows, (0, 1, 3, 2, 4, 5))
        maps = keras.ops.reshape(windows, (-1, 2 * height, 2 * width, channels))
        return fit_size(maps, self.height, self.width)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "height": self.height, "width": self.width}
