"""Runs side by side."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from data.base.files import is_folder
from models.evaluation.metric_table import METRICS, format_value, in_words, metric_of, signed
from models.evaluation.metrics import confidence_interval
from models.evaluation.settings import WATCHED
from models.evaluation.sums import MOST_NAMED, NAMED_IMAGES
from pipeline.records.sections import Row

if TYPE_CHECKING:
    from pipeline.records.runs import Run

METRICS_HEADING, CLASSES_HEADING = "Metrics on the test split", "By class"
SETTINGS_HEADING, SECONDS_HEADING = "Configured differently", "Seconds"


@dataclasses.dataclass(frozen=True)
class Measured:
    """What the evaluation of a run measured of each test image.

    Attributes:
      images: mean IoU by the image's name; of very many images, of some.
      replicates: [REPLICATES] of the bootstrap by metric; none in evaluations by earlier versions.
    """

    images: dict[str, float]
    replicates: dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Runs side by side.

    Attributes:
      runs: in the order in which they were given; they are called A, B and so on.
      watched: the metric that decides about models of their task.
      sections: rows by heading, with a column for each run.
      intervals: of the difference of the watched metric between each run but the first and the first: ends of the 95 %
        interval, or None where the evaluations do not have what it takes.
      measured: of each run; None where there is no evaluation.
      remarks: what could not be compared, and why.
    """

    runs: list[Run]
    watched: str
    sections: dict[str, list[Row]]
    intervals: list[tuple[float, float] | None]
    measured: list[Measured | None]
    remarks: list[str]

    @property
    def letters(self) -> list[str]:
        """What the runs are called."""
        return letters(len(self.runs))

    @property
    def difference_heads(self) -> list[str]:
        """The heads of the columns of differences."""
        first, *others = self.letters
        return [f"{other} − {first}" for other in others]


def letters(count: int) -> list[str]:
    """A, B, …, and numbers where the alphabet ends."""
    return [chr(ord("A") + index) if index < 26 else str(index + 1) for index in range(count)]


def compare_runs(runs: list[Run]) -> Comparison:
    """Compares outcomes, metrics, the components' seconds, and what was configured differently."""
    measured = [read_measured(run) for run in runs]
    watched = WATCHED[runs[0].configuration.get("task", "semantic")]
    intervals, remarks = [], []
    for name, run, other in zip(letters(len(runs))[1:], runs[1:], measured[1:], strict=True):
        interval, remark = _interval_of_difference(watched, (runs[0], measured[0]), (run, other))
        intervals.append(interval)
        remarks += [f"There is no interval of the difference between A and {name}: {remark}."] if remark else []
    configurations = [flat(run.configuration) for run in runs]
    keys = dict.fromkeys(key for configuration in configurations for key in configuration)
    components = dict.fromkeys(component.name for run in runs for component in run.components)
    seconds = [
        {item.name: f"{item.seconds:.1f}" if item.state == "done" else item.state for item in run.components}
        for run in runs
    ]
    all_names = dict.fromkeys(name for run in runs for name, value in run.metrics.items() if value is not None)
    names = [name for name in all_names if _is_compared(name)]
    rows = {name: _metric(name, [run.metrics.get(name) for run in runs]) for name in names}
    of_runs = [_ends(run, watched) for run in runs]
    of_differences = Row(
        f"95 % interval of {in_words(watched)}",
        [" to ".join(format_value(watched, end) for end in ends) if ends else "–" for ends in of_runs],
        differences=tuple(" to ".join(map(signed, ends)) if ends else "–" for ends in intervals),
    )
    by_class = [name for name in names if (found := metric_of(name)) and found[1]]
    sections = {
        "Outcome": [
            Row("pipeline", [run.pipeline for run in runs]),
            Row("state", [run.state for run in runs]),
            Row("version", [str(run.pushed_version or "") for run in runs]),
            Row("compared at the size of", [run.resolution for run in runs]),
        ],
        METRICS_HEADING: [
            row
            for name in sorted(names, key=lambda name: name != watched)
            if name not in by_class
            for row in ([rows[name], of_differences] if name == watched else [rows[name]])
        ],
        CLASSES_HEADING: [rows[name] for name in by_class],
        SETTINGS_HEADING: [
            Row(key, [configuration.get(key, "") for configuration in configurations])
            for key in keys
            if len({configuration.get(key) for configuration in configurations}) > 1
        ],
        SECONDS_HEADING: [Row(name, [of_run.get(name, "") for of_run in seconds]) for name in components],
    }
    return Comparison(runs, watched, sections, intervals, measured, remarks)


