"""What losses of regions share."""

from __future__ import annotations

import tensorflow as tf


def one_hot_and_probabilities(labels: tf.Tensor, logits: tf.Tensor, counted: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Labels and softmax of the logits, both [batch, pixels, C] float32 and 0 where pixels do not count.

    Args:
      labels: [batch, pixels] class ids below C.
      logits: [batch, pixels, C].
      counted: [batch, pixels] booleans.
    """
    mask = tf.cast(counted, tf.float32)[..., tf.newaxis]
    return tf.one_hot(labels, logits.shape[-1]) * mask, tf.nn.softmax(logits) * mask


def mean_of_present(truth: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """Means of [batch, C] values over the classes that occur in each image, [batch]; 0 where none does.

    Args:
      truth: [batch, pixels, C], as `one_hot_and_probabilities` gives it.
      values: [batch, C].
    """
    present = tf.cast(tf.reduce_any(truth > 0, axis=1), tf.float32)
    return tf.math.divide_no_nan(tf.reduce_sum(values * present, axis=-1), tf.reduce_sum(present, axis=-1))
