"""Blocks of convolutions that encoders and decoders share."""

from __future__ import annotations

from typing import Any

import keras

from models.layers.atrous import AtrousConv2D
from models.layers.normalization import BatchNormalization
from models.layers.options import Normalization
from models.layers.sizes import fit_size


def _normalization_layer(kind: Normalization, filters: int, **kwargs: Any) -> keras.layers.Layer | None:
    if kind == "batch":
        return BatchNormalization(**kwargs)
    if kind == "group":
        groups = next(count for count in (8, 4, 2, 1) if filters % count == 0)
        return keras.layers.GroupNormalization(groups, **kwargs)
    return None


def convolve(
    inputs: Any, filters: int, kernel_size: int, *, name: str, dtype: str, dilation_rate: int = 1
) -> keras.KerasTensor:
    """A padded convolution, batch normalization and ReLU, as layers of their own in a functional model.

    [batch, height, width, any] → [batch, height, width, filters].

    Args:
      inputs: Keras tensor.
      filters: channels of the result.
      kernel_size: pixels each way.
      name: of the convolution; the other layers' are `NAME_normalization` and `NAME_relu`.
      dtype: Keras' dtype policy.
      dilation_rate: distance in pixels between the points of the kernel.
    """
    layer = keras.layers.Conv2D if dilation_rate == 1 else AtrousConv2D
    outputs = layer(
        filters,
        kernel_size,
        padding="same",
        dilation_rate=dilation_rate,
        use_bias=False,
        kernel_initializer="he_normal",
        name=name,
        dtype=dtype,
    )(inputs)
    outputs = BatchNormalization(name=f"{name}_normalization", dtype=dtype)(outputs)
    return keras.layers.ReLU(name=f"{name}_relu", dtype=dtype)(outputs)


@keras.saving.register_keras_serializable("segpipe")
class ConvolutionBlock(keras.layers.Layer):
    """Two 3×3 convolutions, each followed by normalization and ReLU (Ronneberger et al., 2015, section 2, but padded).

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
            if isinstance(layer, BatchNormalization | keras.layers.SpatialDropout2D):
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
    """A step of an encoder: 2×2 max pooling, then a convolution block.

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
    """A step of a decoder: 2×2 up-convolution, the skip connection concatenated, then a convolution block.

    [batch, height, width, any] and the skip connection [batch, skip height, skip width, any]
    → [batch, skip height, skip width, filters]. Where the encoder met an odd size, the up-convolved map is one pixel
    too small (an encoder that rounds down) or too large (one that rounds up): it is padded with zeros or cropped, at
    the bottom and at the right.
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
        up = fit_size(up, skip.shape[1], skip.shape[2])
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
