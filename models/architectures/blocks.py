"""What several architectures are made of."""

from __future__ import annotations

from typing import Any, Literal

import keras

Normalization = Literal["batch", "group", "none"]

# Keras' default momentum of 0.99 leaves the moving statistics behind on runs of a few hundred steps.
# Synchronized, so that several replicas compute what one would; on one replica it makes no difference.
BATCH_NORMALIZATION: dict[str, Any] = {"momentum": 0.9, "synchronized": True}


def _normalization_layer(kind: Normalization, filters: int, **kwargs: Any) -> keras.layers.Layer | None:
    if kind == "batch":
        return keras.layers.BatchNormalization(**BATCH_NORMALIZATION, **kwargs)
    if kind == "group":
        groups = next(count for count in (8, 4, 2, 1) if filters % count == 0)
        return keras.layers.GroupNormalization(groups, **kwargs)
    return None


@keras.saving.register_keras_serializable("segpipe")
class AtrousConv2D(keras.layers.Conv2D):
    """A dilated, padded Conv2D without strides, with a kernel of odd size.

    [batch, height, width, any] → [batch, height, width, filters].
    """

    # For dilation Keras calls tf.nn.convolution, which sorts maps into rate² times as many smaller ones: on a CPU, at a
    # rate of 18, that takes a hundred times as long. TensorFlow's own dilation has no gradient on many CPUs. So this
    # computes what each point of the kernel makes of the whole map, in one 1×1 convolution, and adds it up shifted.
    def convolution_op(self, inputs: Any, kernel: Any) -> Any:
        height, width = inputs.shape[1:3]
        rows, columns = (
            [(point, offset) for point in range(points) if abs(offset := (point - points // 2) * rate) < size]
            for points, rate, size in zip(self.kernel_size, self.dilation_rate, (height, width), strict=True)
        )
        offsets = [(down, right) for _, down in rows for _, right in columns]
        kernels = [kernel[row, column] for row, _ in rows for column, _ in columns]
        all_kernels = keras.ops.concatenate(kernels, axis=-1)[None, None]
        products = keras.ops.split(keras.ops.conv(inputs, all_kernels, padding="same"), len(kernels), axis=-1)
        outputs = None
        for (down, right), product in zip(offsets, products, strict=True):
            inside = product[:, max(down, 0) : height + down, max(right, 0) : width + right]
            paddings = [[max(-down, 0), max(down, 0)], [max(-right, 0), max(right, 0)]]
            shifted = keras.ops.pad(inside, [[0, 0], *paddings, [0, 0]])
            outputs = shifted if outputs is None else outputs + shifted
        return outputs


def convolve(
    inputs: Any, filters: int, kernel_size: int, *, name: str, dtype: str, dilation_rate: int = 1
) -> keras.KerasTensor:
    """A padded convolution, batch normalization and ReLU, as layers of their own in a functional model.

    [batch, height, width, any] → [batch, height, width, filters].

    Args:
      inputs: Keras tensor.
      filters: channels out.
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
    outputs = keras.layers.BatchNormalization(**BATCH_NORMALIZATION, name=f"{name}_normalization", dtype=dtype)(outputs)
    return keras.layers.ReLU(name=f"{name}_relu", dtype=dtype)(outputs)


def fit_size(maps: Any, height: int, width: int) -> Any:
    """Crops maps, or pads them with zeros, at the bottom and at the right.

    [batch, any, any, channels] → [batch, height, width, channels].
    """
    maps = maps[:, :height, :width]
    missing = (height - maps.shape[1], width - maps.shape[2])
    return keras.ops.pad(maps, [[0, 0], [0, missing[0]], [0, missing[1]], [0, 0]]) if any(missing) else maps


@keras.saving.register_keras_serializable("segpipe")
class ImageNetInput(keras.layers.Layer):
    """Normalized images as the ImageNet weights of Keras' ResNet50 and VGG16 expect them.

    [batch, height, width, 3 (RGB) or 1 (grey)] → [batch, height, width, 3 (BGR)].

    Those weights were trained on levels from 0 to 255 less ImageNet's mean, in the order BGR, not divided by their
    standard deviation, which is about 58 (58.4, 57.1 and 57.4 in R, G and B). Our images come with zero mean and a
    variance of one, so a factor is all that is missing.
    """

    def call(self, inputs: Any) -> Any:
        channels = inputs.shape[-1]
        bgr = keras.ops.flip(inputs, axis=-1) if channels == 3 else keras.ops.repeat(inputs, 3, axis=-1)
        return bgr * 58.0

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (*input_shape[:-1], 3)


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
class UpsampleBlock(keras.layers.Layer):
    """A step of the decoder: 2×2 up-convolution, the skip connection concatenated, then a convolution block.

    [batch, height, width, any] and the skip connection [batch, skip height, skip width, any]
    → [batch, skip height, skip width, filters]. Where the encoder met an odd size, the up-convolved map is one pixel
    short (an encoder that rounds down) or long (one that rounds up): it is padded with zeros or cropped, at the bottom
    and at the right.
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
