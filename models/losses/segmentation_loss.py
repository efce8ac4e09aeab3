"""The sum of losses that is trained on, with label 255 not counted."""

from __future__ import annotations

from collections.abc import Iterable

import keras
import numpy as np
import tensorflow as tf

from data.contract import IGNORE_LABEL
from models.losses.loss import Loss, PixelLoss


class SegmentationLoss(keras.losses.Loss):
    """A weighted sum of losses between class ids [batch, height, width] and logits [batch, height, width, C].

    Pixel losses are means over the labeled pixels of the batch, of all replicas together, so that several replicas
    compute what one would; region losses are means over images.

    Args:
      terms: the losses.
      class_weights: [C] factors of each class's pixels in pixel losses, or None.
    """

    def __init__(self, terms: Iterable[Loss], class_weights: np.ndarray | None = None):
        super().__init__(name="loss")
        self.terms = tuple(terms)
        self.class_weights = class_weights

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        """[batch] values, whose mean is the loss."""
        labels = tf.reshape(tf.cast(y_true, tf.int32), [tf.shape(y_true)[0], -1])
        classes = y_pred.shape[-1]
        logits = tf.cast(tf.reshape(y_pred, [tf.shape(y_pred)[0], -1, classes]), tf.float32)
        counted = labels != IGNORE_LABEL
        labels = tf.where(counted, labels, 0)
        pixel_weights = tf.cast(counted, tf.float32)
        if self.class_weights is not None:
            pixel_weights *= tf.gather(tf.constant(self.class_weights, tf.float32), labels)

        # Each image's share of the mean over pixels; Keras takes the mean over images.
        pixels_per_image = mean_over_replicas(tf.reduce_mean(tf.reduce_sum(tf.cast(counted, tf.float32), axis=1)))
        losses = []
        for term in self.terms:
            values = term.values(labels, logits, counted)
            if isinstance(term, PixelLoss):
                values = tf.math.divide_no_nan(tf.reduce_sum(values * pixel_weights, axis=1), pixels_per_image)
            losses.append(term.weight * values)
        return tf.add_n(losses)


def mean_over_replicas(value: tf.Tensor) -> tf.Tensor:
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return value
    return context.all_reduce(tf.distribute.ReduceOp.MEAN, value)
