"""Several models in one: the train and eval splits in folds, and for each fold a model that learns from all others.

As nnU-Net does (Isensee et al. 2021, Methods), the models are averaged; here they are exported as one.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from data.splits import fold_of
from models.ensemble import out_of_fold
from models.inputs.input_pipeline import DecodedExamples
from models.serving.signatures import read_facts
from models.training.loop import TrainingError
from models.training.settings import TrainerConfig

# Beside the models' weights: how well each image was predicted by the model that did not learn from it.
DOUBTS_FILE = "out_of_fold.csv"


@dataclasses.dataclass(frozen=True)
class Member:
    """A model to train.

    Attributes:
      name: of the folder with its checkpoints, and of that with its curves and weights; "" if there is but one model.
      config: of its training.
      training: what it learns from.
      evaluation: what decides which of its weights are best.
    """

    name: str
    config: TrainerConfig
    training: DecodedExamples
    evaluation: DecodedExamples


def member_names(folds: int) -> list[str]:
    """The names of the models that `train.folds` asks for."""
    return [f"fold{index + 1}" for index in range(folds)] if folds > 1 else [""]


def members(config: TrainerConfig, decoded: Sequence[DecodedExamples]) -> list[Member]:
    """The models to train: one, or as many as there are folds.

    Args:
      config: what the trainer got.
      decoded: the train and the eval split, or with folds both in one.

    Raises:
      TrainingError: if a fold would be empty.
    """
    folds = config.train.folds
    if folds < 2:
        training, evaluation = decoded
        return [Member("", config, training, evaluation)]
    (examples,) = decoded
    groups = examples.groups()
    of_images = np.array([fold_of(group, folds) for group in groups])
    _check_filled(groups, folds)
    result = []
    for index, name in enumerate(member_names(folds)):
        held_out = of_images == index
        # Seeds of their own, which no other model has whose `train.seed` is another one.
        changed = {"seed": config.train.seed * folds + index, "minutes": config.train.minutes / folds}
        of_member = {"train": config.train.model_copy(update=changed), "member": index}
        training, evaluation = (examples.select(np.flatnonzero(chosen)) for chosen in (~held_out, held_out))
        result.append(Member(name, config.model_copy(update=of_member), training, evaluation))
    return result


def _check_filled(groups: list[str], folds: int) -> None:
    if _filled(groups, folds):
        return
    fewer = next((number for number in range(folds - 1, 1, -1) if _filled(groups, number)), 0)
    raise TrainingError(
        f"train.folds: {folds} would leave a fold empty: the splits train and eval have {len(groups)} images with "
        f"{len(set(groups))} different names or groups, whose hashes decide on their folds; set it to {fewer}"
    )


def _filled(groups: list[str], folds: int) -> bool:
    return len({fold_of(group, folds) for group in groups}) == folds


def deployed_member(config: TrainerConfig) -> int:
    """Which model of the deployed ones to begin with: that of the same fold, or the first if the folds are others."""
    return config.member if _deployed_folds(config) == config.train.folds else 0


def are_held_out(config: TrainerConfig) -> bool:
    """Whether there are folds and no model has ever seen its own, even as the deployed model that it began with."""
    if config.train.folds < 2 or not config.deployed_model:
        return config.train.folds > 1
    return _deployed_folds(config) == config.train.folds and bool(_deployed_facts(config).get("held_out"))


def _deployed_folds(config: TrainerConfig) -> int:
    return int(_deployed_facts(config).get("train", {}).get("folds", 0))


def _deployed_facts(config: TrainerConfig) -> dict[str, Any]:
    """What the deployed model says of itself; nothing if that cannot be read, which must not fail a training."""
    try:
        return read_facts(config.deployed_model) or {}
    except (OSError, ValueError):
        return {}


def write_doubts(trained: Sequence[Member], models: Sequence[keras.Model], folder: str) -> None:
    """Measures each model on its own fold, and writes down which labels the models doubt.

    Args:
      trained: the models' folds.
      models: with their best weights.
      folder: where `DOUBTS_FILE` goes.
    """
    doubts = [
        doubt
        for index, (member, model) in enumerate(zip(trained, models, strict=True))
        for doubt in out_of_fold.measure(model, member.evaluation, member.config.train.batch_size, index + 1)
    ]
    out_of_fold.write(doubts, os.path.join(folder, DOUBTS_FILE))
