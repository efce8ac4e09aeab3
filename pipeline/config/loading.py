"""Reading a configuration: one YAML file, typed, with `--set key=value` on top."""

from __future__ import annotations

import pathlib
from typing import Any

import pydantic

from data.base.errors import UserError, explain
from data.base.section import set_value, split_override
from data.base.yaml_text import read_yaml
from models.evaluation.settings import join_names
from models.training.settings import TrainerConfig
from models.tuning.search_space import with_first_values
from pipeline.config.config import Config

_QUOTES = "a name that holds . or = goes in quotes, such as --set 'gate.min.iou.\"a=b\"=0.5'"
_SECTIONS = {name for name, field in Config.model_fields.items() if field.annotation is not str} - {"tune"}


def load_config(path: str | pathlib.Path, overrides: tuple[str, ...] = ()) -> Config:
    """Reads a configuration file.

    Args:
      path: of the YAML file.
      overrides: `key=value`, with dots between the levels of a key and YAML as the value.

    Raises:
      UserError: naming every key that is wrong, what it got and what it takes.
    """
    try:
        text = pathlib.Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise UserError(f"cannot read the configuration {path}: {why}") from None
    try:
        values = read_yaml(text)
    except ValueError as error:
        raise UserError(f"{path} is not YAML: {error}") from None
    if isinstance(values, dict):
        # A section whose keys are all left out, or commented out, is one with its defaults.
        values = {key: {} if value is None and key in _SECTIONS else value for key, value in values.items()}
    if not isinstance(values, dict):
        raise UserError(f"{path} must hold keys and values, such as `name: my_model`")
    for override in overrides:
        _apply(values, override)
    try:
        config = Config.model_validate(values)
        # The depth of the model must fit its input; the trainer would refuse it, but only after Transform.
        training = TrainerConfig(
            preprocessing=config.preprocessing, model=config.model, train=config.train, label_map=[]
        )
        if config.tune:
            with_first_values(training, config.tune)
    except pydantic.ValidationError as error:
        raise UserError(explain(error, str(path), Config)) from None
    return config


def _apply(values: dict[str, Any], override: str) -> None:
    key, text = split_override(override)
    if text is None or not all(key):
        raise UserError(f"--set {override}: takes key=value, such as --set train.epochs=10; {_QUOTES}")
    if key[0] == "gate":
        key = ["gate", *join_names(key[1:])]
    try:
        value = read_yaml(text)
    except ValueError as error:
        raise UserError(f"--set {override}: the value is not YAML: {error}") from None
    if key[0] == "gate" and isinstance(value, str) and "=" in value:
        raise UserError(f"--set {override}: {_QUOTES}")
    try:
        set_value(values, key, value)
    except ValueError as error:
        raise UserError(f"--set {override}: {error}") from None
