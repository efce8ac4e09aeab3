"""The learning rate over a training run: one of Keras' schedules after a linear warm-up; less for some weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import keras

from models.training.settings import TrainSettings


def learning_rates(settings: TrainSettings, steps_per_epoch: int, small_size_epochs: int = 0) -> Callable[[int], float]:
    """A function from a step, counting from 0 over all epochs, to its learning rate.

    Args:
      settings: of the training run.
      steps_per_epoch: in the training data.
      small_size_epochs: epochs at the beginning on smaller images; the schedule begins after them.
    """
    peak, schedules = settings.learning_rate, keras.optimizers.schedules
    warmup = min(settings.warmup_epochs, settings.epochs - 1) * steps_per_epoch
    start = max(warmup, small_size_epochs * steps_per_epoch)
    steps = settings.epochs * steps_per_epoch - start
    after = {
        "cosine": lambda: schedules.CosineDecay(peak, steps),
        "polynomial": lambda: schedules.PolynomialDecay(peak, steps, end_learning_rate=0.0, power=0.9),
        "exponential": lambda: schedules.ExponentialDecay(peak, steps, decay_rate=0.01),
        "constant": lambda: schedules.ExponentialDecay(peak, steps, decay_rate=1.0),
    }[settings.schedule]()
    return lambda step: peak * step / warmup if step < warmup else float(after(max(0, step - start)))


def slow_down(optimizer: keras.optimizers.Optimizer, factor: float, variables: Iterable[keras.Variable]) -> None:
    """Makes an optimizer change some variables by less than the others.

    Args:
      optimizer: one of Keras', built.
      factor: what the learning rate of these variables is multiplied by.
      variables: of those that the optimizer was built for.
    """
    slow = {optimizer._get_variable_index(variable) for variable in variables}
    kind: Any = type(optimizer)

    class SlowedDown(kind):
        def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
            share = factor if self._get_variable_index(variable) in slow else 1.0
            super().update_step(gradient, variable, learning_rate * share)

    # Keras has no learning rates by variable. Scaled gradients would do nothing: Adam divides their scale out again.
    optimizer.__class__ = SlowedDown
