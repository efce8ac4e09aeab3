"""What an optimizer does at a step: its learning rate, lower for some weights, and the momentum of moving averages."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import keras
import tensorflow as tf

from models.training.settings import TrainSettings

# Largest one of the statistics of batch normalization; they are then about the mean of 33 batches.
_STATISTICS_MOMENTUM = 0.97


def learning_rates(settings: TrainSettings, small_sizes: float = 0.0) -> Callable[[float, float], float]:
    """A function from the share of the training that is done, and the share that the warm-up takes, to a learning rate.

    It is one of Keras' schedules after a linear warm-up.

    Args:
      settings: of the training run.
      small_sizes: share of the training, its beginning, with smaller images; the schedule begins after it.
    """
    peak, schedules = settings.learning_rate, keras.optimizers.schedules
    after = {
        "cosine": lambda: schedules.CosineDecay(peak, 1.0),
        "polynomial": lambda: schedules.PolynomialDecay(peak, 1.0, end_learning_rate=0.0, power=0.9),
        "exponential": lambda: schedules.ExponentialDecay(peak, 1.0, decay_rate=0.01),
        "constant": lambda: schedules.ExponentialDecay(peak, 1.0, decay_rate=1.0),
    }[settings.schedule]()

    def rate(progress: float, warmup: float) -> float:
        if progress < warmup:
            return peak * progress / warmup
        start = max(warmup, small_sizes)
        return float(after(max(0.0, progress - start) / (1 - start)))

    return rate


def moving_average_momentum(largest: float, step: int) -> float:
    """The momentum at a step, counting from 0, so that the average forgets the random weights of the beginning.

    min(largest, (1 + step) / (10 + step)), as in `tf.train.ExponentialMovingAverage`.
    """
    return min(largest, (1 + step) / (10 + step))


def follow_statistics(model: keras.Model) -> None:
    """Lets `statistics_momentum` change the momentum of the statistics of batch normalization.

    With 0.9 throughout they are the mean of ten batches, so noisy that predictions suffer; with 0.99 a short training
    never leaves behind what they were at first.

    Args:
      model: whose step is not traced yet; call it in the scope of the strategy.
    """
    layers = _normalization_layers(model)
    if layers:
        # Of TensorFlow's kind, since one of Keras' would count among the model's weights.
        momentum = tf.Variable(layers[0].momentum, trainable=False, dtype=tf.float32)
        for layer in layers:
            layer.momentum = momentum


def statistics_momentum(model: keras.Model) -> Callable[[int], None]:
    """A function that sets the momentum of the statistics of batch normalization for a step, by its number."""
    momentum = next((layer.momentum for layer in _normalization_layers(model)), None)

    def before(step: int) -> None:
        if momentum is not None:
            momentum.assign(moving_average_momentum(_STATISTICS_MOMENTUM, step))

    return before


def _normalization_layers(model: keras.Model) -> list[keras.layers.BatchNormalization]:
    return [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.BatchNormalization)]


def slow_down(optimizer: keras.optimizers.Optimizer, factor: float, variables: Iterable[keras.Variable]) -> None:
    """Makes an optimizer change some variables by less than the others.

    Args:
      optimizer: one of Keras', built.
      factor: what the learning rate of these variables is multiplied by.
      variables: of those that the optimizer was built for.
    """
    slow = {optimizer._get_variable_index(variable) for variable in variables}
    if not slow:
        return
    kind: Any = type(optimizer)

    class SlowedDown(kind):
        def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
            share = factor if self._get_variable_index(variable) in slow else 1.0
            super().update_step(gradient, variable, learning_rate * share)

    # Keras has no learning rates by variable. Scaled gradients would do nothing: Adam divides their scale out again.
    optimizer.__class__ = SlowedDown


def fuse(optimizer: keras.optimizers.Optimizer) -> None:
    """Makes Adam and AdamW change each variable by one operation of TensorFlow; other optimizers stay as they are.

    Keras' formula is the same, in twenty operations for each variable: half of a small model's training step, which
    takes seconds to trace, and as many passes over the weights.
    """
    if not isinstance(optimizer, keras.optimizers.Adam) or optimizer.amsgrad:
        return
    kind: Any = type(optimizer)
    last: list[tuple[Any, list[tf.Tensor]]] = []

    class Fused(kind):
        def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
            index = self._get_variable_index(variable)
            first_power, second_power = powers(self)
            tf.raw_ops.ResourceApplyAdam(
                var=variable.handle,
                m=self._momentums[index].value.handle,
                v=self._velocities[index].value.handle,
                beta1_power=first_power,
                beta2_power=second_power,
                lr=tf.cast(learning_rate, variable.dtype),
                beta1=self.beta_1,
                beta2=self.beta_2,
                epsilon=self.epsilon,
                grad=tf.cast(tf.convert_to_tensor(gradient), variable.dtype),
            )

    def powers(fused: Any) -> list[tf.Tensor]:
        """Those of the two factors at this step; in a graph, they are the same for all variables."""
        graph = None if tf.executing_eagerly() else tf.compat.v1.get_default_graph()
        if graph is None or not last or last[0][0] is not graph:
            step = tf.cast(fused.iterations.value + 1, tf.float32)
            last[:] = [(graph, [tf.pow(tf.constant(beta, tf.float32), step) for beta in (fused.beta_1, fused.beta_2)])]
        return last[0][1]

    optimizer.__class__ = Fused
