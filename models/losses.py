"""Losses of a segmentation and their sums, with label 255 not counted."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import keras
import numpy as np
import tensorflow as tf

from data.contract import IGNORE_LABEL
from models.training.settings import LossName

_FOCUSING = 2.0  # γ; the paper's best.


class SegmentationLoss(keras.losses.Loss):
    """A weighted sum of losses between class ids [batch, height, width] and logits [batch, height, width, C].

    `cross_entropy` and `focal` are means over the labelled pixels of the batch, of all replicas together, so that
    several replicas compute what one would; `dice` and `lovasz_softmax` are means over images.

    Args:
      terms: names, out of `LOSSES`, and their weights in the sum.
      class_weights: [C] factors of the pixels of each class in `cross_entropy` and `focal`, or None.
    """

    def __init__(self, terms: Mapping[LossName, float], class_weights: np.ndarray | None = None):
        super().__init__(name="loss")
        self.terms = terms
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
        pixels_per_image = _mean_over_replicas(tf.reduce_mean(tf.reduce_sum(tf.cast(counted, tf.float32), axis=1)))
        losses = []
        for name, weight in self.terms.items():
            if name in _PIXEL_LOSSES:
                summed = tf.reduce_sum(_PIXEL_LOSSES[name](labels, logits) * pixel_weights, axis=1)
                losses.append(weight * tf.math.divide_no_nan(summed, pixels_per_image))
            else:
                losses.append(weight * _REGION_LOSSES[name](labels, logits, counted))
        return tf.add_n(losses)


def _mean_over_replicas(value: tf.Tensor) -> tf.Tensor:
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return value
    return context.all_reduce(tf.distribute.ReduceOp.MEAN, value)


def cross_entropy(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Cross-entropy of each pixel.

    Args:
      labels: [batch, pixels] class ids below C.
      logits: [batch, pixels, C].

    Returns:
      [batch, pixels].
    """
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)


def focal(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Focal loss of each pixel, (1 - p)^γ times its cross-entropy, with γ = 2.

    Lin et al., "Focal Loss for Dense Object Detection", 2017, section 3.2.

    Args:
      labels: [batch, pixels] class ids below C.
      logits: [batch, pixels, C].

    Returns:
      [batch, pixels].
    """
    entropy = cross_entropy(labels, logits)
    # 1 - exp(-x) by itself would lose the small values of well classified pixels.
    return (-tf.math.expm1(-entropy)) ** _FOCUSING * entropy


def dice(labels: tf.Tensor, logits: tf.Tensor, counted: tf.Tensor) -> tf.Tensor:
    """1 - soft Dice of each image: the mean over the classes that its labels contain.

    Milletari et al., "V-Net", 2016, section 3, with the probabilities themselves in the denominator, not their squares
    (Sudre et al., "Generalised Dice overlap", 2017, section 2).

    Args:
      labels: [batch, pixels] class ids below C.
      logits: [batch, pixels, C].
      counted: [batch, pixels] booleans; the others count neither as labels nor as predictions.

    Returns:
      [batch]; 0 for an image without a pixel that counts.
    """
    truth, probabilities = _one_hot_and_probabilities(labels, logits, counted)
    intersection = tf.reduce_sum(truth * probabilities, axis=1)
    sizes = tf.reduce_sum(truth, axis=1) + tf.reduce_sum(probabilities, axis=1)
    return _mean_of_present(truth, 1.0 - tf.math.divide_no_nan(2.0 * intersection, sizes))


def lovasz_softmax(labels: tf.Tensor, logits: tf.Tensor, counted: tf.Tensor) -> tf.Tensor:
    """Lovász-softmax of each image: the Lovász extension of 1 - IoU, the mean over the classes of its labels.

    Berman, Triki and Blaschko, "The Lovász-Softmax loss", 2018, section 3.1 and algorithm 1.

    Args:
      labels: [batch, pixels] class ids below C.
      logits: [batch, pixels, C].
      counted: [batch, pixels] booleans; the others count neither as labels nor as predictions.

    Returns:
      [batch]; 0 for an image without a pixel that counts.
    """
    truth, probabilities = _one_hot_and_probabilities(labels, logits, counted)
    # [batch, C, pixels]. A pixel that does not count has error 0, so it is among the last and adds nothing.
    errors = tf.transpose(tf.abs(truth - probabilities), [0, 2, 1])
    foreground = tf.transpose(truth, [0, 2, 1])
    errors, order = tf.math.top_k(errors, tf.shape(errors)[-1])
    foreground = tf.gather(foreground, order, batch_dims=2)
    size = tf.reduce_sum(foreground, axis=-1, keepdims=True)
    intersection = size - tf.cumsum(foreground, axis=-1)
    union = size + tf.cumsum(1.0 - foreground, axis=-1)
    jaccard = 1.0 - tf.math.divide_no_nan(intersection, union)
    steps = tf.concat([jaccard[..., :1], jaccard[..., 1:] - jaccard[..., :-1]], axis=-1)
    return _mean_of_present(truth, tf.reduce_sum(errors * tf.stop_gradient(steps), axis=-1))


def _one_hot_and_probabilities(labels: tf.Tensor, logits: tf.Tensor, counted: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    mask = tf.cast(counted, tf.float32)[..., tf.newaxis]
    return tf.one_hot(labels, logits.shape[-1]) * mask, tf.nn.softmax(logits) * mask


def _mean_of_present(truth: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """Means of [batch, C] values over the classes that occur in the labels, [batch, pixels, C]."""
    present = tf.cast(tf.reduce_any(truth > 0, axis=1), tf.float32)
    return tf.math.divide_no_nan(tf.reduce_sum(values * present, axis=-1), tf.reduce_sum(present, axis=-1))


_PIXEL_LOSSES: dict[str, Callable[..., tf.Tensor]] = {"cross_entropy": cross_entropy, "focal": focal}
_REGION_LOSSES: dict[str, Callable[..., tf.Tensor]] = {"dice": dice, "lovasz_softmax": lovasz_softmax}
