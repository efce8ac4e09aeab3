"""Focal loss (Lin et al., "Focal Loss for Dense Object Detection", 2017, section 3.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import pydantic

from models.losses.loss import PixelLoss

if TYPE_CHECKING:
    import tensorflow as tf


class Focal(PixelLoss):
    """Focal loss of each pixel: (1 - p)^γ times its cross-entropy, where p is the probability of its class.

    Attributes:
      weight: its factor in the sum of losses.
      gamma: γ, at least 1; the larger, the less do well classified pixels count. The paper found 2 to be best.
    """

    # Below 1 the gradient of well classified pixels has no bound.
    gamma: Annotated[float, pydantic.Field(ge=1, allow_inf_nan=False)] = 2.0

    def values(self, labels: tf.Tensor, logits: tf.Tensor, counted: tf.Tensor) -> tf.Tensor:
        import tensorflow as tf

        entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        # 1 - exp(-x) by itself would lose the small values of well classified pixels.
        return (-tf.math.expm1(-entropy)) ** self.gamma * entropy
