"""A comparison of runs as a page."""

from __future__ import annotations

import pathlib
from typing import TYPE_CHECKING, Any

from data.base import pages
from data.base.files import exists, is_remote
from data.label_map import LabelMap
from models.evaluation.metric_table import format_value, in_words, signed
from pipeline.records.comparison import (
    CLASSES_HEADING,
    METRICS_HEADING,
    SECONDS_HEADING,
    SETTINGS_HEADING,
    Comparison,
)
from pipeline.records.pages.differences import draw_differences

if TYPE_CHECKING:
    from pipeline.records.runs import Run

_TEMPLATE_PATH = pathlib.Path(__file__).with_name("comparison.html")


def render(comparison: Comparison) -> str:
    """The page as HTML that needs nothing else."""
    differences, why_none = draw_differences(comparison)
    return pages.template(_TEMPLATE_PATH, signed=signed).render(
        pipelines=list(dict.fromkeys(run.pipeline for run in comparison.runs)),
        watched=in_words(comparison.watched),
        runs=[_card(comparison, index) for index in range(len(comparison.runs))],
        findings=_findings(comparison),
        remarks=comparison.remarks,
        heads=comparison.letters,
        difference_heads=comparison.difference_heads,
        metrics=comparison.sections[METRICS_HEADING],
        classes=comparison.sections[CLASSES_HEADING],
        settings=comparison.sections[SETTINGS_HEADING],
        seconds=comparison.sections[SECONDS_HEADING],
        differences=differences,
        why_none=why_none,
        label_map=_label_map(comparison.runs) if differences else [],
    )


def _card(comparison: Comparison, index: int) -> dict[str, Any]:
    run = comparison.runs[index]
    is_here = run.report is not None and not is_remote(run.report) and exists(run.report)
    return {
        "name": comparison.letters[index],
        "run_id": run.run_id,
        "pipeline": run.pipeline,
        "state": run.state + (f" as version {run.pushed_version}" if run.state == "pushed" else ""),
        "value": format_value(comparison.watched, run.metrics.get(comparison.watched)),
        "resolution": {"original": "at each image's own size", "model": "at the model's size"}.get(run.resolution, ""),
        "code": run.code.partition(" ")[0],
        "report": pathlib.Path(str(run.report)).absolute().as_uri() if is_here else None,
    }


def _findings(comparison: Comparison) -> list[tuple[str, bool]]:
    """A sentence for each run but the first, and whether it is worse beyond chance."""
    first, *others = [run.metrics.get(comparison.watched) for run in comparison.runs]
    found = []
    for name, value, ends in zip(comparison.letters[1:], others, comparison.intervals, strict=True):
        if first is None or value is None:
            continue
        change = signed(value - first)
        words = in_words(comparison.watched)
        if ends is None:
            text = f"{words} of {name} less that of A: {change}. Whether that is more than chance is not known."
            found.append((text, False))
            continue
        interval = f"95 % interval {signed(ends[0])} to {signed(ends[1])}, paired over the same test images"
        if ends[0] <= 0 <= ends[1]:
            verdict = f"{name} and A do not differ by more than chance"
        else:
            verdict = f"{name} is {'better' if value > first else 'worse'} than A"
        found.append((f"{verdict}: {words} {change} ({interval}).", ends[1] < 0))
    return found


def _label_map(runs: list[Run]) -> list[dict[str, str]]:
    """Classes with their colors, of all runs together."""
    from models.serving.signatures import read_facts
    from pipeline.records.pages.differences import model_of

    classes: dict[str, str] = {}
    for run in runs:
        facts = read_facts(str(model_of(run)))
        for label in LabelMap.model_validate((facts or {})["label_map"]).classes:
            classes.setdefault(label.name, "#{:02x}{:02x}{:02x}".format(*label.color))
    return [{"name": name, "color": color} for name, color in classes.items()]
