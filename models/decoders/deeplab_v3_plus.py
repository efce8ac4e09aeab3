"""The decoder of DeepLabv3+ (Chen et al., "Encoder-Decoder with Atrous Separable Convolution for Semantic Image
Segmentation", 2018)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from data.base.section import Share
from models.decoders.decoder import Decoder
from models.layers.options import Filters

if TYPE_CHECKING:
    import keras

    from models.encoders.encoder import FeatureMaps

_LOW_LEVEL_STRIDE, _LOW_LEVEL_FILTERS = 4, 48


class DeepLabV3Plus(Decoder):
    """A pyramid of atrous convolutions at stride 16, and a decoder at stride 4 (figure 2 of the paper).

    Of an encoder that ends at another stride the pyramid takes the coarsest maps.

    Attributes:
      filters: channels of pyramid and decoder; the paper has 256.
      dropout: share of the channels dropped after the pyramid.
    """

    output_stride: ClassVar[int] = 16

    filters: Filters = 256
    dropout: Share = 0.0

    def build(
        self, image: keras.KerasTensor, features: list[FeatureMaps], num_classes: int, dtype: str
    ) -> keras.KerasTensor:
        import keras

        from models.layers.blocks import convolve
        from models.layers.sizes import UpsampleBilinear

        bottom = features[-1]
        low_level = [level for level in features if level.stride <= _LOW_LEVEL_STRIDE][-1]
        stride, offset = bottom.stride // low_level.stride, (bottom.offset - low_level.offset) / low_level.stride
        maps = _pyramid(bottom.maps, self.filters, self.dropout, dtype)
        height, width = low_level.maps.shape[1:3]
        maps = UpsampleBilinear(height, width, stride, offset, name="decoder_upsample", dtype=dtype)(maps)
        low = convolve(low_level.maps, _LOW_LEVEL_FILTERS, 1, name="decoder_low_level", dtype=dtype)
        maps = keras.layers.Concatenate(name="decoder", dtype=dtype)([maps, low])
        for index in (1, 2):
            maps = convolve(maps, self.filters, 3, name=f"decoder_conv{index}", dtype=dtype)
        logits = keras.layers.Conv2D(num_classes, 1, dtype="float32", name="logits_at_low_level")(maps)
        height, width = image.shape[1:3]
        upsample = UpsampleBilinear(height, width, low_level.stride, low_level.offset, dtype="float32", name="logits")
        return upsample(logits)


def _pyramid(maps: Any, filters: int, dropout: float, dtype: str) -> Any:
    """Parallel convolutions of several reaches (section 3.3 of Chen et al., "Rethinking Atrous Convolution for Semantic
    Image Segmentation", 2017).

    [batch, height, width, any] → [batch, height, width, filters].
    """
    import keras

    from models.layers.blocks import convolve

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
