"""The training loop: Keras' own training and test steps, in an order and with checkpoints that can be resumed.

Keras 3's `fit` can neither resume in the middle of an epoch nor train on several workers.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import time
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from data.base.errors import UserError
from models.inputs import input_pipeline
from models.training.checkpoints import Checkpoints
from models.training.learning_rates import learning_rates
from models.training.settings import TrainSettings

_LOG = logging.getLogger("segpipe.training")


class TrainingError(UserError):
    """Training cannot go on; the message says why and what to change."""


def fit(
    make_model: Callable[[int], keras.Model],
    stages: list[tuple[int, int]],
    strategy: tf.distribute.Strategy,
    training: input_pipeline.DecodedExamples,
    evaluation: input_pipeline.DecodedExamples,
    order: input_pipeline.TrainingOrder,
    settings: TrainSettings,
    saved: Checkpoints,
    logs: str,
) -> None:
    """Trains from the step of the newest checkpoint to the end.

    Args:
      make_model: compiles the model, in the scope of the strategy, with one metric, `mean_iou`; its argument is how
        often images are halved, on which the weights do not depend.
      stages: how often images are halved, and until which epoch. Only the last stage can give the best model.
      strategy: of TensorFlow's.
      training: the train split.
      evaluation: the eval split, evaluated after each epoch.
      order: in which the train split is seen.
      settings: of the training run.
      saved: the checkpoints.
      logs: folder for TensorBoard's curves, or "" for none.

    Raises:
      TrainingError: if the loss is no longer a finite number; nothing of that step is saved.
    """
    small_size_epochs = stages[-2][1] if len(stages) > 1 else 0
    rates = learning_rates(settings, order.steps_per_epoch, small_size_epochs)
    curves = _Curves(logs) if logs else None
    distribute = strategy.experimental_distribute_dataset
    model = None
    for halvings, end in stages:
        if halvings and saved.step >= end * order.steps_per_epoch:
            continue
        before, model = model, make_model(halvings)
        if before is not None:
            _hand_over(before, model)
        saved.restore(model)
        train_step, test_step = (_function(model, strategy, step) for step in (model.train_step, model.test_step))
        moving_average = keras.callbacks.SwapEMAWeights() if settings.ema_momentum else keras.callbacks.Callback()
        moving_average.set_model(model)
        batches = iter(distribute(input_pipeline.training_batches(training, order, settings, saved.step, halvings)))
        evaluation_batches = distribute(input_pipeline.evaluation_batches(evaluation, settings.batch_size, halvings))
        while not saved.is_finished and saved.step < end * order.steps_per_epoch:
            epoch, within = divmod(saved.step, order.steps_per_epoch)
            model.reset_metrics()
            saved.restore_loss()
            started = time.monotonic()
            for _ in range(within, order.steps_per_epoch):
                model.optimizer.learning_rate = rates(saved.step)
                train_step(batches)
                loss = float(_metrics(model)["loss"].result())
                if not math.isfinite(loss):
                    names = ", ".join(training.source_ids(order.step(saved.step)))
                    raise TrainingError(
                        f"the loss is no longer a finite number at step {saved.step}, on the images {names}; lower "
                        "train.learning_rate, set train.gradient_clip_norm, or set train.precision to float32"
                    )
                saved.after_step()
            images_per_second = (order.steps_per_epoch - within) * settings.batch_size / (time.monotonic() - started)
            results = {"train": _results(model)}

            model.reset_metrics()
            moving_average.on_test_begin()
            with contextlib.suppress(tf.errors.OutOfRangeError):
                iterator = iter(evaluation_batches)
                while True:
                    test_step(iterator)
            results["validation"] = _results(model)
            if not halvings:
                saved.after_evaluation(results["validation"]["mean_iou"])
            moving_average.on_test_end()
            if curves:
                curves.write(epoch, results)
            _LOG.info(
                "epoch %d/%d%s: loss %.3f, mean IoU on eval %.3f, trained on %.1f images/s",
                epoch + 1,
                settings.epochs,
                f" at 1/{2**halvings} of the size" if halvings else "",
                results["train"]["loss"],
                results["validation"]["mean_iou"],
                images_per_second,
            )
            saved.after_epoch()


def _hand_over(source: keras.Model, target: keras.Model) -> None:
    """Copies the weights and the optimizer's state from one model to another."""
    for value, variable in zip(
        [*source.variables, *source.optimizer.variables], [*target.variables, *target.optimizer.variables], strict=True
    ):
        variable.assign(keras.ops.convert_to_numpy(value))


def _function(model: keras.Model, strategy: tf.distribute.Strategy, step: Callable[..., Any]) -> Callable[..., None]:
    """Runs one of Keras' steps on the next batch of an iterator, on all replicas."""
    on_replica = tf.function(lambda batch: step(batch), jit_compile=model.jit_compile, autograph=False)

    @tf.function(autograph=False)
    def run(iterator: Any) -> None:
        strategy.run(on_replica, args=(next(iterator),))

    return run


def _metrics(model: keras.Model) -> dict[str, keras.metrics.Metric]:
    return {metric.name: metric for metric in model.metrics}


def _results(model: keras.Model) -> dict[str, float]:
    return {name: float(value) for name, value in model.get_metrics_result().items()}


class _Curves:
    """Losses and metrics by epoch, as Keras' own callback writes them for TensorBoard."""

    def __init__(self, folder: str):
        self._writers = {
            name: tf.summary.create_file_writer(os.path.join(folder, name)) for name in ("train", "validation")
        }

    def write(self, epoch: int, results: dict[str, dict[str, float]]) -> None:
        """Adds an epoch's results: of each split, by name."""
        for split, values in results.items():
            with self._writers[split].as_default(step=epoch):
                for name, value in values.items():
                    tf.summary.scalar(f"epoch_{name}", value)
            self._writers[split].flush()
