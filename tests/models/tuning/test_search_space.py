import json

import pytest

from data.base.errors import UserError
from data.label_map import LabelMap
from models.training.settings import TrainerConfig
from models.tuning.search_space import TunerConfig, TuneSettings, checked_space, from_choices

SPACE = {
    "train.learning_rate": {"low": "1e-4", "high": 0.01, "scale": "log"},
    "train.optimizer": ["adamw", "sgd"],
    "train.loss": ["focal", {"cross_entropy": 1, "dice": 0.5}],
    "train.augmentation.flip_vertical": [True, False],
    "train.ema_momentum": {"low": 0, "high": 0.9, "step": 0.3},
    "train.weight_decay": [0, 1e-4],
    "model.filters": {"low": 16, "high": 48, "step": 16},
}


def tuner_config(space, **settings):
    return TunerConfig.model_validate(
        {
            "preprocessing": {},
            "model": {"encoder": "plain"},
            "train": {},
            "label_map": [],
            "tune": {"space": space, **settings},
        }
    )


def drawn(config, trials):
    """The values of the first trials, without training."""
    from models.tuning.tuner import oracle

    chooser = oracle(config)
    return [from_choices(chooser.populate_space(str(trial))["values"]) for trial in range(trials)]


@pytest.mark.parametrize("algorithm", ["random", "bayesian"])
def test_trials_draw_values_that_the_settings_take(algorithm):
    config = tuner_config(SPACE, algorithm=algorithm)
    trials = drawn(config, 40)
    assert trials == drawn(config, 40)
    assert trials != drawn(tuner_config(SPACE, algorithm=algorithm, seed=1), 40)

    def seen(key):
        return [json.loads(text) for text in sorted({json.dumps(trial[key]) for trial in trials})]

    assert seen("train.optimizer") == ["adamw", "sgd"]
    assert seen("train.loss") == [
        {"cross_entropy": {"weight": 1.0}, "dice": {"weight": 0.5}},
        {"focal": {"weight": 1.0, "gamma": 2.0}},
    ]
    assert seen("train.augmentation.flip_vertical") == [False, True]
    assert seen("train.weight_decay") == [0.0, 0.0001]
    assert seen("train.ema_momentum") == [0.0, 0.3, 0.6, 0.9]
    assert seen("model.filters") == [16, 32, 48]
    rates = seen("train.learning_rate")
    assert all(1e-4 <= rate <= 1e-2 for rate in rates)
    # On a logarithmic scale half of them are below the geometric mean.
    assert 10 <= sum(rate < 1e-3 for rate in rates) <= 30
    for values in trials:
        changed = config.with_values(values)
        assert changed.train.learning_rate == values["train.learning_rate"]
        assert changed.model.filters == values["model.filters"]
        assert changed.train.batch_size == config.train.batch_size


def test_values_are_read_as_the_settings_read_them():
    config = tuner_config(SPACE)
    checked = checked_space(config, config.tune.space)
    assert checked["train.learning_rate"] == [1e-4, 1e-2]
    assert checked["train.loss"][0] == {"focal": {"weight": 1.0, "gamma": 2.0}}
    assert [type(value) for value in checked["model.filters"]] == [int, int]


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"train.learnin_rate": [0.1, 0.2]}, "train.learnin_rate: there is no such key"),
        ({"gate.min.mean_iou": [0.1, 0.2]}, "gate.min.mean_iou: takes keys of train and model"),
        ({"train": [0.1, 0.2]}, "takes keys of train and model"),
        ({"train.epochs": [1, 2]}, r"train.epochs cannot be tuned: tune.epochs"),
        ({"train.minutes": [1, 2]}, r"train.minutes cannot be tuned: every trial trains for tune.epochs"),
        ({"train.epochs.a": [1, 2]}, "train.epochs.a: epochs is a value, not a section"),
        ({"train.folds": [0, 5]}, "train.folds cannot be tuned: a trial trains one model"),
        ({"train.cache": ["disk", "none"]}, "train.cache cannot be tuned"),
        ({"train.optimizer": ["adamw", "adamm"]}, r"train.optimizer: .*'lion'; got 'adamm'"),
        ({"train.optimizer": {"low": 1, "high": 2}}, r"train.optimizer: .*'lion'; got 1.0"),
        ({"train.learning_rate": {"low": 0.1, "high": 20}}, "less than or equal to 10; got 20"),
        ({"train.batch_size": {"low": 1, "high": 2.5}}, "train.batch_size: .*fractional part"),
        ({"train.batch_size": {"low": 1, "high": 9, "step": 0.5}}, "takes a whole number as its step; got 0.5"),
        ({"train.augmentation.flip_vertical": {"low": 0, "high": 1}}, "takes a list of values, not a range"),
        ({"train.weight_decay": [0, 0.0]}, "has a value twice"),
        ({"model.encoder": ["plain", "vnet"]}, "there is no encoder 'vnet'"),
        ({"model.encoder_weights": ["a", "b"]}, "encoder_weights is not an option of encoder plain or decoder unet"),
        ({"model.depth": {"low": 2, "high": 6}}, "at least 64 pixels each way, not 32; a depth of at most 5"),
    ],
)
def test_a_space_that_the_settings_would_not_take_is_refused(space, message):
    settings = TuneSettings.model_validate({"space": space})
    base = TrainerConfig.model_validate(
        {"preprocessing": {"height": 32}, "model": {"encoder": "plain"}, "train": {}, "label_map": []}
    )
    with pytest.raises(UserError, match=r"(?s)^tune\.space\..*" + message):
        checked_space(base, settings.space)


def test_what_trials_set_does_not_start_the_search_anew(small_config, tmp_path):
    labels = LabelMap.from_names(["a", "b"])
    tune = {"trials": 2, "epochs": 3, "space": SPACE}

    def described(**train):
        config = small_config(tmp_path, tune=tune, train=train)
        return config.tuner_config(labels, config.tune)

    assert described().train.epochs == 3
    assert described(learning_rate=0.5, optimizer="lion", epochs=9, minutes=2) == described()
    assert described(batch_size=2) != described()
