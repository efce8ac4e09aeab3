"""The search space of the tuner: the section `tune` of the configuration, and how its values come into effect."""

from __future__ import annotations

import contextlib
import json
from typing import Annotated, Any, Literal

import pydantic

from data.base.errors import UserError, explain
from data.base.section import Section
from models.training.settings import TrainerConfig

# Keys whose value trials cannot choose, with the reason.
_NOT_TUNED = {
    "train.epochs": "tune.epochs is the number of epochs of every trial",
    "train.folds": "a trial trains one model",
    "train.minutes": "every trial trains for tune.epochs epochs",
    "train.cache": "all trials share the decoded images",
    "train.strategy": "all trials share the devices",
    "train.deterministic": "it holds for a whole process, and so for all trials",
}


class Range(Section):
    """Numbers from `low` to `high`, both included.

    Attributes:
      low: smallest number.
      high: largest number.
      step: between neighboring numbers; by default every number of the setting's type.
      scale: `log` draws as many numbers between 0.001 and 0.01 as between 0.01 and 0.1.
    """

    low: float
    high: float
    step: Annotated[float, pydantic.Field(gt=0)] | None = None
    scale: Literal["linear", "log"] = "linear"

    @pydantic.model_validator(mode="after")
    def _check(self) -> Range:
        if self.low >= self.high:
            raise ValueError(f"takes a low below high; got {self.low:g} and {self.high:g}")
        if self.scale == "log" and (self.low <= 0 or self.step):
            raise ValueError("takes a low above 0 and no step with scale: log")
        return self


def _kind(value: Any) -> str:
    return "values" if isinstance(value, list) else "range"


def _check_kind(value: Any) -> Any:
    if not isinstance(value, list | dict | Range):
        raise ValueError("takes a list of values, or a range such as {low: 0.001, high: 0.1, scale: log}")
    return value


Values = Annotated[list[Any], pydantic.Field(min_length=2)]
Dimension = Annotated[
    Annotated[Range, pydantic.Tag("range")] | Annotated[Values, pydantic.Tag("values")],
    pydantic.Discriminator(_kind),
    pydantic.BeforeValidator(_check_kind),
]


class TuneSettings(Section):
    """The search for hyperparameters.

    Attributes:
      trials: how many combinations of values are trained, at most; fewer where the space has no more.
      algorithm: `random` draws combinations at random; `bayesian` draws them where a Gaussian process, fitted to the
        trials so far, expects the most (its first trials, three for each key of the space, are random).
      epochs: passes over the train split in each trial.
      seed: decides which combinations are drawn.
      space: keys of `train` and `model`, and the values to choose from: a list, or a range of numbers.
    """

    trials: Annotated[int, pydantic.Field(ge=1)] = 20
    algorithm: Literal["random", "bayesian"] = "random"
    epochs: Annotated[int, pydantic.Field(ge=1)] = 10
    seed: Annotated[int, pydantic.Field(ge=0)] = 0
    space: Annotated[dict[str, Dimension], pydantic.Field(min_length=1)]


class TunerConfig(TrainerConfig):
    """What the tuner's `tuner_fn` gets as TFX's `custom_config`.

    Attributes:
      tune: the search.
    """

    tune: TuneSettings


def checked_space(base: TrainerConfig, space: dict[str, Range | list[Any]]) -> dict[str, list[Any]]:
    """The space's values as the settings read them: all values of a list, the two ends of a range.

    Args:
      base: the configuration that the trials change.
      space: as in `TuneSettings`.

    Raises:
      UserError: naming a key that does not exist, or a value that its setting does not take.
    """
    return {key: _checked(base, key, dimension) for key, dimension in space.items()}


def with_first_values(base: TrainerConfig, settings: TuneSettings) -> TrainerConfig:
    """A configuration with the first value of each key of the space, and the trials' epochs.

    Raises:
      UserError: as `checked_space` does, or if the trainer runs on several machines.
      ValidationError: if the values do not go together.
    """
    if base.train.strategy == "multi_worker":
        raise UserError("tune: trials run on one machine; set train.strategy to one or to mirrored")
    first = {key: values[0] for key, values in checked_space(base, settings.space).items()}
    return base.with_values({"train.epochs": settings.epochs, "train.minutes": 0, **first})


def _checked(base: TrainerConfig, key: str, dimension: Range | list[Any]) -> list[Any]:
    name = f"tune.space.{key}"
    if not key.startswith(("train.", "model.")):
        raise UserError(f"{name}: takes keys of train and model, such as train.learning_rate")
    if key in _NOT_TUNED:
        raise UserError(f"{name} cannot be tuned: {_NOT_TUNED[key]}")
    try:
        wanted = dimension if isinstance(dimension, list) else [dimension.low, dimension.high]
        values = [_value(base.with_values({key: value}), key) for value in wanted]
    except pydantic.ValidationError as error:
        raise UserError(explain(error, name)) from None
    except ValueError as error:
        raise UserError(f"{name}: {error}") from None
    if isinstance(dimension, Range):
        if not all(type(value) in (int, float) for value in values):
            raise UserError(f"{name}: takes a list of values, not a range")
        if type(values[0]) is int and dimension.step and not dimension.step.is_integer():
            raise UserError(f"{name}: takes a whole number as its step; got {dimension.step:g}")
    elif len({json.dumps(value) for value in values}) < len(values):
        raise UserError(f"{name}: has a value twice; got {dimension}")
    return values


def _value(config: TrainerConfig, key: str) -> Any:
    value = config.model_dump(mode="json")
    for part in key.split("."):
        value = value[part]
    return value


def to_choices(values: list[Any]) -> list[Any]:
    """Values that KerasTuner can choose from: numbers of one type, or strings; others become JSON."""
    if {type(value) for value in values} in ({int}, {float}):
        return values
    return [value if isinstance(value, str) else json.dumps(value) for value in values]


def from_choices(chosen: dict[str, Any]) -> dict[str, Any]:
    """Turns KerasTuner's values into the settings', by dotted keys."""
    return {key: _from_choice(value) for key, value in chosen.items()}


def _from_choice(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.12g}")  # Steps add up with rounding errors, such as that of 0.1 + 0.2.
    if isinstance(value, str):
        with contextlib.suppress(ValueError):  # Plain strings are not JSON.
            return json.loads(value)
    return value


def describe(values: dict[str, Any]) -> str:
    """One line for people."""
    return ", ".join(f"{key} {format_value(value)}" for key, value in values.items())


def format_value(value: Any) -> str:
    """A setting's value for people."""
    return f"{value:.6g}" if isinstance(value, float) else value if isinstance(value, str) else json.dumps(value)
