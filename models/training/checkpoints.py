"""Checkpoints of a training run: where a killed or preempted run continues, and the best weights so far."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import logging
import math
import os
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

from data.base.files import delete_tree, find, write_text
from data.base.packages import package_versions
from models.decoders.deep_supervision import without_supervision
from models.training.pace import Pace
from models.training.settings import TrainSettings

_LOG = logging.getLogger("segpipe.training")
_STEPS, _BEST = "steps", "best"
# Kept until another training begins: the process may still be killed before TFX has registered the model.
_EXPORTED = "exported"


def run_folder(root: str, *identity: Any) -> str:
    """The folder of one training, and of no other.

    Args:
      root: folder of all trainings' checkpoints.
      identity: JSON-compatible values that describe the training. The versions of the installed packages, on which it
        depends too, are added here.
    """
    described = [identity, package_versions()]
    digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()
    return os.path.join(root, digest[:16])


class Checkpoints:
    """Saves and restores model, optimizer, the epoch's mean loss and the position in data and schedule.

    Nothing is saved between the last step before an evaluation and its end: a run that is killed there repeats the
    steps since the last checkpoint.

    Args:
      folder: belongs to this training run alone.
      settings: settings of the training run.
      pace: the position in the schedule.
      worker: index of this worker; only the first one, 0, writes to the folder.
    """

    def __init__(self, folder: str, settings: TrainSettings, pace: Pace, worker: int = 0):
        self._folder, self._settings, self._pace = folder, settings, pace
        # All workers save, because TensorFlow may have to gather what they hold; what the others save is thrown away.
        self._scratch = tempfile.TemporaryDirectory() if worker else None
        # Several workers must save at the same step, so neither their clocks nor a signal to one of them may decide.
        self._is_alone = settings.strategy != "multi_worker"
        self._best = tf.Variable(float("-inf"), trainable=False)
        self._epochs_without_gain = tf.Variable(0, trainable=False)
        self._pace_state = tf.Variable(pace.state, trainable=False, dtype=tf.float64)
        self._saved_at = time.monotonic()
        self._stop_signal = 0
        self._newest = ""

    @property
    def step(self) -> int:
        """Number of steps trained."""
        return self._pace.step

    @property
    def epochs(self) -> float:
        """Passes over the train split so far."""
        return self._pace.epochs

    @property
    def is_finished(self) -> bool:
        """Whether there is nothing left to train."""
        patience = self._settings.early_stopping_epochs
        stopped = bool(patience) and int(self._epochs_without_gain) >= patience
        return stopped or self._pace.is_finished

    @property
    def best(self) -> float:
        """The highest mean IoU on the eval split so far."""
        return float(self._best)

    def find(self) -> None:
        """Finds the newest readable checkpoint, and sets `step`, `best` and `is_finished` to their values in it."""
        state = tf.train.get_checkpoint_state(os.path.join(self._folder, _STEPS))
        for path in reversed(state.all_model_checkpoint_paths if state else []):
            try:
                reader = tf.train.load_checkpoint(path)
                # Reads everything, with checksums: a power failure may leave anything behind.
                values = {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
            except (tf.errors.OpError, ValueError) as error:
                _LOG.warning("the checkpoint %s cannot be read: %s", path, error)
                continue
            self._best.assign(values["best/.ATTRIBUTES/VARIABLE_VALUE"])
            self._epochs_without_gain.assign(values["epochs_without_gain/.ATTRIBUTES/VARIABLE_VALUE"])
            self._newest = path
            self._pace.go_on(int(path.rsplit("-", 1)[1]), values["pace/.ATTRIBUTES/VARIABLE_VALUE"])
            _LOG.info("going on at step %d, from the checkpoint in %s", self.step, self._folder)
            return

    def restore(self, model: keras.Model) -> None:
        """Gives a compiled model the state that `find` found, if any, and saves this model's state from now on."""
        self._loss_variables = _loss_variables(model)
        self._loss = [tf.Variable(variable, trainable=False) for variable in self._loss_variables]
        self._checkpoint = tf.train.Checkpoint(
            # Lists, because TensorFlow misses some of Keras' variables by itself: the states of dropout.
            model=[variable.value for variable in model.variables],
            optimizer=[variable.value for variable in model.optimizer.variables],
            best=self._best,
            epochs_without_gain=self._epochs_without_gain,
            loss=self._loss,
            pace=self._pace_state,
        )
        folder = self._scratch.name if self._scratch else self._folder
        self._steps = tf.train.CheckpointManager(self._checkpoint, os.path.join(folder, _STEPS), max_to_keep=2)
        self._best_weights = tf.train.CheckpointManager(
            weights_checkpoint(model), os.path.join(folder, _BEST), max_to_keep=1
        )
        if self._newest:
            self._checkpoint.restore(self._newest).assert_consumed()
            self._newest = ""  # A later model takes over what this one has learned.

    def restore_loss(self) -> None:
        """Between evaluations, sets the loss metric to the mean loss of the steps before the checkpoint."""
        if self._pace.since_evaluation:
            for variable, value in zip(self._loss_variables, self._loss, strict=True):
                variable.assign(value)

    def after_step(self) -> None:
        """Counts a training step, and saves a checkpoint if one is due.

        Raises:
          SystemExit, KeyboardInterrupt: after a signal, once the checkpoint is saved.
        """
        self._pace.after_step()
        if not self._pace.evaluates:
            self._save_if_due()

    def after_evaluation(self, mean_iou: float) -> None:
        """Keeps the weights if they are the best so far."""
        if mean_iou > float(self._best) or not math.isfinite(float(self._best)):
            self._best.assign(mean_iou)
            self._epochs_without_gain.assign(0)
            self._best_weights.save(self.step)
        else:
            self._epochs_without_gain.assign_add(1)

    def after_epoch(self) -> None:
        """Saves a checkpoint if one is due, and at the end of the training; raises as `after_step` does."""
        self._save_if_due()

    def _save_if_due(self) -> None:
        steps = self._settings.checkpoint_steps
        is_due = self._stop_signal > 0 or self.is_finished or (steps > 0 and self.step % steps == 0)
        if self._is_alone:
            is_due |= time.monotonic() - self._saved_at >= 60 * self._settings.checkpoint_minutes
        else:
            is_due |= self._pace.since_evaluation == 0
        if is_due:
            for value, variable in zip(self._loss, self._loss_variables, strict=True):
                value.assign(variable)
            self._pace_state.assign(self._pace.state)
            self._steps.save(self.step)
            self._saved_at = time.monotonic()
        if self._stop_signal:
            _LOG.warning("stopped by signal %d; the next run goes on at step %d", self._stop_signal, self.step)
            if self._stop_signal == signal.SIGINT:
                raise KeyboardInterrupt
            raise SystemExit(128 + self._stop_signal)

    @contextlib.contextmanager
    def saving_on_signals(self) -> Iterator[None]:
        """Makes SIGTERM and SIGINT wait for the end of the step and for a checkpoint before they end the process."""
        # Python handles signals in the main thread only.
        if not self._is_alone or threading.current_thread() is not threading.main_thread():
            yield
            return

        def remember(number: int, _: Any) -> None:
            if self._stop_signal:  # A second signal means: do not wait.
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
        path = tf.train.latest_checkpoint(os.path.join(self._folder, _BEST))
        weights_checkpoint(model).read(path).assert_existing_objects_matched().expect_partial()


def _loss_variables(model: keras.Model) -> list[Any]:
    (tracker,) = (metric for metric in model.metrics if metric.name == "loss")
    return tracker.variables


def weights_checkpoint(model: keras.Model, first: int = 0) -> tf.train.Checkpoint:
    """A checkpoint of the weights that serve; it also reads those of an exported model, from its `first` on."""
    weights = without_supervision(model).weights
    # As a dictionary, which TensorFlow writes like a list, because a list begins at 0.
    return tf.train.Checkpoint(weights={str(first + i): variable.value for i, variable in enumerate(weights)})


def mark_exported(folder: str) -> None:
    """Notes that the model was exported, so that another training may delete the checkpoints in its `run_folder`."""
    write_text(os.path.join(folder, _EXPORTED), "")


def delete_exported(root: str, keep: str) -> None:
    """Deletes the folders below `root` whose models were exported, except `keep`."""
    for marker in find(os.path.join(glob.escape(root), "*", _EXPORTED)):
        if os.path.dirname(marker.path) != keep:
            delete_tree(os.path.dirname(marker.path))
