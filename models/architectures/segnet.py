"""SegNet (Badrinarayanan, Kendall and Cipolla, "SegNet: A Deep Convolutional Encoder-Decoder Architecture for Image
Segmentation", 2017)."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from models.architectures.blocks import ImageNetInput, convolve, fit_size

# Convolutions at each level, and their filters in multiples of those of the first: VGG16 (Simonyan and Zisserman,
# "Very Deep Convolutional Networks for Large-Scale Image Recognition", 2014, table 1, column D).
_CONVOLUTIONS = (2, 2, 3, 3, 3)
_WIDTHS = (1, 2, 4, 8, 8)


@keras.saving.register_keras_serializable("segpipe")
class MaxPoolWithIndices(keras.layers.Layer):
    """2×2 max pooling that also says where in its window each maximum was (section 3 of the paper).

    [batch, height, width, channels] → the maxima, and their places in the windows: uint8, 0 to 3 from left to right and
    top to bottom; both [batch, height // 2, width // 2, channels]. Of equal maxima the first one's place counts.
    """

    # Not tf.nn.max_pool_with_argmax and a scatter: XLA, which Keras uses on GPUs, compiles no pooling with argmax, and
    # places within windows need neither the batch's size nor a type that the operation knows. As fast on a CPU.
    def call(self, inputs: Any) -> Any:
        height, width, channels = inputs.shape[1] // 2, inputs.shape[2] // 2, inputs.shape[3]
        windows = keras.ops.reshape(inputs[:, : 2 * height, : 2 * width], (-1, height, 2, width, 2, channels))
        windows = keras.ops.transpose(windows, (0, 1, 3, 2, 4, 5))
        windows = keras.ops.reshape(windows, (-1, height, width, 4, channels))
        return keras.ops.max(windows, axis=3), keras.ops.cast(keras.ops.argmax(windows, axis=3), "uint8")


@keras.saving.register_keras_serializable("segpipe")
class UnpoolWithIndices(keras.layers.Layer):
    """Puts values where the maxima were, and zeros elsewhere (section 3 of the paper).

    Values and places, both [batch, height // 2, width // 2, channels] → [batch, height, width, channels]; of an odd
    height or width the last row or column, which was in no window, is zero.
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


def build_segnet(
    input_shape: tuple[int, int, int], num_classes: int, *, filters: int = 64, dropout: float = 0.0, dtype: str
) -> keras.Model:
    """Builds a SegNet (figure 2 of the paper): VGG16's 13 convolutions, and a decoder of 13 that mirrors them.

    Each convolution but the last is followed by batch normalization and ReLU. The encoder's have the names that they
    have in Keras' VGG16, whose weights fit with 64 filters.

    Args:
      input_shape: height and width, each at least 32, and channels, 3 (RGB) or 1 (grey).
      num_classes: C.
      filters: of the first level; the paper has 64. The levels have 1, 2, 4, 8 and 8 times as many.
      dropout: share of the channels dropped at the two deepest levels of encoder and decoder.
      dtype: Keras' dtype policy; weights and logits are float32 under any of them.

    Returns:
      A model from [batch, height, width, channels] normalized images to [batch, height, width, C] float32 logits.
    """
    widths = [filters * width for width in _WIDTHS]

    def drop(maps: Any, level: int, name: str) -> Any:
        return keras.layers.SpatialDropout2D(dropout, name=name, dtype=dtype)(maps) if dropout and level >= 3 else maps

    image = keras.Input(input_shape, name="image")
    maps = ImageNetInput(name="imagenet_input", dtype="float32")(image)
    pooled = []
    for level, (count, width) in enumerate(zip(_CONVOLUTIONS, widths, strict=True)):
        for index in range(count):
            maps = convolve(maps, width, 3, name=f"block{level + 1}_conv{index + 1}", dtype=dtype)
        size = maps.shape[1:3]
        maps, places = MaxPoolWithIndices(name=f"block{level + 1}_pool", dtype=dtype)(maps)
        maps = drop(maps, level, f"block{level + 1}_dropout")
        pooled.append((size, places))
    for level in reversed(range(len(widths))):
        (height, width), places = pooled[level]
        maps = UnpoolWithIndices(height, width, name=f"decoder{level + 1}_unpool", dtype=dtype)([maps, places])
        # The last convolution of a level leads to the width of the next one; the very last is the classifier.
        filters_of_level = [widths[level]] * (_CONVOLUTIONS[level] - 1) + widths[:level][-1:]
        for index, count in enumerate(filters_of_level):
            maps = convolve(maps, count, 3, name=f"decoder{level + 1}_conv{index + 1}", dtype=dtype)
        maps = drop(maps, level, f"decoder{level + 1}_dropout")
    logits = keras.layers.Conv2D(num_classes, 3, padding="same", dtype="float32", name="logits")(maps)
    return keras.Model(image, logits, name="segnet")
