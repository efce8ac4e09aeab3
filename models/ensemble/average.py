"""Several networks as one: the mean of their probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf


def average(models: Sequence[keras.Model]) -> keras.Model:
    """A model that averages the class probabilities of others; one alone is returned as it is.

    Args:
      models: from [batch, height, width, channels] images to [batch, height, width, C] logits, all of one shape.

    Returns:
      A model of the same shape whose logits are the logarithms of the mean probabilities, so that their softmax is
      these. Its weights are those of the models, one after the other.
    """
    if len(models) == 1:
        return models[0]
    image = keras.Input(models[0].input_shape[1:], name="image")
    return keras.Model(image, _LogOfMean(models, name="mean")(image), name="ensemble")


class _LogOfMean(keras.layers.Layer):
    def __init__(self, models: Sequence[keras.Model], **options: Any):
        super().__init__(**options)
        self._models = list(models)

    def call(self, images: tf.Tensor) -> tf.Tensor:
        total = tf.nn.log_softmax(self._models[0](images, training=False))
        for model in self._models[1:]:
            # TensorFlow would run them at the same time, and need memory for what all of them compute on the way.
            with tf.control_dependencies([total]):
                waiting = tf.identity(images)
            total = keras.ops.logaddexp(total, tf.nn.log_softmax(model(waiting, training=False)))
        return total - np.log(len(self._models)).astype(np.float32)
