"""Several networks, or several views of an image, as one: the mean of their probabilities, and of their other maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

# The axes of [batch, height, width, channels] that are reversed in each view.
_VIEWS: dict[str, tuple[tuple[int, ...], ...]] = {
    "none": ((),),
    "horizontal": ((), (2,)),
    "both": ((), (2,), (1,), (1, 2)),
}


def average(models: Sequence[keras.Model], num_classes: int, flips: str = "none") -> keras.Model:
    """A model that averages the class probabilities of others; one alone, of one view, is returned as it is.

    Args:
      models: from [batch, height, width, channels] images to [batch, height, width, maps], all of one shape: C logits,
        and of models that tell objects apart the peak and the way to the center in rows and columns, whose mean is
        taken as it is.
      num_classes: C.
      flips: as `train.test_time_flips`, how images are mirrored for further views; maps and ways are mirrored back.

    Returns:
      A model of the same shape whose logits are the logarithms of the mean probabilities, so that their softmax is
      these. Its weights are those of the models, one after the other.
    """
    views = _VIEWS[flips]
    if len(models) == len(views) == 1:
        return models[0]
    image = keras.Input(models[0].input_shape[1:], name="image")
    return keras.Model(image, _Mean(models, num_classes, views, name="mean")(image), name="ensemble")


class _Mean(keras.layers.Layer):
    def __init__(
        self, models: Sequence[keras.Model], num_classes: int, views: tuple[tuple[int, ...], ...], **options: Any
    ):
        super().__init__(**options)
        self._models, self._num_classes, self._views = list(models), num_classes, views

    def call(self, images: tf.Tensor) -> tf.Tensor:
        total = rest = None
        for model in self._models:
            for axes in self._views:
                waiting = images
                if total is not None:
                    # TensorFlow would run them at the same time, and need memory for what all of them compute on the
                    # way.
                    with tf.control_dependencies([total]):
                        waiting = tf.identity(images)
                logs, more = self._split(self._seen(model, waiting, axes), axes)
                total = logs if total is None else _log_of_sum(total, logs)
                rest = more if rest is None or more is None else rest + more
        count = len(self._models) * len(self._views)
        total -= np.log(count).astype(np.float32)
        return total if rest is None else tf.concat([total, rest / count], axis=-1)

    def _seen(self, model: keras.Model, images: tf.Tensor, axes: tuple[int, ...]) -> tf.Tensor:
        if not axes:
            return model(images, training=False)
        return tf.reverse(model(tf.reverse(images, axes), training=False), axes)

    def _split(self, maps: tf.Tensor, axes: tuple[int, ...]) -> tuple[tf.Tensor, tf.Tensor | None]:
        """Logarithms of probabilities, and the other maps."""
        if maps.shape[-1] == self._num_classes:
            return tf.nn.log_softmax(maps), None
        # In a mirrored image the way to the center leads to the other side.
        signs = tf.constant([1.0, -1.0 if 1 in axes else 1.0, -1.0 if 2 in axes else 1.0])
        return tf.nn.log_softmax(maps[..., : self._num_classes]), maps[..., self._num_classes :] * signs


def _log_of_sum(one: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
    """The logarithm of the sum of two numbers that are given by theirs.

    Not `tf.math.log1p`, on which Keras' `logaddexp` is built: ONNX has no such operation.
    """
    larger = tf.maximum(one, other)
    return larger + tf.math.log(tf.exp(one - larger) + tf.exp(other - larger))
