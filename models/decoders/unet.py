"""The decoder of U-Net (Ronneberger, Fischer and Brox, "U-Net: Convolutional Networks for Biomedical Image
Segmentation", 2015)."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from data.base.errors import UserError
from data.base.section import Share
from models.decoders.decoder import Decoder
from models.layers.options import Filters, Normalization

if TYPE_CHECKING:
    import keras

    from models.encoders.encoder import FeatureMaps


class UNet(Decoder):
    """U-Net's decoder (section 2 of the paper): up-convolutions, and the encoder's maps concatenated at each level.

    The encoder's coarsest maps are the bottom. Where an encoder has nothing at full resolution, a convolution block on
    the image takes that place, as U-Net's own encoder begins with one; structures of one or two pixels are hardly in
    maps at stride 2. Where it has nothing at stride 2 either, that place is the image's, averaged over 2×2 pixels.

    Attributes:
      filters: channels at full resolution; each level below has twice as many.
      normalization: layer after each convolution: `batch`, `group` or `none`.
      dropout: share of the channels dropped at the deepest level; at the two deepest ones where the encoder has nothing
        at full resolution.
      deep_supervision: whether training takes the loss on all levels but the deepest one, not at full resolution only.
    """

    filters: Filters = 16
    normalization: Normalization = "batch"
    dropout: Share = 0.0
    deep_supervision: bool = True

    def build(
        self, image: keras.KerasTensor, features: list[FeatureMaps], num_classes: int, dtype: str
    ) -> keras.KerasTensor:
        import keras

        from models.layers.blocks import ConvolutionBlock, UpsampleBlock

        strides = [level.stride for level in features]
        if strides not in ([first * 2**level for level in range(len(features))] for first in (1, 2, 4)):
            raise UserError(f"model.decoder: unet takes maps at strides 2, 4, 8, …; the encoder gives {strides}")
        *skips, outputs = [level.maps for level in features]
        if strides[0] == 4:
            skips = [keras.layers.AveragePooling2D(2, padding="same", name="image_at_stride_2")(image), *skips]
        if strides[0] > 1:
            block = ConvolutionBlock(self.filters, self.normalization, name="decoder_image", dtype=dtype)
            skips = [block(image), *skips]
        for level in reversed(range(len(skips))):
            upsample = UpsampleBlock(
                self.filters * 2**level,
                self.normalization,
                self.dropout if level >= len(skips) - (1 if strides[0] == 1 else 2) else 0.0,
                name=f"decoder_{level}",
                dtype=dtype,
            )
            outputs = upsample([outputs, skips[level]])
        return keras.layers.Conv2D(num_classes, 1, dtype="float32", name="logits")(outputs)

    def object_features(self, model: keras.Model) -> keras.KerasTensor:
        # At half of the resolution, if there is that level.
        names = {layer.name for layer in model.layers}
        return model.get_layer("decoder_1" if "decoder_1" in names else "decoder_0").output

    def supervised_maps(self, model: keras.Model) -> list[keras.KerasTensor]:
        if not self.deep_supervision:
            return []
        blocks = {layer.name: layer for layer in model.layers}
        levels = itertools.takewhile(lambda level: f"decoder_{level + 1}" in blocks, itertools.count(1))
        return [blocks[f"decoder_{level}"].output for level in levels]
