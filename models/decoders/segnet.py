"""The decoder of SegNet (Badrinarayanan, Kendall and Cipolla, "SegNet: A Deep Convolutional Encoder-Decoder
Architecture for Image Segmentation", 2017)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from data.base.section import Share
from models.decoders.decoder import Decoder

if TYPE_CHECKING:
    import keras

    from models.encoders.encoder import Encoder, FeatureMaps

_DEEP_LEVEL = 3


class SegNet(Decoder):
    """SegNet's decoder (figure 2 of the paper), which mirrors VGG16 and puts values where the encoder's maxima were.

    Each convolution but the last is followed by batch normalization and ReLU.

    Attributes:
      dropout: share of the channels dropped at the two deepest levels.
    """

    not_exported: ClassVar[str] = "its pooling indices take operations on bits that other formats lack"

    dropout: Share = 0.0

    def check_encoder(self, encoder: Encoder) -> None:
        if not encoder.keeps_places:
            raise ValueError(
                "decoder segnet takes an encoder that keeps where its maxima were, such as vgg16; add encoder: vgg16"
            )

    def build(
        self, image: keras.KerasTensor, features: list[FeatureMaps], num_classes: int, dtype: str
    ) -> keras.KerasTensor:
        import keras

        from models.layers.blocks import convolve
        from models.layers.pooling import UnpoolWithIndices

        *levels, bottom = features
        maps = bottom.maps
        widths = [level.maps.shape[-1] for level in levels]
        for level in reversed(range(len(levels))):
            name = f"decoder{level + 1}"
            height, width = levels[level].maps.shape[1:3]
            maps = UnpoolWithIndices(height, width, name=f"{name}_unpool", dtype=dtype)([maps, levels[level].places])
            # As many convolutions as in VGG16. The last one of a level leads to the width of the next; at full
            # resolution it is the classifier.
            same = 1 if level < 2 else 2
            for index, filters in enumerate([widths[level]] * same + widths[:level][-1:]):
                maps = convolve(maps, filters, 3, name=f"{name}_conv{index + 1}", dtype=dtype)
            if self.dropout and level >= _DEEP_LEVEL:
                maps = keras.layers.SpatialDropout2D(self.dropout, name=f"{name}_dropout", dtype=dtype)(maps)
        return keras.layers.Conv2D(num_classes, 3, padding="same", dtype="float32", name="logits")(maps)
