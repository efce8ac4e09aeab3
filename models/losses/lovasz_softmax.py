"""Lovász-softmax (Berman, Triki and Blaschko, "The Lovász-Softmax loss", 2018, section 3.1 and algorithm 1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.losses.loss import RegionLoss

if TYPE_CHECKING:
    import tensorflow as tf


class LovaszSoftmax(RegionLoss):
    """The Lovász extension of 1 - IoU of each image, the mean over the classes that its labels contain.

    Attributes:
      weight: its factor in the sum of losses.
    """

    def values(self, labels: tf.Tensor, logits: tf.Tensor, counted: tf.Tensor) -> tf.Tensor:
        import tensorflow as tf

        from models.losses.regions import mean_of_present, one_hot_and_probabilities

        truth, probabilities = one_hot_and_probabilities(labels, logits, counted)
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
        return mean_of_present(truth, tf.reduce_sum(errors * tf.stop_gradient(steps), axis=-1))