def read_measured(run: Run) -> Measured | None:
    """What a run's evaluation measured of each image; None if there is none any more."""
    folder = run.folders.get("evaluation")
    if not folder or not is_folder(folder):
        return None
    # TFMA takes seconds to load.
    import tensorflow_model_analysis as tfma

    from components.evaluator import read_metrics

    found: dict[str, Any] = {}
    for model in (tfma.CANDIDATE_KEY, ""):
        found = found or read_metrics(folder, model).get("", {})
    names = [name.decode(errors="replace") for name in found["image_names"]]
    suffix = "_replicates"
    return Measured(
        images=dict(zip(names, found["image_mean_iou"].tolist(), strict=True)),
        replicates={key.removesuffix(suffix): value for key, value in found.items() if key.endswith(suffix)},
    )


def _interval_of_difference(
    metric: str, first: tuple[Run, Measured | None], other: tuple[Run, Measured | None]
) -> tuple[tuple[float, float] | None, str]:
    """The ends of the 95 % interval of a difference, or why there is none.

    The bootstrap draws images by what they hold, so that the replicates of two evaluations of the same images are of
    the same draws, as those of a candidate and the deployed model are in the gate.
    """
    (run, measured), (other_run, other_measured) = first, other
    if measured is None or other_measured is None:
        return None, "an evaluation is missing"
    if metric not in measured.replicates or metric not in other_measured.replicates:
        return None, "an evaluation was made by an earlier version of segpipe, which did not keep what it takes"
    counts = [one.metrics.get("images") or 0 for one in (run, other_run)]
    common = len(measured.images.keys() & other_measured.images.keys())
    # Of very many, some that the models' results choose are named, and as many that the images themselves do.
    expected = max(len(measured.images), len(other_measured.images)) if counts[0] <= MOST_NAMED else NAMED_IMAGES
    if counts[0] != counts[1] or common < expected:
        return None, "the runs have other test images"
    return confidence_interval(other_measured.replicates[metric] - measured.replicates[metric]), ""


def flat(value: Any, key: str = "") -> dict[str, str]:
    """Dotted keys and their values as text."""
    if isinstance(value, dict) and value:
        return {
            name: text
            for inner, item in value.items()
            for name, text in flat(item, f"{key}.{inner}" if key else str(inner)).items()
        }
    return {key: str(value)} if key else {}


def _is_compared(name: str) -> bool:
    """Counts say nothing about the models, and intervals and changes against the deployed one have no row here."""
    found = metric_of(name)
    if found is None:
        return True
    metric = found[0]
    is_count = metric.is_count and metric.higher_is_better
    return not (is_count or metric.change_of or metric.name.endswith(("_lower", "_upper")))


def _ends(run: Run, metric: str) -> list[float]:
    """The ends of the interval of a metric; none if there are none."""
    ends = [run.metrics.get(f"{metric}_{end}") for end in ("lower", "upper")]
    return [end for end in ends if end is not None]


def _metric(name: str, values: list[float | None]) -> Row:
    numbers = [value for value in values if value is not None]
    is_better = max if name not in METRICS or METRICS[name].higher_is_better else min
    first, *others = values
    return Row(
        in_words(name),
        [format_value(name, value) for value in values],
        values.index(is_better(numbers)) if len(set(numbers)) > 1 else None,
        tuple(signed(None if None in (first, value) else value - first) for value in others),  # type: ignore[operator]
    )
