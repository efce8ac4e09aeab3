"""What every loss is: a section with a weight and its own options, and a function of labels and logits."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, Annotated

import pydantic

from data.base.section import Section

if TYPE_CHECKING:
    import tensorflow as tf


class Loss(Section):
    """A loss, which derives from `PixelLoss` or from `RegionLoss`.

    Attributes:
      weight: its factor in the sum of losses.
    """

    weight: Annotated[float, pydantic.Field(gt=0, allow_inf_nan=False)] = 1.0

    @abc.abstractmethod
    def values(self, labels: tf.Tensor, logits: tf.Tensor, counted: tf.Tensor) -> tf.Tensor:
        """The loss without its weight.

        Args:
          labels: [batch, pixels] class ids below C.
          logits: [batch, pixels, C] float32.
          counted: [batch, pixels] booleans; pixels that do not count have the label 255 ("ignore") in the data, here 0.
        """


class PixelLoss(Loss):
    """A loss with a value for each pixel.

    Its `values` are [batch, pixels]. Class weights multiply them, and what is minimized is their mean over the labeled
    pixels of the batch, of all replicas together. So it need not look at `counted` itself.
    """


class RegionLoss(Loss):
    """A loss with a value for each image.

    Its `values` are [batch], and what is minimized is their mean. They must not depend on pixels that do not count, and
    be 0 for an image without pixels that count.
    """
