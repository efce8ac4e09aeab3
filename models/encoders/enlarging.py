"""Encoders that may enlarge an image before their network looks at it."""

from __future__ import annotations

import abc
import dataclasses
from typing import TYPE_CHECKING, Literal

from models.encoders.encoder import FeatureMaps
from models.encoders.weights.pretrained import PretrainedEncoder

if TYPE_CHECKING:
    import keras

# Height and width of the images that ImageNet's weights are usually trained on.
_USUAL_PIXELS = 224


class EnlargingEncoder(PretrainedEncoder):
    """An encoder whose network begins with a stride, and has seen larger images than many a model's input.

    Attributes:
      enlargement: how many times an image is enlarged for the network, which then finds objects of the size that it
        has learned, and whose finest maps have the image's own resolution; with 2 a training step takes twice as long.
        `auto` is 2 if that brings the shorter side of the input closer to 224 pixels, in proportion: below 158.
    """

    enlargement: Literal["auto", 1, 2] = "auto"

    def for_input(self, height: int, width: int) -> EnlargingEncoder:
        return self.model_copy(update={"enlargement": self._times(height, width)})

    def _times(self, height: int, width: int) -> int:
        if self.enlargement != "auto":
            return self.enlargement
        return 2 if 2 * min(height, width) ** 2 < _USUAL_PIXELS**2 else 1

    @abc.abstractmethod
    def network_maps(self, image: keras.KerasTensor, output_stride: int, dtype: str) -> list[FeatureMaps]:
        """What `build` is to an encoder that enlarges nothing."""

    def build(self, image: keras.KerasTensor, output_stride: int, dtype: str) -> list[FeatureMaps]:
        import keras

        times = self._times(*image.shape[1:3])
        if times == 1:
            return self.network_maps(image, output_stride, dtype)
        enlarge = keras.layers.UpSampling2D(times, interpolation="bilinear", name="enlarged_image", dtype="float32")
        return [
            # Pixels have their middle at a half: the first column of the enlarged image lies at -1/4.
            dataclasses.replace(level, stride=level.stride // times, offset=(level.offset + 0.5) / times - 0.5)
            for level in self.network_maps(enlarge(image), times * output_stride, dtype)
        ]
