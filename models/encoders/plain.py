"""The encoder of U-Net (Ronneberger, Fischer and Brox, "U-Net: Convolutional Networks for Biomedical Image
Segmentation", 2015)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import pydantic

from data.base.section import Share
from models.encoders.encoder import Encoder, FeatureMaps
from models.layers.options import Filters, Normalization

if TYPE_CHECKING:
    import keras


class PlainEncoder(Encoder):
    """U-Net's own encoder (figure 1 of the paper): two convolutions at each level, and 2×2 max pooling between levels.

    Attributes:
      filters: channels at full resolution; each level below has twice as many.
      depth: how often the resolution is halved.
      normalization: layer after each convolution: `batch`, `group` or `none`.
      dropout: share of the channels dropped at the two deepest levels.
    """

    filters: Filters = 32
    depth: Annotated[int, pydantic.Field(ge=1, le=7)] = 4
    normalization: Normalization = "batch"
    dropout: Share = 0.0

    @property
    def smallest_input(self) -> int:
        return 2**self.depth

    def remedy(self, pixels: int) -> str:
        return f"a depth of at most {pixels.bit_length() - 1} would do"

    def build(self, image: keras.KerasTensor, output_stride: int, dtype: str) -> list[FeatureMaps]:
        from models.layers.blocks import ConvolutionBlock, DownsampleBlock

        options: dict[str, Any] = {"normalization": self.normalization, "dtype": dtype}
        maps = ConvolutionBlock(self.filters, name="encoder_0", **options)(image)
        features = [FeatureMaps(maps, stride=1)]
        for level in range(1, self.depth + 1):
            stride, dropout = 2**level, self.dropout if level >= self.depth - 1 else 0.0
            maps = DownsampleBlock(self.filters * stride, dropout=dropout, name=f"encoder_{level}", **options)(maps)
            features.append(FeatureMaps(maps, stride, offset=(stride - 1) / 2))
        return features
