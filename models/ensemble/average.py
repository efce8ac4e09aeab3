"""Several networks as one: the mean of their probabilities, and of their other maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf


def average(models: Sequence[keras.Model], num_classes: int) -> keras.Model:
    """A model that averages the class probabilities of others; one alone is returned as it is.

    Args:
      models: from [batch, height, width, channels] images to [batch, height, width, maps], all of one shape: C logits,
        and what else there is, whose mean is taken as it is.
      num_classes: C.

    Returns:
      A model of the same shape whose logits are the logarithms of the mean probabilities, so that their softmax is
      these. Its weights are those of the models, one after the other.
    """
    if len(models) == 1:
        return models[0]
    image = keras.Input(models[0].input_shape[1:], name="image")
    return keras.Model(image, _Mean(models, num_classes, name="mean")(image), name="ensemble")


class _Mean(keras.layers.Layer):
    def __init__(self, models: Sequence[keras.Model], num_classes: int, **options: Any):
        super().__init__(**options)
        self._models, self._num_classes = list(models), num_classes

    def call(self, images: tf.Tensor) -> tf.Tensor:
        total, rest = self._split(self._models[0](images, training=False))
        for model in self._models[1:]:
            # TensorFlow would run them at the same time, and need memory for what all of them compute on the way.
            with tf.control_dependencies([total]):
                waiting = tf.identity(images)
            logs, more = self._split(model(waiting, training=False))
            total = keras.ops.logaddexp(total, logs)
            rest = None if rest is None else rest + more
        total -= np.log(len(self._models)).astype(np.float32)
        return total if rest is None else tf.concat([total, rest / len(self._models)], axis=-1)

    def _split(self, maps: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor | None]:
        """Logarithms of probabilities, and the other maps."""
        if maps.shape[-1] == self._num_classes:
            return tf.nn.log_softmax(maps), None
        return tf.nn.log_softmax(maps[..., : self._num_classes]), maps[..., self._num_classes :]
