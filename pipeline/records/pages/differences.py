"""Pictures of the test images on which runs differ most."""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING

from data.base.files import is_folder

if TYPE_CHECKING:
    from pipeline.records.comparison import Comparison
    from pipeline.records.runs import Run

_IMAGES = 6
_SIDE = 320


@dataclasses.dataclass(frozen=True)
class Difference:
    """A test image.

    Attributes:
      name: its source id.
      mean_iou: of each run on it.
      image: the image, as a data URI.
      label: the label, likewise, to lay over the image.
      predictions: of each run, likewise.
    """

    name: str
    mean_iou: list[float]
    image: str
    label: str
    predictions: list[str]

    @property
    def spread(self) -> float:
        """How far the best and the worst run are apart."""
        return max(self.mean_iou) - min(self.mean_iou)


def most_different(comparison: Comparison) -> list[str]:
    """Names of the test images of all runs on which the runs' mean IoUs lie farthest apart, where they do at all."""
    of_runs = [measured.images for measured in comparison.measured if measured is not None]
    if len(of_runs) < len(comparison.runs):
        return []
    common = set.intersection(*(set(images) for images in of_runs))
    spreads = {
        name: max(images[name] for images in of_runs) - min(images[name] for images in of_runs) for name in common
    }
    found = sorted((name for name in spreads if spreads[name] > 0), key=lambda name: (-spreads[name], name))
    return found[:_IMAGES]


def draw_differences(comparison: Comparison) -> tuple[list[Difference], str]:
    """Predicts the images on which the runs differ most with the model of each run.

    Returns:
      The images, those first on which the runs differ most; and if there is none, why.
    """
    missing = [name for name, one in zip(comparison.letters, comparison.measured, strict=True) if one is None]
    if missing:
        return [], f"there is no evaluation of {_and(missing)} any more, which would say on which images they differ"
    chosen = most_different(comparison)
    if not chosen:
        return [], "the runs have no test image in common on which their mean IoU differs"
    models = [model_of(run) for run in comparison.runs]
    missing = [name for name, model in zip(comparison.letters, models, strict=True) if model is None]
    if missing:
        return [], f"there is no model of {_and(missing)} any more to predict with"
    folders = [run.folders.get("examples", "") for run in reversed(comparison.runs)]
    examples = next((os.path.join(folder, "Split-test") for folder in folders if folder and is_folder(folder)), None)
    if examples is None:
        return [], "the test images of the runs were deleted"
    # TensorFlow takes seconds to load.
    from components.report import pictures
    from data.label_map import LabelMap
    from models.serving.signatures import read_facts

    of_runs = []
    for model, measured in zip(models, comparison.measured, strict=True):
        assert model is not None
        assert measured is not None
        facts = read_facts(model)
        if facts is None:
            return [], f"{model} was not exported by segpipe"
        label_map = LabelMap.model_validate(facts["label_map"])
        choices = [pictures.Choice("", name, measured.images[name]) for name in chosen]
        drawn = pictures.draw(model, facts, examples, choices)
        of_runs.append({item.choice.name: pictures.layers(item, label_map, _SIDE) for item in drawn})
    found = [
        Difference(
            name=name,
            mean_iou=[measured.images[name] for measured in comparison.measured if measured is not None],
            image=of_runs[0][name]["image"],
            label=of_runs[-1][name]["label"],
            predictions=[layers[name]["prediction"] for layers in of_runs],
        )
        for name in chosen
        if all(name in layers for layers in of_runs)
    ]
    return found, "" if found else "the test images of the runs were deleted"


def model_of(run: Run) -> str | None:
    """The folder of a run's SavedModel: what the trainer made, or else what was pushed of it; None if both are gone."""
    from tfx.utils import path_utils

    folder = run.folders.get("model")
    if folder and is_folder(folder):
        return path_utils.serving_model_path(folder)
    return run.pushed_path if run.pushed_path and is_folder(run.pushed_path) else None


def _and(names: list[str]) -> str:
    return " and ".join(names)
