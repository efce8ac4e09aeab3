"""Which numbers are measured, what are they called, and how are they computed? One row each.

TFMA's results, the keys of `gate.min` and `gate.slices`, the report and the table in docs/evaluation.md come from these
rows. A new metric is a function in `models/evaluation/metrics.py` and a row here; those of objects are in
`models/evaluation/objects/rows.py`. Nothing here imports TensorFlow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from models.evaluation import metrics
from models.evaluation.metric import Metric
from models.evaluation.objects.rows import OBJECT_ROWS, object_replicates
from models.evaluation.sums import SIZES, Sums


def _change(candidate: Sums, deployed: Sums) -> float:
    return metrics.mean_iou(candidate.totals) - metrics.mean_iou(deployed.totals)


def _change_interval(candidate: Sums, deployed: Sums) -> tuple[float, float]:
    """The replicates of both come from the same draws of images, so their differences are paired."""
    return metrics.confidence_interval(metrics.mean_iou(candidate.replicates) - metrics.mean_iou(deployed.replicates))


def _interval(sums: Sums) -> tuple[float, float]:
    return metrics.confidence_interval(metrics.mean_iou(sums.replicates))


def _of_size(what: str, index: int) -> Callable[[Sums], Any]:
    return lambda sums: metrics.mean_iou(getattr(sums, f"by_{what}_size")[index])


def _of_groups(words: str, name: str, by_class: Callable[[np.ndarray], np.ndarray]) -> Iterable[Metric]:
    """A metric of whole groups of images, such as volumes: its mean over classes, and of each class."""

    def of_classes(sums: Sums) -> np.ndarray:
        return metrics.mean_over_groups(by_class(sums.group_totals))

    yield Metric(
        f"mean_group_{name}",
        f"mean {words} of whole groups",
        f"mean of the classes' {words} of whole groups",
        lambda sums: metrics.mean_over_classes(of_classes(sums)),
        of_groups=True,
        is_headline=True,
    )
    yield Metric(
        f"group_{name}",
        f"{words} of whole groups",
        f"{words} over all pixels of a group (`image/group`: a volume, patient, scene), mean over those with the class",
        of_classes,
        by_class=True,
        of_groups=True,
        is_headline=True,
    )


# By small, medium and large.
_SIZE_DEFINITIONS = {
    "image": ("images below 256² pixels", "from 256² to below 1024² pixels", "from 1024² pixels"),
    "region": ("of each class, over the images of which it takes less than 1 %", "1 % to below 10 %", "10 % and more"),
}
_ROWS = (
    Metric(
        "mean_iou",
        "mean IoU",
        "mean of the classes' IoU",
        lambda sums: metrics.mean_iou(sums.totals),
        is_headline=True,
    ),
    Metric(
        "mean_iou_lower",
        "lower end of the 95 % interval of mean IoU",
        "over images: a Poisson bootstrap of 1,000 replicates",
        lambda sums: _interval(sums)[0],
    ),
    Metric(
        "mean_iou_upper",
        "upper end of the 95 % interval of mean IoU",
        "likewise",
        lambda sums: _interval(sums)[1],
    ),
    Metric(
        "iou",
        "IoU",
        "TP / (TP + FP + FN) over all pixels",
        lambda sums: metrics.class_iou(sums.totals),
        by_class=True,
        is_headline=True,
    ),
    Metric(
        "mean_dice",
        "mean Dice",
        "mean of the classes' Dice",
        lambda sums: metrics.mean_over_classes(metrics.class_dice(sums.totals)),
        is_headline=True,
    ),
    Metric(
        "dice",
        "Dice",
        "2 TP / (2 TP + FP + FN) over all pixels",
        lambda sums: metrics.class_dice(sums.totals),
        by_class=True,
        is_headline=True,
    ),
    Metric(
        "mean_boundary_iou",
        "mean boundary IoU",
        "mean of the classes' boundary IoU",
        lambda sums: metrics.mean_iou(sums.boundary),
        is_headline=True,
    ),
    Metric(
        "boundary_iou",
        "boundary IoU",
        "IoU of the pixels within 2 % of the image's diagonal of a region's contour",
        lambda sums: metrics.class_iou(sums.boundary),
        by_class=True,
        is_headline=True,
    ),
    Metric(
        "pixel_accuracy",
        "pixel accuracy",
        "share of pixels with the right class",
        lambda sums: metrics.pixel_accuracy(sums.totals),
        is_headline=True,
    ),
    Metric(
        "frequency_weighted_iou",
        "frequency-weighted IoU",
        "IoU weighted by the classes' shares of the labeled pixels",
        lambda sums: metrics.frequency_weighted_iou(sums.totals),
        is_headline=True,
    ),
    *(
        Metric(f"mean_iou_{size}_{what}s", f"mean IoU of {size} {what}s", definition, _of_size(what, index))
        for what, definitions in _SIZE_DEFINITIONS.items()
        for index, (size, definition) in enumerate(zip(SIZES, definitions, strict=True))
    ),
    *_of_groups("IoU", "iou", metrics.class_iou),
    *_of_groups("Dice", "dice", metrics.class_dice),
    Metric(
        "groups",
        "number of groups",
        "volumes, patients or scenes that were evaluated",
        lambda sums: len(sums.groups),
        most=np.inf,
        of_groups=True,
    ),
    Metric("images", "number of images", "images that were evaluated", lambda sums: sums.count, most=np.inf),
    Metric(
        "pixels",
        "number of labeled pixels",
        "pixels of the class in the labels",
        lambda sums: sums.totals[1],
        by_class=True,
        most=np.inf,
    ),
    Metric(
        "mean_iou_change",
        "change of mean IoU",
        "candidate less deployed model, on the same images",
        _change,
        change_of="mean_iou",
    ),
    Metric(
        "mean_iou_change_lower",
        "lower end of the 95 % interval of the change of mean IoU",
        "paired by image",
        lambda *both: _change_interval(*both)[0],
        change_of="mean_iou",
    ),
    Metric(
        "mean_iou_change_upper",
        "upper end of the 95 % interval of the change of mean IoU",
        "likewise",
        lambda *both: _change_interval(*both)[1],
        change_of="mean_iou",
    ),
    *OBJECT_ROWS,
)
# By name. What a class is called never makes two keys of TFMA's results the same, because the name of a metric by class
# and an underscore begin no other name.
METRICS = {metric.name: metric for metric in _ROWS}


def measure(class_names: Iterable[str], sums: Sums, deployed: Sums | None = None) -> dict[str, float]:
    """All numbers of a split or slice, by their names in TFMA's results.

    Args:
      class_names: names by class id.
      sums: of the model.
      deployed: of the deployed model, to measure changes too.
    """
    values: dict[str, float] = {}
    names = list(class_names)
    for metric in METRICS.values():
        if (metric.change_of and deployed is None) or (metric.of_objects and sums.objects is None):
            continue
        if metric.of_groups and not sums.groups:
            continue
        value = metric.compute(sums, deployed) if metric.change_of else metric.compute(sums)
        keys = [metric.key(name) for name in names] if metric.by_class else [metric.key()]
        values |= {key: float(number) for key, number in zip(keys, np.ravel(value), strict=True)}
    return values


def of_classes(name: str, values: dict[str, Any]) -> dict[str, Any]:
    """The values of a metric by class, by class name; from all values by their names in TFMA's results."""
    prefix = METRICS[name].key("")
    return {key.removeprefix(prefix): value for key, value in values.items() if key.startswith(prefix)}


