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
from models.inputs.order import TrainingOrder
from models.training.checkpoints import Checkpoints
from models.training.learning_rates import learning_rates, moving_average_momentum, statistics_momentum
from models.training.multi_worker import Worker
from models.training.pace import ByMinutes, Pace
from models.training.settings import TrainSettings

_LOG = logging.getLogger("segpipe.training")
# How many steps tell how long one takes.
_TIMED_STEPS = 3


class TrainingError(UserError):
    """Training cannot go on; the message says why and what to change."""


def fit(
    make_model: Callable[[int], keras.Model],
    pace: Pace,
    strategy: tf.distribute.Strategy,
    training: input_pipeline.DecodedExamples,
    evaluation: input_pipeline.DecodedExamples,
    order: TrainingOrder,
    settings: TrainSettings,
    saved: Checkpoints,
    logs: str,
) -> None:
    """Trains from the step of the newest checkpoint to the end.

    Args:
      make_model: compiles the model, in the scope of the strategy, with one metric, `mean_iou`; its argument is how
        often images are halved, on which the weights do not depend. The first call is for the model to begin with.
      pace: the schedule, and where in it the training is. Only its last stage can give the best model.
      strategy: of TensorFlow's.
      training: the train split.
      evaluation: the eval split, evaluated when the schedule says so: by epochs, after each.
      order: in which the train split is seen.
      settings: of the training run.
      saved: the checkpoints.
      logs: folder for TensorBoard's curves, or "" for none.

    Raises:
      TrainingError: if the loss is no longer a finite number, and then nothing of that step is saved; or if a batch has
        fewer images than there are replicas.
    """
    if settings.batch_size < strategy.num_replicas_in_sync:
        raise TrainingError(
            f"train.batch_size: {settings.batch_size} is too small for {strategy.num_replicas_in_sync} replicas, each "
            "of which takes at least one image of every batch"
        )
    curves = _Curves(logs) if logs else None

    def distributed(batches: Callable[..., tf.data.Dataset], *arguments: Any) -> Any:
        if settings.strategy != "multi_worker":
            return strategy.experimental_distribute_dataset(batches(*arguments))

        def of_worker(context: tf.distribute.InputContext) -> tf.data.Dataset:
            replicas = context.num_replicas_in_sync // context.num_input_pipelines
            worker = Worker(context.input_pipeline_id, context.num_input_pipelines, replicas)
            return batches(*arguments, worker=worker)

        return strategy.distribute_datasets_from_function(of_worker)

    def evaluation_batches(stage: int) -> Any:
        arguments = (settings.batch_size, pace.stages[stage][0], strategy.num_replicas_in_sync)
        return distributed(input_pipeline.evaluation_batches, evaluation, *arguments)

    def training_batches(stage: int) -> Any:
        arguments = (training, order, settings, saved.step, pace.stages[stage][0])
        return distributed(input_pipeline.training_batches, *arguments)

    prepared = input_pipeline.prepared_on_device(training, settings)
    ready: dict[int, _Steps] = {}
    if isinstance(pace, ByMinutes) and not saved.is_finished:
        evaluation_steps = math.ceil(evaluation.count / settings.batch_size)
        for stage in pace.unmeasured:
            ready[stage] = steps = _Steps(make_model(pace.stages[stage][0]), strategy, prepared)
            step_seconds, test_seconds = steps.seconds(
                training_batches(stage), evaluation_batches(stage), at_most=0.6 * settings.minutes
            )
            pace.measured(stage, step_seconds, evaluation_steps * test_seconds, _TIMED_STEPS)
        pace.begin_schedule()
        if pace.seconds > 30 * settings.minutes:
            _LOG.warning(
                "train.minutes: %g is short for this model on this machine: %.1f were over before the first step",
                settings.minutes,
                pace.seconds / 60,
            )
    rates = learning_rates(settings, pace.small_sizes)
    model = None
    for stage, (halvings, _) in enumerate(pace.stages):
        if stage < pace.stage:
            continue
        steps = ready.pop(stage) if stage in ready else _Steps(make_model(halvings), strategy, prepared)
        before, model = model, steps.model
        if before is not None:
            _hand_over(_values(before), model)
        saved.restore(model)
        moving_average = keras.callbacks.SwapEMAWeights() if settings.ema_momentum else keras.callbacks.Callback()
        moving_average.set_model(model)
        # `mixed_float16` has an optimizer inside of another.
        momentum = getattr(model.optimizer, "inner_optimizer", model.optimizer).ema_momentum
        set_statistics_momentum = statistics_momentum(model)
        batches, to_evaluate = iter(training_batches(stage)), evaluation_batches(stage)
        while not saved.is_finished and pace.stage == stage:
            model.reset_metrics()
            saved.restore_loss()
            started, first = time.monotonic(), saved.step
            while True:
                pace.begin()
                model.optimizer.learning_rate = rates(pace.progress, pace.warmup)
                if settings.ema_momentum:
                    momentum.assign(moving_average_momentum(settings.ema_momentum, saved.step))
                set_statistics_momentum(saved.step)
                steps.train(batches)
                loss = steps.loss
                if not math.isfinite(loss):
                    names = ", ".join(training.source_ids(order.step(saved.step)))
                    raise TrainingError(
                        f"the loss is no longer a finite number at step {saved.step}, on the images {names}; lower "
                        "train.learning_rate, set train.gradient_clip_norm, or set train.precision to float32"
                    )
                saved.after_step()
                if pace.evaluates:
                    break
            images_per_second = (saved.step - first) * settings.batch_size / (time.monotonic() - started)
            results = {"train": _results(model) | {"image_scale": 0.5**halvings}}

            pace.begin()
            model.reset_metrics()
            moving_average.on_test_begin()
            with contextlib.suppress(tf.errors.OutOfRangeError):
                iterator = iter(to_evaluate)
                while True:
                    steps.test(iterator)
            results["validation"] = _results(model)
            if not halvings:
                saved.after_evaluation(results["validation"]["mean_iou"])
            moving_average.on_test_end()
            pace.after_evaluation()
            if curves:
                curves.write(pace.point, results)
            _LOG.info(
                "epoch %s%s: loss %.3f, mean IoU on eval %.3f, trained on %.1f images/s",
                pace.describe(),
                f" at 1/{2**halvings} of the size" if halvings else "",
                results["train"]["loss"],
                results["validation"]["mean_iou"],
                images_per_second,
            )
            saved.after_epoch()


