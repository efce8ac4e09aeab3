"""DeepLabv3+ (Chen et al., "Encoder-Decoder with Atrous Separable Convolution for Semantic Image Segmentation",
2018)."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from models.architectures.blocks import ImageNetInput, convolve
from models.architectures.resnet50 import resnet50_encoder


@keras.saving.register_keras_serializable("segpipe")
class UpsampleBilinear(keras.layers.Layer):
    """Bilinear upsampling of a strided encoder's maps, whose column i lies at column stride · i of what they came from.

    [batch, any, any, channels] → [batch, height, width, channels]. Beyond the last row and column, theirs go on.
    """

    # Image resizing puts column i at stride · (i + ½) - ½, as is right for pixels, and would shift these maps. Corners
    # aligned, as the paper's authors have it, are the same as this for sizes of 16 n + 1 only.
    def __init__(self, height: int, width: int, stride: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.height, self.width, self.stride = height, width, stride

    def _weights(self, length: int, target: int) -> Any:
        """[target, length]: how much each row of the input gives to each row of the output."""
        places = np.minimum(np.arange(target) / self.stride, length - 1)
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
        return {**super().get_config(), "height": self.height, "width": self.width, "stride": self.stride}


def _atrous_spatial_pyramid_pooling(maps: Any, filters: int, dropout: float, dtype: str) -> Any:
    """Parallel convolutions of several reaches (section 3.3 of Chen et al., "Rethinking Atrous Convolution for Semantic
    Image Segmentation", 2017), for maps at stride 16.

    [batch, height, width, any] → [batch, height, width, filters].
    """
    branches = [convolve(maps, filters, 1, name="pyramid_1x1", dtype=dtype)]
    for rate in (6, 12, 18):
        branches.append(convolve(maps, filters, 3, dilation_rate=rate, name=f"pyramid_rate_{rate}", dtype=dtype))
    pooled = keras.layers.GlobalAveragePooling2D(keepdims=True, name="pyramid_pool", dtype=dtype)(maps)
    pooled = convolve(pooled, filters, 1, name="pyramid_image", dtype=dtype)
    branches.append(keras.layers.UpSampling2D(maps.shape[1:3], name="pyramid_image_everywhere", dtype=dtype)(pooled))
    outputs = keras.layers.Concatenate(name="pyramid", dtype=dtype)(branches)
    outputs = convolve(outputs, filters, 1, name="pyramid_projection", dtype=dtype)
    if dropout:
        outputs = keras.layers.SpatialDropout2D(dropout, name="pyramid_dropout", dtype=dtype)(outputs)
    return outputs


def build_deeplab_v3_plus(
    input_shape: tuple[int, int, int], num_classes: int, *, filters: int = 256, dropout: float = 0.0, dtype: str
) -> keras.Model:
    """Builds a DeepLabv3+ on Keras' ResNet50 at output stride 16 (figure 2 of the paper).

    Its convolutions are ordinary ones; the paper's separable ones belong to its larger encoder. The decoder's low-level
    features are `conv2_block3_out` (stride 4), reduced to 48 channels (section 4.1).

    Args:
      input_shape: height and width, each at least 32, and channels, 3 (RGB) or 1 (grey).
      num_classes: C.
      filters: of the pyramid and the decoder; the paper has 256.
      dropout: share of the channels dropped after the pyramid.
      dtype: Keras' dtype policy; weights and logits are float32 under any of them.

    Returns:
      A model from [batch, height, width, channels] normalized images to [batch, height, width, C] float32 logits.
    """
    height, width = input_shape[:2]
    image = keras.Input(input_shape, name="image")
    encoder = resnet50_encoder((height, width, 3), dtype, dilate=True)
    _, low_level, _, _, maps = encoder(ImageNetInput(name="imagenet_input", dtype="float32")(image))
    maps = _atrous_spatial_pyramid_pooling(maps, filters, dropout, dtype)
    maps = UpsampleBilinear(low_level.shape[1], low_level.shape[2], 4, name="decoder_upsample", dtype=dtype)(maps)
    low_level = convolve(low_level, 48, 1, name="decoder_low_level", dtype=dtype)
    maps = keras.layers.Concatenate(name="decoder", dtype=dtype)([maps, low_level])
    for index in (1, 2):
        maps = convolve(maps, filters, 3, name=f"decoder_conv{index}", dtype=dtype)
    logits = keras.layers.Conv2D(num_classes, 1, dtype="float32", name="logits_at_stride_4")(maps)
    logits = UpsampleBilinear(height, width, 4, dtype="float32", name="logits")(logits)
    return keras.Model(image, logits, name="deeplab_v3_plus")
