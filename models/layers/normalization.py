"""Batch normalization in one operation of TensorFlow, where Keras takes twenty."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

# Keras' default momentum of 0.99 leaves the moving statistics behind on runs of a few hundred steps. segpipe's training
# loop raises it from step to step (`models.training.learning_rates`); this is for models that are trained without it.
_MOMENTUM = 0.9


@keras.saving.register_keras_serializable("segpipe")
class BatchNormalization(keras.layers.BatchNormalization):
    """Keras' layer, of the same weights and results, for maps: [batch, height, width, channels] → the same.

    Ioffe and Szegedy, "Batch Normalization", 2015. Keras reads and writes the maps once for each step of the formula,
    and more often for its gradient, which on processor cores costs as much as a third of the convolutions. With several
    replicas, whose statistics are those of all their images together, Keras computes.

    Args:
      kwargs: of Keras' layer.
    """

    def __init__(self, **kwargs: Any):
        super().__init__(**{"momentum": _MOMENTUM, "synchronized": True, **kwargs})

    def call(self, inputs: tf.Tensor, training: bool | None = None, mask: tf.Tensor | None = None) -> tf.Tensor:
        if tf.distribute.get_strategy().num_replicas_in_sync > 1 or mask is not None or inputs.shape.rank != 4:
            return super().call(inputs, training=training, mask=mask)
        moving = [tf.convert_to_tensor(statistic) for statistic in (self.moving_mean, self.moving_variance)]
        learns = bool(training and self.trainable)
        outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(
            tf.cast(inputs, self.compute_dtype),
            tf.convert_to_tensor(self.gamma) if self.scale else tf.ones_like(moving[0]),
            tf.convert_to_tensor(self.beta) if self.center else tf.zeros_like(moving[0]),
            *([] if learns else moving),
            epsilon=self.epsilon,
            is_training=learns,
        )
        if learns:
            # The operation returns the variance of all values that these might have been drawn from.
            values = tf.cast(tf.reduce_prod(tf.shape(inputs)[:3]), variance.dtype)
            of_batch = mean, variance * (values - 1) / values
            for variable, before, now in zip((self.moving_mean, self.moving_variance), moving, of_batch, strict=True):
                variable.assign(before * self.momentum + now * (1.0 - self.momentum))
        return outputs
