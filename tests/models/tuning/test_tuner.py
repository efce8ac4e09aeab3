"""The search, with trainings that only pretend."""

import contextlib
import os
import types

import pytest
import tensorflow_transform as tft

from models.training import trainer
from models.tuning import tuner
from models.tuning.search_space import from_choices

pytestmark = pytest.mark.one_line
SPACE = {"train.learning_rate": {"low": 0.001, "high": 0.1}}


@pytest.fixture
def search(tmp_path, monkeypatch):
    """Runs a search: `search(train, **tune)` with `train(config) -> mean IoU`; returns the tuner."""
    monkeypatch.setattr(trainer, "decoded_examples", lambda *_: contextlib.nullcontext((None, None)))
    monkeypatch.setattr(
        tft, "TFTransformOutput", lambda _: types.SimpleNamespace(transform_features_layer=lambda: None)
    )

    def run(train, **tune):
        def train_model(config, strategy, examples, evaluation, folder, logs):
            os.makedirs(folder)
            return types.SimpleNamespace(best=train(config))

        monkeypatch.setattr(trainer, "train_model", train_model)
        config = {
            "preprocessing": {},
            "model": {"encoder": "plain"},
            "train": {},
            "label_map": [],
            "checkpoints": str(tmp_path / "tuning"),
            "statistics": {"splits": {}},
            "tune": {"trials": 4, "space": SPACE, **tune},
        }
        fn_args = types.SimpleNamespace(
            custom_config=config, train_files=[], eval_files=[], transform_graph_path="", working_dir=""
        )
        result = tuner.tuner_fn(fn_args)
        result.tuner.search(**result.fit_kwargs)
        return result.tuner

    return run


def rates(tuner):
    """Of the trials, in their order."""
    trials = sorted(tuner.oracle.trials.values(), key=lambda trial: int(trial.trial_id))
    return [rate(trial.hyperparameters) for trial in trials]


def rate(chosen):
    return from_choices(chosen.values)["train.learning_rate"]


def by_rate(config):
    return config.train.learning_rate


@pytest.mark.parametrize("algorithm", ["random", "bayesian"])
def test_the_best_trial_is_the_one_with_the_highest_mean_iou(search, algorithm):
    tuner = search(by_rate, algorithm=algorithm, trials=6)
    assert len(rates(tuner)) == 6
    (best,) = tuner.get_best_hyperparameters()
    assert rate(best) == max(rates(tuner))


def test_a_search_that_was_killed_repeats_no_finished_trial(search, tmp_path):
    trained = []

    def killed_at(number):
        def train(config):
            trained.append(config.train.learning_rate)
            if len(trained) == number:
                raise KeyboardInterrupt
            return config.train.learning_rate

        return train

    for number in (1, 3):
        with pytest.raises(KeyboardInterrupt):
            search(killed_at(number), seed=7, trials=3)
        for path in (tmp_path / "tuning").glob("*/trial_*/checkpoints"):
            path.rmdir()
    tuner = search(killed_at(0), seed=7, trials=3)
    first, second, third = rates(tuner)
    assert trained == [first, first, second, second, third]

    # More trials go on with these.
    more = rates(search(killed_at(0), seed=7, trials=5))
    assert more[:3] == [first, second, third]
    assert len(trained) == 5 + 2
    # Weights are only kept for the trial that is being trained.
    assert not list((tmp_path / "tuning").glob("*/trial_*/checkpoints"))


def test_values_that_do_not_train_are_passed_over(search):
    def train(config):
        if config.train.learning_rate > 0.03:
            raise trainer.TrainingError("the loss is no longer a finite number")
        return config.train.learning_rate

    searched = search(train, trials=8)
    assert max(rates(searched)) > 0.03
    (best,) = searched.get_best_hyperparameters()
    assert rate(best) == max(tried for tried in rates(searched) if tried <= 0.03)

    with pytest.raises(
        tuner.TuningError, match="none of 1 trials could be trained; the last one failed: 2 of 3 are broken"
    ):
        search(failing(trainer.TrainingError("2 of 3\nare broken")), trials=1, seed=9)
    # A mistake in the code ends the search at once.
    with pytest.raises(Exception, match="IndexError: no such thing"):
        search(failing(IndexError("no such thing")), seed=11)


def failing(error):
    def train(config):
        raise error

    return train


def test_a_damaged_search_begins_anew(search, tmp_path):
    before = rates(search(by_rate))
    (state,) = (tmp_path / "tuning").glob("*/oracle.json")
    state.write_text("")
    assert rates(search(by_rate)) == before
