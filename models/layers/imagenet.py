"""The input of networks that were trained on ImageNet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

# Of ImageNet's pixels in R, G and B, as levels from 0 to 255.
MEAN = (123.675, 116.28, 103.53)
DEVIATION = (58.395, 57.12, 57.375)


@keras.saving.register_keras_serializable("segpipe")
class ImageNetInput(keras.layers.Layer):
    """Normalized images as weights that were trained on ImageNet expect them.

    [batch, height, width, channels] → the same shape.

    Those weights saw levels from 0 to 255, less some mean and divided by some deviation. Our images have zero mean and
    a variance of one in each channel; of a data set with ImageNet's colors, the levels would be

        level = MEAN + DEVIATION · image

    which is the assumption here: the layer gives (level - mean) / deviation. Images with other channels than RGB take
    the means of MEAN and DEVIATION, and of the arguments, over R, G and B, in every channel.

    Args:
      mean: what was subtracted in training, for R, G and B or for all of them.
      deviation: what it was divided by, likewise.
      bgr: whether the weights take B first and R last.
    """

    def __init__(
        self,
        mean: float | Sequence[float] = MEAN,
        deviation: float | Sequence[float] = DEVIATION,
        bgr: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.mean, self.deviation, self.bgr = mean, deviation, bgr

    def call(self, inputs: Any) -> Any:
        factor = np.broadcast_to(np.divide(DEVIATION, self.deviation), 3)
        shift = np.broadcast_to(np.divide(np.subtract(MEAN, self.mean), self.deviation), 3)
        if inputs.shape[-1] != 3:
            return inputs * float(factor.mean()) + float(shift.mean())
        outputs = inputs * factor.astype(np.float32) + shift.astype(np.float32)
        return keras.ops.flip(outputs, axis=-1) if self.bgr else outputs

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "mean": self.mean, "deviation": self.deviation, "bgr": self.bgr}