def metric_of(key: str) -> tuple[Metric, str] | None:
    """The metric that a name in TFMA's results is of, and the class, "" for none; None if there is no such metric."""
    if key in METRICS:
        return METRICS[key], ""
    found = next((metric for metric in METRICS.values() if metric.by_class and key.startswith(metric.key(""))), None)
    return (found, key.removeprefix(found.key(""))) if found else None


def in_words(key: str) -> str:
    """A name in TFMA's results as people say it."""
    found = metric_of(key)
    return found[0].label(found[1]) if found else key


def format_value(key: str, value: float | None) -> str:
    """A value as people read it: numbers of things without decimals."""
    if value is None:
        return "–"
    found = metric_of(key)
    is_count = found is not None and found[0].is_count and float(value).is_integer()
    return f"{value:.0f}" if is_count else f"{value:.4f}"


def replicates(sums: Sums) -> dict[str, np.ndarray]:
    """[REPLICATES] float32 of each metric that tasks watch, by its name and `_replicates`.

    Those of two models of the same images can be subtracted, as they are of the same draws of images.
    """
    found = {"mean_iou": metrics.mean_iou(sums.replicates)}
    if sums.objects is not None:
        found |= {"pq": object_replicates("", sums), "pq_things": object_replicates("_things", sums)}
    return {f"{name}_replicates": values.astype(np.float32) for name, values in found.items()}


def signed(value: float | None) -> str:
    """A difference, with its sign."""
    return "–" if value is None else f"{value:+.4f}".replace("-", "−")
