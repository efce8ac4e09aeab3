"""U-Net (Ronneberger, Fischer and Brox, "U-Net: Convolutional Networks for Biomedical Image Segmentation", 2015)."""

from __future__ import annotations

from typing import Any, Literal

import keras

Normalization = Literal["batch", "group", "none"]


def _normalization_layer(kind: Normalization, filters: int, **kwargs: Any) -> keras.layers.Layer | None:
    if kind == "batch":
        # Keras' default momentum of 0.99 leaves the moving statistics behind on runs of a few hundred steps.
        # Synchronized, so that several replicas compute what one would; on one replica it makes no difference.
        return keras.layers.BatchNormalization(momentum=0.9, synchronized=True, **kwargs)
    if kind == "group":
        groups = next(count for count in (8, 4, 2, 1) if filters % count == 0)
        return keras.layers.GroupNormalization(groups, **kwargs)
    return None


@keras.saving.register_keras_serializable("segpipe")
class ConvolutionBlock(keras.layers.Layer):
    """Two 3×3 convolutions, each followed by normalization and ReLU (section 2 of the paper, padded).

    [batch, height, width, any] → [batch, height, width, filters].
    """

    def __init__(self, filters: int, normalization: Normalization = "batch", dropout: float = 0.0, **kwargs: Any):
        super().__init__(**kwargs)
        self.filters, self.normalization, self.dropout = filters, normalization, dropout
        self._layers_in_order: list[keras.layers.Layer] = []
        for _ in range(2):
            self._layers_in_order.append(
                keras.layers.Conv2D(
                    filters,
                    3,
                    padding="same",
                    use_bias=normalization == "none",
                    kernel_initializer="he_normal",
                    dtype=self.dtype_policy,
                )
            )
            normalize = _normalization_layer(normalization, filters, dtype=self.dtype_policy)
            if normalize is not None:
                self._layers_in_order.append(normalize)
            self._layers_in_order.append(keras.layers.ReLU(dtype=self.dtype_policy))
        if dropout:
            self._layers_in_order.append(keras.layers.SpatialDropout2D(dropout, dtype=self.dtype_policy))

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        shape = input_shape
        for layer in self._layers_in_order:
            layer.build(shape)
            shape = layer.compute_output_shape(shape)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        outputs = inputs
        for layer in self._layers_in_order:
            if isinstance(layer, keras.layers.BatchNormalization | keras.layers.SpatialDropout2D):
                outputs = layer(outputs, training=training)
            else:
                outputs = layer(outputs)
        return outputs

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (*input_shape[:-1], self.filters)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "filters": self.filters,
            "normalization": self.normalization,
            "dropout": self.dropout,
        }


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


@keras.saving.register_keras_serializable("segpipe")
class UpsampleBlock(keras.layers.Layer):
    """A step of the decoder: 2×2 up-convolution, the skip connection concatenated, then a convolution block.

    [batch, height, width, any] and the skip connection [batch, skip height, skip width, any]
    → [batch, skip height, skip width, filters]. Where the encoder met an odd size, the up-convolved map is one pixel
    short and is padded with zeros at the bottom and at the right.
    """

    def __init__(self, filters: int, normalization: Normalization = "batch", dropout: float = 0.0, **kwargs: Any):
        super().__init__(**kwargs)
        self.filters = filters
        self._up = keras.layers.Conv2DTranspose(
            filters, 2, strides=2, kernel_initializer="he_normal", dtype=self.dtype_policy
        )
        self._convolve = ConvolutionBlock(filters, normalization, dropout, dtype=self.dtype_policy)

    def build(self, input_shape: list[tuple[int, ...]]) -> None:
        below, skip = input_shape
        self._up.build(below)
        self._convolve.build((*skip[:-1], self.filters + skip[-1]))

    def call(self, inputs: list[Any], training: bool | None = None) -> Any:
        below, skip = inputs
        up = self._up(below)
        missing = [skip.shape[axis] - up.shape[axis] for axis in (1, 2)]
        if any(missing):
            up = keras.ops.pad(up, [[0, 0], [0, missing[0]], [0, missing[1]], [0, 0]])
        return self._convolve(keras.ops.concatenate([up, skip], axis=-1), training=training)

    def compute_output_shape(self, input_shape: list[tuple[int | None, ...]]) -> tuple[int | None, ...]:
        return (*input_shape[1][:-1], self.filters)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "filters": self.filters,
            "normalization": self._convolve.normalization,
            "dropout": self._convolve.dropout,
        }


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
