"""VGG16 (Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", 2014, table 1,
column D)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import pydantic

from data.base.section import Share
from models.encoders.encoder import FeatureMaps
from models.encoders.weights.files import KerasFile
from models.encoders.weights.pretrained import PretrainedEncoder
from models.layers.options import Filters

if TYPE_CHECKING:
    import keras

# Convolutions of each block, and their filters in multiples of those of the first.
_CONVOLUTIONS = (2, 2, 3, 3, 3)
_WIDTHS = (1, 2, 4, 8, 8)
_FILTERS = 64


class VGG16(PretrainedEncoder):
    """VGG16's 13 convolutions, each followed by batch normalization and ReLU; it keeps where its maxima were.

    The convolutions have the names that they have in Keras' VGG16, whose weights fit with 64 filters.

    Attributes:
      filters: channels of the first block; the paper has 64. The blocks have 1, 2, 4, 8 and 8 times as many.
      dropout: share of the channels dropped after the two deepest blocks.
      encoder_weights: `auto`, `imagenet`, `none` or a file, as in `PretrainedEncoder`.
    """

    keeps_places: ClassVar[bool] = True
    published: ClassVar[KerasFile | None] = KerasFile(
        "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5", "vgg16/", "6d6bbae143d832006294945121d1f1fc"
    )

    filters: Filters = _FILTERS
    dropout: Share = 0.0

    @pydantic.model_validator(mode="after")
    def _check_weights(self) -> VGG16:
        if self.misfit and self.encoder_weights not in ("auto", "none"):
            raise ValueError(f"encoder_weights: {self.misfit}; leave filters out")
        return self

    @property
    def misfit(self) -> str:
        return "" if self.filters == _FILTERS else f"pretrained weights fit {_FILTERS} filters only"

    def build(self, image: keras.KerasTensor, output_stride: int, dtype: str) -> list[FeatureMaps]:
        import keras

        from models.layers.blocks import convolve
        from models.layers.imagenet import ImageNetInput
        from models.layers.pooling import MaxPoolWithIndices

        # Levels less ImageNet's mean, not divided by anything.
        maps = ImageNetInput(deviation=1.0, bgr=True, name="imagenet_input", dtype="float32")(image)
        features = []
        for level, (count, width) in enumerate(zip(_CONVOLUTIONS, _WIDTHS, strict=True)):
            block, stride = f"block{level + 1}", 2**level
            for index in range(count):
                maps = convolve(maps, self.filters * width, 3, name=f"{block}_conv{index + 1}", dtype=dtype)
            pooled, places = MaxPoolWithIndices(name=f"{block}_pool", dtype=dtype)(maps)
            features.append(FeatureMaps(maps, stride, offset=(stride - 1) / 2, places=places))
            maps = pooled
            if self.dropout and level >= 3:
                maps = keras.layers.SpatialDropout2D(self.dropout, name=f"{block}_dropout", dtype=dtype)(maps)
        return [*features, FeatureMaps(maps, 32, offset=15.5)]

    def load_file(self, model: keras.Model, path: str) -> list[keras.layers.Layer]:
        from models.encoders.weights.keras_file import load_keras_weights

        assert self.published is not None
        return load_keras_weights(model, "VGG16", path, self.published.name)
