"""Checkpoints of a training run: what a killed or preempted run goes on from, and the best weights so far."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

from models.settings import TrainSettings

_LOG = logging.getLogger("segpipe.training")
_METRIC = "mean_iou"
# Kept until another training begins: the process may yet be killed before TFX has registered the model.
_EXPORTED = "exported"


def run_folder(root: str, *identity: Any) -> str:
    """The folder below `root` of the one training that is described by JSON-compatible values."""
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    return os.path.join(root, digest[:16])


class Checkpoints(keras.callbacks.Callback):
    """Saves model, optimizer, the epoch's mean loss and the position in the data; restores them when training begins.

    Between the last step of an epoch and the end of its evaluation nothing is saved: a run that is killed there repeats
    the steps since the checkpoint before. Stands before `SwapEMAWeights` in the list of callbacks, so that the best
    weights are those that were evaluated, and after callbacks that refuse a step's result.

    Args:
      folder: of this training run and no other.
      settings: of the training run.
      steps_per_epoch: in the training data, S.

    Attributes:
      step: how many steps were trained, over all epochs.
    """

    def __init__(self, folder: str, settings: TrainSettings, steps_per_epoch: int):
        super().__init__()
        self.step = 0
        self._folder, self._settings, self._steps_per_epoch = folder, settings, steps_per_epoch
        self._best = tf.Variable(float("-inf"), trainable=False)
        self._epochs_without_gain = tf.Variable(0, trainable=False)
        self._loss: list[tf.Variable] = []
        self._restored = False
        self._saved_at = time.monotonic()
        self._stop_signal = 0
        self._resumed_path = ""

    @property
    def is_finished(self) -> bool:
        """Whether there is nothing left to train."""
        patience = self._settings.early_stopping_epochs
        stopped = bool(patience) and int(self._epochs_without_gain) >= patience
        return stopped or self.step >= self._settings.epochs * self._steps_per_epoch

    def resume(self) -> None:
        """Finds the newest checkpoint that can be read; `step` and `is_finished` are then those of its time."""
        state = tf.train.get_checkpoint_state(self._steps_folder)
        for path in reversed(state.all_model_checkpoint_paths if state else []):
            try:
                reader = tf.train.load_checkpoint(path)
                # Reads everything, with its checksums: a machine that lost power leaves what it likes.
                values = {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
            except (tf.errors.OpError, ValueError) as error:
                _LOG.warning("the checkpoint %s cannot be read: %s", path, error)
                continue
            self._epochs_without_gain.assign(values["epochs_without_gain/.ATTRIBUTES/VARIABLE_VALUE"])
            self._resumed_path, self.step = path, int(path.rsplit("-", 1)[1])
            _LOG.info("going on at step %d, from the checkpoint in %s", self.step, self._folder)
            return

    @property
    def _steps_folder(self) -> str:
        return os.path.join(self._folder, "steps")

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        if not self._loss:
            self._loss = [tf.Variable(variable, trainable=False) for variable in self._loss_variables()]
            self._checkpoint = tf.train.Checkpoint(
                # Lists, because TensorFlow does not find all of Keras' variables by itself: not the states of dropout.
                model=[variable.value for variable in self.model.variables],
                optimizer=[variable.value for variable in self.model.optimizer.variables],
                best=self._best,
                epochs_without_gain=self._epochs_without_gain,
                loss=self._loss,
            )
            self._steps = tf.train.CheckpointManager(self._checkpoint, self._steps_folder, max_to_keep=2)
            self._best_weights = tf.train.CheckpointManager(
                _weights(self.model), os.path.join(self._folder, "best"), max_to_keep=1
            )
        if self._resumed_path:
            self._checkpoint.restore(self._resumed_path).assert_consumed()
            self._restored = True

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        if self._restored and self.step % self._steps_per_epoch:
            for variable, value in zip(self._loss_variables(), self._loss, strict=True):
                variable.assign(value)
        self._restored = False

    def _loss_variables(self) -> list[Any]:
        """Sum and count; Keras' other metrics have no variables before the first step."""
        (tracker,) = (metric for metric in self.model.metrics if metric.name == "loss")
        return tracker.variables

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        self.step += 1
        if self.step % self._steps_per_epoch:
            self._save_if_due()

    def on_test_end(self, logs: dict[str, float] | None = None) -> None:
        value = (logs or {}).get(_METRIC, float("nan"))
        if value > float(self._best) or not self._best_weights.latest_checkpoint:
            self._best.assign(value)
            self._epochs_without_gain.assign(0)
            self._best_weights.save(self.step)
        else:
            self._epochs_without_gain.assign_add(1)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        if self.is_finished:
            self.model.stop_training = True
        # The end of a call of `fit` replaces the weights by their moving average.
        self._save_if_due(is_last=self.model.stop_training or epoch + 1 == self.params["epochs"])

    def _save_if_due(self, is_last: bool = False) -> None:
        settings = self._settings
        is_due = time.monotonic() - self._saved_at >= 60 * settings.checkpoint_minutes or (
            settings.checkpoint_steps and self.step % settings.checkpoint_steps == 0
        )
        if is_due or is_last or self._stop_signal:
            for value, variable in zip(self._loss, self._loss_variables(), strict=True):
                value.assign(variable)
            self._resumed_path = self._steps.save(self.step)
            self._saved_at = time.monotonic()
        if self._stop_signal:
            _LOG.warning("stopped by signal %d; the same run goes on at step %d", self._stop_signal, self.step)
            if self._stop_signal == signal.SIGINT:
                raise KeyboardInterrupt
            raise SystemExit(128 + self._stop_signal)

    @contextlib.contextmanager
    def saving_on_signals(self) -> Iterator[None]:
        """Within it SIGTERM and SIGINT let the step end, save, and then end the process as they would have."""
        if threading.current_thread() is not threading.main_thread():  # Only there Python handles signals.
            yield
            return

        def remember(number: int, _: Any) -> None:
            if self._stop_signal:  # Whoever asks twice does not want to wait.
                raise KeyboardInterrupt
            self._stop_signal = number

        former = {number: signal.signal(number, remember) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)

    def load_best_weights(self, model: keras.Model) -> None:
        """Gives a model the weights with the highest mean IoU on the eval split."""
        path = tf.train.latest_checkpoint(os.path.join(self._folder, "best"))
        _weights(model).read(path).assert_existing_objects_matched().expect_partial()

    def mark_exported(self) -> None:
        """Says that the model is out, so that another training may delete this one's checkpoints."""
        with tf.io.gfile.GFile(os.path.join(self._folder, _EXPORTED), "w") as file:
            file.write("")


def _weights(model: keras.Model) -> tf.train.Checkpoint:
    return tf.train.Checkpoint(weights=[variable.value for variable in model.weights])


def delete_exported(root: str, keep: str) -> None:
    """Deletes the folders below `root` whose models were exported, except for one."""
    for marker in tf.io.gfile.glob(os.path.join(root, "*", _EXPORTED)):
        if os.path.dirname(marker) != keep:
            tf.io.gfile.rmtree(os.path.dirname(marker))
