"""The input of networks that were trained on ImageNet."""

from __future__ import annotations

from typing import Any

import keras


@keras.saving.register_keras_serializable("segpipe")
class ImageNetInput(keras.layers.Layer):
    """Normalized images as the ImageNet weights of Keras' ResNet50 and VGG16 expect them.

    [batch, height, width, 3 (RGB) or 1 (gray)] → [batch, height, width, 3 (BGR)].

    Those weights were trained on levels from 0 to 255 minus ImageNet's mean, in the order BGR, not divided by their
    standard deviation, which is about 58 (58.4, 57.1 and 57.4 in R, G and B). Our images already have zero mean and a
    variance of one, so only the factor is missing.
    """

    def call(self, inputs: Any) -> Any:
        channels = inputs.shape[-1]
        bgr = keras.ops.flip(inputs, axis=-1) if channels == 3 else keras.ops.repeat(inputs, 3, axis=-1)
        return bgr * 58.0

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (*input_shape[:-1], 3)
