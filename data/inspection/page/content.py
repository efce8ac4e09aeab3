"""The page: its content from a survey, and the template filled with it."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from data.base import pages
from data.inspection.page import charts
from data.inspection.page.pictures import Picture, choose, draw
from data.inspection.survey.doubts import Doubt, reasons
from data.inspection.survey.processes import Processes
from data.inspection.survey.summary import value_ranges
from data.inspection.survey.survey import SplitCounts, Survey

_TEMPLATE = pathlib.Path(__file__).with_name("page.html")
_SHOWN_REASONS = 50


@dataclasses.dataclass(frozen=True)
class _InSplit:
    """A class in a split; shares are from 0 to 1."""

    share: float
    images: int
    objects: int
    median: str


@dataclasses.dataclass(frozen=True)
class _ClassRow:
    """A class on the page."""

    name: str
    color: str
    splits: list[_InSplit]
    specks: int
    chart: Markup


def make_page(processes: Processes, survey: Survey, doubts: Sequence[Doubt]) -> str:
    """The text of a self-contained HTML file; it holds no character that UTF-8 cannot have."""
    pairs = [pair for doubt in doubts for pair in doubt.pairs]
    sample = choose(survey)
    wanted = dict.fromkeys([*sample, *(source for pair in pairs for source in pair)])
    pictures = draw(processes, [*wanted], survey.image_type)
    page = pages.template(_TEMPLATE).render(
        survey=survey,
        classes=_class_rows(survey),
        colors=[_css(color) for color in survey.label_map.palette],
        sample=[pictures[source] for source in sample if source in pictures],
        doubts=[(doubt, _drawn(doubt, pictures)) for doubt in doubts],
        size_chart=charts.sizes(survey.sizes),
        values=_values(survey),
        ranges=value_ranges(survey),
        reasons=reasons(survey.set_aside),
        left_out=reasons(survey.ignored),
        most_reasons=_SHOWN_REASONS,
    )
    return page.encode("utf-8", "backslashreplace").decode()


def _drawn(doubt: Doubt, pictures: dict[Any, Picture]) -> list[tuple[Picture, Picture]]:
    return [(pictures[a], pictures[b]) for a, b in doubt.pairs if a in pictures and b in pictures]


def _class_rows(survey: Survey) -> list[_ClassRow]:
    rows = []
    for label in survey.label_map.classes:
        counted = sum((counts.objects[label.id] for counts in survey.splits.values()), np.zeros(1, np.int64))
        rows.append(
            _ClassRow(
                label.name,
                _css(label.color),
                [_in_split(counts, label.id) for counts in survey.splits.values()],
                int(survey.specks[label.id]),
                charts.objects(counted, label.name),
            )
        )
    return rows


def _in_split(counts: SplitCounts, index: int) -> _InSplit:
    return _InSplit(
        float(counts.pixels[index] / max(int(counts.pixels.sum()), 1)),
        int(counts.with_class[index]),
        int(counts.objects[index].sum()),
        charts.median_of(counts.objects[index]),
    )


def _values(survey: Survey) -> list[Markup]:
    """A histogram of the colors, and one of each other channel."""
    colors = {name: counts for name, counts in survey.values.items() if name in ("red", "green", "blue")}
    others = [{name: counts} for name, counts in survey.values.items() if name not in colors]
    return [charts.histogram(channels) for channels in [colors, *others] if channels]


def _css(color: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*color)
