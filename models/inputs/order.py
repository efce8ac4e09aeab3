"""In which order does training see its examples? By the seed and the step alone, so that it can go on anywhere."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf

# The first of a seed's two integers says what is drawn: the order of an epoch, copies of images, augmentation.
_ORDER, _COPIES, _CHANGES = range(3)
# A class is rare if less than this share of the images show it.
_RARE_CLASS_SHARE = 0.5


class Part(NamedTuple):
    """Which images of a step are here; what is drawn for one does not depend on where the others are.

    Attributes:
      first: place of the first one, counted from 0.
      whole: images of the step.
    """

    first: int | tf.Tensor
    whole: int | tf.Tensor

    def draw(
        self, count: tf.Tensor, seed: tf.Tensor, low: float = 0.0, high: float = 1.0, numbers: int = 1
    ) -> tf.Tensor:
        """[count, numbers] uniform numbers for as many images: those of the whole step, of which they are a part."""
        whole = tf.random.stateless_uniform([self.whole * numbers], seed, low, high)
        return tf.reshape(whole, [-1, numbers])[self.first : self.first + count]


class TrainingOrder:
    """Which examples a training step sees: a function of the seed and the step alone.

    An epoch is a permutation of the examples. If the batch size does not divide their number, the last batch is filled
    up from the beginning of the permutation.

    Args:
      num_examples: N.
      batch_size: of a step.
      seed: of the training run.
      copies: [N] float32, how often each example is shown per epoch on average, at least 1; None for once each. An
        epoch gets no longer by them, so other examples are shown less often.
    """

    def __init__(self, num_examples: int, batch_size: int, seed: int, copies: np.ndarray | None = None):
        self.steps_per_epoch = -(-num_examples // batch_size)
        self._count, self._batch_size, self._seed, self._copies = num_examples, batch_size, seed, copies

    def epoch(self, epoch: tf.Tensor) -> tf.Tensor:
        """[steps · batch] int64 indices of an epoch; epochs count from 0."""
        indices = tf.range(self._count, dtype=tf.int64)
        if self._copies is not None:
            draws = tf.random.stateless_uniform([self._count], self._random(_COPIES, epoch))
            indices = tf.repeat(indices, tf.cast(tf.floor(self._copies + draws), tf.int32))
        indices = tf.random.experimental.stateless_shuffle(indices, self._random(_ORDER, epoch))
        return tf.gather(indices, tf.range(self.steps_per_epoch * self._batch_size) % tf.size(indices))

    def _random(self, purpose: int, number: tf.Tensor) -> tf.Tensor:
        return tf.stack([tf.constant(3 * self._seed + purpose, tf.int64), tf.cast(number, tf.int64)])

    def step(self, step: int) -> np.ndarray:
        """[batch] indices of a step; steps count from 0 over all epochs."""
        epoch, within = divmod(step, self.steps_per_epoch)
        return self.epoch(epoch).numpy()[within * self._batch_size :][: self._batch_size]

    def batches(self, first_step: int) -> tf.data.Dataset:
        """Endless pairs of [batch] indices and the [2] seed of their augmentation, from a step on."""
        endless = np.iinfo(np.int64).max
        epoch, within = divmod(first_step, self.steps_per_epoch)
        plainly = tf.autograph.experimental.do_not_convert  # AutoGraph takes a while to find nothing to convert.
        indices = (
            tf.data.Dataset.range(epoch, endless)
            .flat_map(plainly(lambda number: tf.data.Dataset.from_tensor_slices(self.epoch(number))))
            .skip(within * self._batch_size)
            .batch(self._batch_size, drop_remainder=True)
        )
        seeds = tf.data.Dataset.range(first_step, endless).map(plainly(lambda step: self._random(_CHANGES, step)))
        return tf.data.Dataset.zip((indices, seeds))


def class_balanced_copies(shown: np.ndarray) -> np.ndarray:
    """How often to show each image so that rare classes are seen more often: repeat factors.

    r(image) = max over its classes of max(1, √(t / f(class))), f the share of images that show the class; Gupta, Dollár
    and Girshick, "LVIS", 2019, section 5.2, with t = 0.5.

    Args:
      shown: [N, C] bool, which classes each image shows.

    Returns:
      [N] float32.
    """
    shares = shown.mean(axis=0)
    factors = np.maximum(1.0, np.sqrt(_RARE_CLASS_SHARE / np.maximum(shares, 1e-9)))
    return np.max(np.where(shown, factors, 1.0), axis=1).astype(np.float32)
