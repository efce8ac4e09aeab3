"""U-Net (Ronneberger, Fischer and Brox, "U-Net: Convolutional Networks for Biomedical Image Segmentation", 2015)."""

from __future__ import annotations

from typing import Any

import keras

from models.architectures.blocks import ConvolutionBlock, Normalization, UpsampleBlock


@keras.saving.register_keras_serializable("segpipe")
class DownsampleBlock(ConvolutionBlock):
    """A step of the encoder: 2×2 max pooling, then a convolution block.

    [batch, height, width, any] → [batch, height // 2, width // 2, filters].
    """

    def __init__(self, filters: int, **kwargs: Any):
        super().__init__(filters, **kwargs)
        self._pool = keras.layers.MaxPooling2D(2, dtype=self.dtype_policy)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        super().build(self._pool.compute_output_shape(input_shape))

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        return super().call(self._pool(inputs), training=training)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return super().compute_output_shape(self._pool.compute_output_shape(input_shape))


def build_unet(
    input_shape: tuple[int, int, int],
    num_classes: int,
    *,
    filters: int = 32,
    depth: int = 4,
    normalization: Normalization = "batch",
    dropout: float = 0.0,
    dtype: str = "float32",
) -> keras.Model:
    """Builds a U-Net.

    Args:
      input_shape: height, width and channels; any height and width of at least 2**depth.
      num_classes: C.
      filters: of the first level; each level below has twice as many.
      depth: how often the encoder halves the resolution.
      normalization: layer after each convolution.
      dropout: share of the channels dropped at the two deepest levels.
      dtype: Keras' dtype policy, such as `mixed_bfloat16`; weights and logits are float32 under any of them.

    Returns:
      A model from [batch, height, width, channels] normalized images to [batch, height, width, C] float32 logits.

    Raises:
      ValueError: if the input is too small for the depth.
    """
    if min(input_shape[:2]) < 2**depth:
        raise ValueError(f"an input of {input_shape[0]}x{input_shape[1]} is too small for a U-Net of depth {depth}")
    options: dict[str, Any] = {"normalization": normalization, "dtype": dtype}

    def dropout_at(level: int) -> float:
        return dropout if level >= depth - 1 else 0.0

    image = keras.Input(input_shape, name="image")
    levels = [ConvolutionBlock(filters, name="encoder_0", **options)(image)]
    for level in range(1, depth + 1):
        block = DownsampleBlock(filters * 2**level, dropout=dropout_at(level), name=f"encoder_{level}", **options)
        levels.append(block(levels[-1]))
    outputs = levels.pop()
    for level in reversed(range(depth)):
        block = UpsampleBlock(filters * 2**level, dropout=dropout_at(level), name=f"decoder_{level}", **options)
        outputs = block([outputs, levels.pop()])
    logits = keras.layers.Conv2D(num_classes, 1, dtype="float32", name="logits")(outputs)
    return keras.Model(image, logits, name="unet")
