"""The tuner: TFX calls `tuner_fn`, KerasTuner chooses values, and each trial trains as the trainer would."""

from __future__ import annotations

import logging
import os
from typing import Any

import keras
import keras_tuner
import pydantic
import tensorflow as tf
import tensorflow_transform as tft
from keras_tuner.engine import base_tuner
from tfx.components.tuner.component import TunerFnResult

from data.base.files import delete_tree
from models.training import checkpoints, trainer
from models.tuning.search_space import TunerConfig, checked_space, describe, from_choices, to_choices

_LOG = logging.getLogger("segpipe.tuning")
_OBJECTIVE = "mean_iou"


class TuningError(trainer.TrainingError):
    """No trial could be finished; the message says why."""


def tuner_fn(fn_args: Any) -> TunerFnResult:
    """Prepares the search; called by TFX's Tuner.

    Args:
      fn_args: TFX's FnArgs; `custom_config` holds a `TunerConfig`.

    Raises:
      TrainingError: if the data set's statistics are missing.
    """
    config = TunerConfig.model_validate(fn_args.custom_config)
    trainer.require_statistics(config)
    # A search for more trials continues the one for fewer.
    described = config.model_dump(mode="json", exclude={"tune": {"trials"}})
    identity = [described, fn_args.train_files, fn_args.eval_files, fn_args.transform_graph_path]
    folder = checkpoints.run_folder(config.checkpoints or fn_args.working_dir, *identity)
    try:
        tuner = SegmentationTuner(config, fn_args, folder)
    except (KeyError, RuntimeError, ValueError) as error:  # A machine that lost power may leave anything.
        _LOG.warning("the search in %s cannot be read and starts over: %s", folder, error)
        delete_tree(folder)
        tuner = SegmentationTuner(config, fn_args, folder)
    return TunerFnResult(tuner=tuner, fit_kwargs={})


def hyperparameters(config: TunerConfig) -> keras_tuner.HyperParameters:
    """The search space in KerasTuner's terms."""
    space = keras_tuner.HyperParameters()
    for key, values in checked_space(config, config.tune.space).items():
        dimension = config.tune.space[key]
        if isinstance(dimension, list):
            space.Choice(key, to_choices(values))
        elif isinstance(values[0], int):
            space.Int(key, *values, step=int(dimension.step) if dimension.step else None, sampling=dimension.scale)
        else:
            space.Float(key, *values, step=dimension.step, sampling=dimension.scale)
    return space


def oracle(config: TunerConfig) -> keras_tuner.Oracle:
    """KerasTuner's oracle, which chooses the values of each trial."""
    kinds = {
        "random": keras_tuner.oracles.RandomSearchOracle,
        "bayesian": keras_tuner.oracles.BayesianOptimizationOracle,
    }
    made = kinds[config.tune.algorithm](
        objective=keras_tuner.Objective(_OBJECTIVE, "max"),
        max_trials=config.tune.trials,
        hyperparameters=hyperparameters(config),
        seed=config.tune.seed + 1,  # KerasTuner takes 0 for no seed.
        max_consecutive_failed_trials=None,  # Values that cannot be trained are a result too.
    )
    made.verbose = 0
    return made


class SegmentationTuner(base_tuner.BaseTuner):
    """Trains each trial's model for `tune.epochs` epochs; a search that was killed continues where it stopped.

    Args:
      config: the search, and what its trials change.
      fn_args: TFX's FnArgs.
      folder: for this search and no other.
    """

    def __init__(self, config: TunerConfig, fn_args: Any, folder: str):
        self._config, self._fn_args = config, fn_args
        super().__init__(oracle(config), directory=os.path.dirname(folder), project_name=os.path.basename(folder))

    def search(self) -> None:
        """Runs the trials that are left.

        Raises:
          TuningError: if none could be finished.
        """
        config = self._config
        if config.train.deterministic:
            tf.config.experimental.enable_op_determinism()
        self._strategy = trainer.distribution_strategy(config.train)
        transform = tft.TFTransformOutput(self._fn_args.transform_graph_path).transform_features_layer()
        with trainer.decoded_examples(self._fn_args, _most_demanding(config), transform) as (train, evaluation):
            super().search(train, evaluation)
        trials = self.oracle.trials.values()
        if not any(trial.status == "COMPLETED" for trial in trials):
            last = max(trials, key=lambda trial: int(trial.trial_id))
            raise TuningError(f"none of {len(trials)} trials could be trained; the last one failed: {_reason(last)}")

    def on_search_begin(self) -> None:
        # Otherwise KerasTuner would forget a first trial that is killed.
        self.save()

    def run_trial(self, trial: Any, train: Any, evaluation: Any) -> dict[str, float]:
        """Trains a trial's model, and returns its best mean IoU on the eval split."""
        keras.utils.clear_session()
        values = from_choices(trial.hyperparameters.values)
        _LOG.info("trial %d of %d: %s", int(trial.trial_id) + 1, self._config.tune.trials, describe(values))
        folder, saves = self.get_trial_dir(trial.trial_id), self._checkpoints(trial)
        try:
            config = self._config.with_values(values)
            saved = trainer.train_model(config, self._strategy, train, evaluation, saves, folder)
        except (trainer.TrainingError, pydantic.ValidationError, tf.errors.ResourceExhaustedError) as error:
            raise keras_tuner.errors.FailedTrialError(" ".join(str(error).split())) from error
        except Exception as error:
            raise keras_tuner.errors.FatalError(f"{type(error).__name__}: {error}") from error
        return {_OBJECTIVE: saved.best}

    def _checkpoints(self, trial: Any) -> str:
        return os.path.join(self.get_trial_dir(trial.trial_id), "checkpoints")

    def on_trial_end(self, trial: Any) -> None:
        super().on_trial_end(trial)
        trial = self.oracle.get_trial(trial.trial_id)
        number, trials = int(trial.trial_id) + 1, self._config.tune.trials
        if trial.status == "COMPLETED":
            _LOG.info("trial %d of %d: mean IoU on eval %.4f", number, trials, trial.score)
        else:
            _LOG.warning("trial %d of %d failed: %s", number, trials, _reason(trial))
        # KerasTuner has the result now, and weights would fill the disk.
        delete_tree(self._checkpoints(trial))


def _most_demanding(config: TunerConfig) -> Any:
    """The configuration whose decoded examples suffice for every trial."""
    samplings = checked_space(config, config.tune.space).get("train.sampling", [])
    return config.with_values({"train.sampling": "class_balanced"}) if "class_balanced" in samplings else config


def _reason(trial: Any) -> str:
    """Why a trial failed; KerasTuner keeps the traceback."""
    if not trial.message:
        return "its mean IoU is not a number"
    return trial.message.strip().splitlines()[-1].partition(": ")[2]
