"""Changing the height and width of maps."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np


def fit_size(maps: Any, height: int, width: int) -> Any:
    """Crops maps, or pads them with zeros, at the bottom and at the right.

    [batch, any, any, channels] → [batch, height, width, channels].
    """
    maps = maps[:, :height, :width]
    missing = (height - maps.shape[1], width - maps.shape[2])
    return keras.ops.pad(maps, [[0, 0], [0, missing[0]], [0, missing[1]], [0, 0]]) if any(missing) else maps


def same_padding_offset(size: tuple[int, int], stride: int) -> float:
    """Where the first column of maps lies after convolutions that halve the size as TensorFlow's padding `same` does.

    It pads an even size by one pixel more at the end than at the beginning, so that each 3×3 or 5×5 kernel looks around
    the second pixel of a pair; an odd size evenly, around every other pixel from the first one on.

    Args:
      size: height and width of the image.
      stride: of the maps, a power of two.

    Returns:
      Pixels of the image; the mean of rows and columns, where they differ.
    """
    offsets = []
    for length in size:
        offset, step = 0, 1
        while step < stride:
            offset += step * (length % 2 == 0)
            length, step = -(-length // 2), 2 * step
        offsets.append(offset)
    return sum(offsets) / 2


@keras.saving.register_keras_serializable("segpipe")
class UpsampleBilinear(keras.layers.Layer):
    """Bilinear upsampling of maps whose column i lies at column stride · i + offset of the result; rows likewise.

    [batch, any, any, channels] → [batch, height, width, channels]. Beyond the outermost rows and columns, these are
    repeated.

    Args:
      height: of the result.
      width: of the result.
      stride: distance between neighboring columns of the maps, in columns of the result.
      offset: where the first column of the maps lies, in columns of the result.
    """

    # Image resizing knows an offset of (stride - 1) / 2 only, and would shift the maps of strided convolutions. Aligned
    # corners, as the authors of DeepLab have them, equal an offset of 0 for sizes of 16 n + 1 only.
    def __init__(self, height: int, width: int, stride: int, offset: float = 0.0, **kwargs: Any):
        super().__init__(**kwargs)
        self.height, self.width, self.stride, self.offset = height, width, stride, offset

    def _weights(self, length: int, target: int) -> Any:
        """[target, length]: how much each row of the input gives to each row of the output."""
        places = np.clip((np.arange(target) - self.offset) / self.stride, 0, length - 1)
        weights = np.maximum(1 - np.abs(places[:, np.newaxis] - np.arange(length)), 0)
        return keras.ops.convert_to_tensor(weights, self.compute_dtype)

    def call(self, inputs: Any) -> Any:
        height, width, channels = inputs.shape[1:]
        rows = keras.ops.reshape(inputs, (-1, height, width * channels))
        rows = keras.ops.matmul(self._weights(height, self.height), rows)
        columns = keras.ops.reshape(rows, (-1, width, channels))
        columns = keras.ops.matmul(self._weights(width, self.width), columns)
        return keras.ops.reshape(columns, (-1, self.height, self.width, channels))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "height": self.height,
            "width": self.width,
            "stride": self.stride,
            "offset": self.offset,
        }
