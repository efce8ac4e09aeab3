"""Soft Dice loss (Milletari et al., "V-Net", 2016, section 3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.losses.loss import RegionLoss

if TYPE_CHECKING:
    import tensorflow as tf


class Dice(RegionLoss):
    """1 - soft Dice of each image, the mean over the classes that its labels contain.

    The denominator has the probabilities themselves, not their squares (Sudre et al., "Generalised Dice overlap", 2017,
    section 2).

    Attributes:
      weight: its factor in the sum of losses.
    """

    def values(self, labels: tf.Tensor, logits: tf.Tensor, counted: tf.Tensor) -> tf.Tensor:
        import tensorflow as tf

        from models.losses.regions import mean_of_present, one_hot_and_probabilities

        truth, probabilities = one_hot_and_probabilities(labels, logits, counted)
        intersection = tf.reduce_sum(truth * probabilities, axis=1)
        sizes = tf.reduce_sum(truth, axis=1) + tf.reduce_sum(probabilities, axis=1)
        return mean_of_present(truth, 1.0 - tf.math.divide_no_nan(2.0 * intersection, sizes))
