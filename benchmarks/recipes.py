"""What segpipe trains when nothing is configured, and what it trained before, for comparisons at equal time."""

from __future__ import annotations

import dataclasses
import pathlib
import statistics
from collections.abc import Collection
from typing import Any

from common import evaluated_classes, in_fresh_process, run_pipeline

_PLAIN = {
    "encoder": "plain",
    "decoder": "unet",
    "filters": 16,
    "depth": 4,
    "normalization": "batch",
    "deep_supervision": False,
}

# What was the default before encoders came with ImageNet's weights.
_FORMER_DEFAULT = {
    "batch_size": 8,
    "loss": "cross_entropy",
    "class_weights": "root_median_frequency",
    "sampling": "uniform",
    "small_sizes": 0.8,
    "optimizer": "adamw",
    "schedule": "cosine",
    "learning_rate": 2e-3,
    "warmup_epochs": 2,
    "weight_decay": 1e-4,
    "gradient_clip_norm": 0.0,
    "ema_momentum": 0.0,
    "augmentation": {
        "flip_horizontal": True,
        "flip_vertical": False,
        "rotation_degrees": 20,
        "scale": 1.5,
        "brightness": 0.3,
        "contrast": 0.3,
        "saturation": 0.3,
    },
}
# The train section of configs/oxford_pets.yaml in the first version, and what was the default then.
_FIRST_VERSION = {
    **_FORMER_DEFAULT,
    "small_sizes": 0,
    "learning_rate": 1e-3,
    "augmentation": {
        "flip_horizontal": True,
        "rotation_degrees": 20,
        "scale": 1.5,
        "brightness": 0,
        "contrast": 0,
        "saturation": 0,
    },
}


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Sections of a configuration; {} is the default."""

    model: dict[str, Any]
    train: dict[str, Any]


def recipes(filters: int) -> dict[str, Recipe]:
    """All recipes by name.

    Args:
      filters: of the plain U-Net, which the former ones train.
    """
    plain = {**_PLAIN, "filters": filters}
    return {
        "default": Recipe({}, {}),
        "folds": Recipe({}, {"folds": 5}),
        "former_default": Recipe(plain, _FORMER_DEFAULT),
        "first_version": Recipe(plain, _FIRST_VERSION),
    }


def chosen(names: str, known: Collection[str]) -> list[str]:
    """The names in a list with commas.

    Raises:
      SystemExit: if one is not known.
    """
    found = [name.strip() for name in names.split(",") if name.strip()]
    if unknown := sorted(set(found) - set(known)):
        raise SystemExit(f"unknown {', '.join(unknown)}; known are {', '.join(known)}")
    return found


@dataclasses.dataclass(frozen=True)
class Result:
    """What one training led to.

    Attributes:
      ious: of each class of the test split, by name.
      seconds: that it took.
    """

    mean_iou: float
    ious: dict[str, float]
    seconds: float


def class_means(results: list[Result]) -> dict[str, float]:
    """Of each class that occurs in all results its mean IoU."""
    return {
        name: round(statistics.mean(result.ious[name] for result in results), 4)
        for name in results[0].ious
        if all(name in result.ious for result in results)
    }


class EqualTime:
    """Trains recipes in the same time on one data set.

    Args:
      seconds: of training.
      output: folder of the runs.
      data: folder of the TFRecords.
      preprocessing: section of the configuration.
    """

    def __init__(self, seconds: float, output: str, data: pathlib.Path, preprocessing: dict[str, Any]):
        self._seconds, self._output, self._data = seconds, output, data
        self._base = {"preprocessing": preprocessing, "gate": {"min": {"mean_iou": 0}}}

    def train(self, recipe: Recipe, seed: int) -> Result:
        """Trains and evaluates a recipe."""
        train = {**recipe.train, "minutes": self._seconds / 60, "seed": seed}
        measured = run_pipeline(self._output, self._data, "Evaluator", **self._base, model=recipe.model, train=train)
        return Result(*in_fresh_process(evaluated_classes, self._output), measured["Trainer"]["seconds"])
