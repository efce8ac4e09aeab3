"""Deep supervision: the loss is also taken on logits at lower resolutions, which only training has.

Lee et al., "Deeply-Supervised Nets", 2015; weights and levels are those of Isensee et al., "nnU-Net", 2021
(Supplementary Note 2).
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


def deeply_supervised(model: keras.Model, maps: list[Any]) -> keras.Model:
    """The model to train: the same layers, and a 1×1 convolution to logits on each of the maps.

    Args:
      model: from images to logits [batch, height, width, C].
      maps: of that model, at strides 2, 4, 8, …; with none of them the model itself is returned.

    Returns:
      A model whose first output is that of `model`; the others are [batch, about height / stride, about width / stride,
      C] float32 logits.
    """
    if not maps:
        return model
    classes = model.output_shape[-1]
    logits = [
        keras.layers.Conv2D(classes, 1, dtype="float32", name=f"deep_logits_{level}")(each)
        for level, each in enumerate(maps, start=1)
    ]
    supervised = DeeplySupervised(model.inputs, [*model.outputs, *logits], name=model.name)
    # Keras would name metrics after the one of several outputs, but they only ever see the first.
    supervised.output_names = model.output_names
    return supervised


def without_supervision(model: keras.Model) -> keras.Model:
    """The part of a model that serves, from images to its first output, with the same layers and weights."""
    return keras.Model(model.inputs, model.outputs[:1]) if len(model.outputs) > 1 else model


class DeeplySupervised(keras.Model):
    """In training, minimizes the mean of the loss over all outputs, weighted by 1, 1/2, 1/4, …

    Evaluation and metrics look at the first output only.
    """

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        total = super().compute_loss(x, y, y_pred[0], sample_weight, training)
        if not training:
            return total
        weights = [0.5**level for level in range(len(y_pred))]
        for level in range(1, len(y_pred)):
            labels = _nearest(y, 2**level, y_pred[level].shape[1:3])
            total += weights[level] * self.loss(labels, y_pred[level])
        return total / sum(weights)

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        return super().compute_metrics(x, y, y_pred[0], sample_weight)


def _nearest(labels: tf.Tensor, stride: int, size: tuple[int, int]) -> tf.Tensor:
    """The labels in the middle of each square of stride × stride pixels: [batch, *size]."""
    for axis, length in enumerate(size, start=1):
        places = tf.minimum(tf.range(length) * stride + stride // 2, tf.shape(labels)[axis] - 1)
        labels = tf.gather(labels, places, axis=axis)
    return labels