class _Steps:
    """Keras' training and test steps of a compiled model, each on the next batch of an iterator, on all replicas.

    Args:
      model: compiled.
      strategy: of TensorFlow's.
      prepared: what is done with a batch of the training before.
    """

    def __init__(
        self,
        model: keras.Model,
        strategy: tf.distribute.Strategy,
        prepared: Callable[..., tuple[tf.Tensor, ...]],
    ):
        self.model = model
        self.train = _function(model, strategy, model.train_step, prepared)
        self.test = _function(model, strategy, model.test_step, lambda *batch: batch)

    @property
    def loss(self) -> float:
        """Mean loss since the metrics were reset; waits for the steps before."""
        return float(_metrics(self.model)["loss"].result())

    def seconds(self, training: Any, evaluation: Any, at_most: float) -> tuple[float, float]:
        """How long a training step and a test step take once they are traced; the model is then as before.

        Args:
          training: batches.
          evaluation: batches.
          at_most: seconds after which no other step begins.
        """
        values, batches = _values(self.model), iter(training)
        training_seconds = self._fastest(self.train, lambda: batches, at_most)
        _hand_over(values, self.model)
        # The eval split may be a single batch.
        return training_seconds, self._fastest(self.test, lambda: iter(evaluation), at_most)

    def _fastest(self, step: Callable[[Any], None], batches: Callable[[], Any], at_most: float) -> float:
        taken: list[float] = []
        for _ in range(1 + _TIMED_STEPS):
            iterator = batches()
            started = time.monotonic()
            step(iterator)
            _ = self.loss
            taken.append(time.monotonic() - started)
            if sum(taken[1:]) > at_most:
                break
        return min(taken[1:])  # The first one was traced.


def _values(model: keras.Model) -> list[Any]:
    """Weights and the optimizer's state."""
    return [keras.ops.convert_to_numpy(variable) for variable in (*model.variables, *model.optimizer.variables)]


def _hand_over(values: list[Any], model: keras.Model) -> None:
    """Gives a model weights and the optimizer's state."""
    for value, variable in zip(values, [*model.variables, *model.optimizer.variables], strict=True):
        variable.assign(value)


def _function(
    model: keras.Model,
    strategy: tf.distribute.Strategy,
    step: Callable[..., Any],
    prepared: Callable[..., tuple[tf.Tensor, ...]],
) -> Callable[..., None]:
    """Runs one of Keras' steps on the next batch of an iterator, on all replicas."""
    on_replica = tf.function(lambda batch: step(batch), jit_compile=model.jit_compile, autograph=False)

    @tf.function(autograph=False)
    def run(iterator: Any) -> None:
        # Preparation stays outside of what XLA compiles, as it cannot compile all of it.
        strategy.run(on_replica, args=(strategy.run(prepared, args=next(iterator)),))

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
