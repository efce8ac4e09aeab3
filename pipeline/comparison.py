"""Runs side by side, for the terminal and as HTML."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import TYPE_CHECKING, Any

import jinja2

if TYPE_CHECKING:
    from rich.table import Table

    from pipeline.runs import Run

_TEMPLATE_PATH = pathlib.Path(__file__).with_name("comparison.html")


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of a comparison.

    Attributes:
      label: what is compared.
      texts: one for each run.
      best: index of the best value, or None where there is no best.
    """

    label: str
    texts: list[str]
    best: int | None = None


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Runs and what tells them apart.

    Attributes:
      runs: in the order in which they were asked for.
      sections: rows by heading.
    """

    runs: list[Run]
    sections: dict[str, list[Row]]


def compare_runs(runs: list[Run]) -> Comparison:
    """Compares outcomes, metrics, the seconds of components, and what was configured differently."""
    configurations = [_flat(run.configuration) for run in runs]
    keys = dict.fromkeys(key for configuration in configurations for key in configuration)
    components = dict.fromkeys(component.name for run in runs for component in run.components)
    seconds = [{item.name: f"{item.seconds:.1f} ({item.state})" for item in run.components} for run in runs]
    return Comparison(
        runs,
        {
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
                if not name.endswith(("_lower", "_upper")) and name != "images"
            ],
            "Configured differently": [
                Row(key, [configuration.get(key, "") for configuration in configurations])
                for key in keys
                if len({configuration.get(key) for configuration in configurations}) > 1
            ],
            "Seconds": [Row(name, [of_run.get(name, "") for of_run in seconds]) for name in components],
        },
    )


def _flat(value: Any, key: str = "") -> dict[str, str]:
    """Dotted keys and their values as text."""
    if isinstance(value, dict) and value:
        return {
            name: text
            for inner, item in value.items()
            for name, text in _flat(item, f"{key}.{inner}" if key else str(inner)).items()
        }
    return {key: str(value)} if key else {}


def _metric(name: str, values: list[float | None]) -> Row:
    numbers = [value for value in values if value is not None]
    best = values.index(max(numbers)) if len(set(numbers)) > 1 else None
    return Row(name, ["–" if value is None else f"{value:.4f}" for value in values], best)


def _interval(values: list[float] | None) -> str:
    return " to ".join(f"{value:.4f}" for value in values) if values else "–"


def to_table(comparison: Comparison) -> Table:
    """For the terminal; the best value of a metric is bold."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for run in comparison.runs:
        table.add_column(run.run_id, overflow="fold")
    for heading, rows in comparison.sections.items():
        if rows:
            table.add_row(Text(heading, style="bold underline"))
        for row in rows:
            cells = [Text(text, style="bold" if index == row.best else "") for index, text in enumerate(row.texts)]
            table.add_row(row.label, *cells)
    return table


def to_html(comparison: Comparison) -> str:
    """A page that needs nothing else; it links the runs' reports."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATE_PATH.parent), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template(_TEMPLATE_PATH.name).render(comparison=comparison)
