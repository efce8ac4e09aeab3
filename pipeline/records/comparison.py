"""Runs side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from models.evaluation.metric_table import METRICS
from pipeline.records.sections import Row

if TYPE_CHECKING:
    from pipeline.records.runs import Run


def compare_runs(runs: list[Run]) -> dict[str, list[Row]]:
    """Compares outcomes, metrics, the components' seconds, and what was configured differently.

    Returns:
      Rows by heading, with a column for each run.
    """
    configurations = [flat(run.configuration) for run in runs]
    keys = dict.fromkeys(key for configuration in configurations for key in configuration)
    components = dict.fromkeys(component.name for run in runs for component in run.components)
    seconds = [{item.name: f"{item.seconds:.1f} ({item.state})" for item in run.components} for run in runs]
    return {
        "Outcome": [
            Row("pipeline", [run.pipeline for run in runs]),
            Row("state", [run.state for run in runs]),
            Row("version", [str(run.pushed_version or "") for run in runs]),
            Row("compared at the size of", [run.resolution for run in runs]),
            Row("95 % interval of mean IoU", [_interval(run.mean_iou_interval) for run in runs]),
        ],
        "Metrics on the test split": [
            _metric(name, [run.metrics.get(name) for run in runs])
            for name in dict.fromkeys(name for run in runs for name in run.metrics)
            if _is_compared(name)
        ],
        "Configured differently": [
            Row(key, [configuration.get(key, "") for configuration in configurations])
            for key in keys
            if len({configuration.get(key) for configuration in configurations}) > 1
        ],
        "Seconds": [Row(name, [of_run.get(name, "") for of_run in seconds]) for name in components],
    }


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
    """Counts say nothing about the models, and ends of intervals have a row of their own or none."""
    if name.startswith(METRICS["pixels"].key("")):
        return False
    return name not in METRICS or not (METRICS[name].is_count or name.endswith(("_lower", "_upper")))


def _metric(name: str, values: list[float | None]) -> Row:
    numbers = [value for value in values if value is not None]
    best = values.index(max(numbers)) if len(set(numbers)) > 1 else None
    return Row(name, ["–" if value is None else f"{value:.4f}" for value in values], best)


def _interval(values: list[float] | None) -> str:
    return " to ".join(f"{value:.4f}" for value in values) if values else "–"
