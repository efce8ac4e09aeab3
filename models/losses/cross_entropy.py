"""Cross-entropy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.losses.loss import PixelLoss

if TYPE_CHECKING:
    import tensorflow as tf


class CrossEntropy(PixelLoss):
    """Cross-entropy of each pixel.

    Attributes:
      weight: its factor in the sum of losses.
    """

    def values(self, labels: tf.Tensor, logits: tf.Tensor, counted: tf.Tensor) -> tf.Tensor:
        import tensorflow as tf

        return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
