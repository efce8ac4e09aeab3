"""Charts as SVG. Text and lines take their color from the page, light or dark."""

from __future__ import annotations

import dataclasses
import datetime
import io
from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, DateFormatter, date2num
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

# Stands for the page's text color.
_INK = "#010203"
# From Okabe and Ito's palette, which color-blind people can tell apart; all stand out on white and on black.
COLORS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00")
# Up to so many points of a curve can be told apart.
_MARKED_POINTS = 40
# Of images, as shares of the full height and width, in words.
_SIZES = {0.25: "¼", 0.5: "½", 1.0: "full size"}
_STYLE = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "legend.frameon": False,
}


@dataclasses.dataclass(frozen=True)
class Stage:
    """A part of a training in which all images have one size.

    Attributes:
      size: in words, of the height and width.
      first: epoch or evaluation, counted from 1.
      last: likewise; this one is still part of it.
    """

    size: str
    first: int
    last: int


@dataclasses.dataclass(frozen=True)
class Measurement:
    """What one run measured, as a point of `over_time`.

    Attributes:
      time: when it began.
      kind: what became of its model, a key of `KINDS`.
      value: of the metric.
      interval: ends of its confidence interval; empty if there is none.
      bound: the least value with which a model would have passed, or None.
      images: what it was measured on; only the values of equal ones can be compared.
      link: what a click on the point opens, or "".
    """

    time: datetime.datetime
    kind: str
    value: float
    interval: Sequence[float]
    bound: float | None
    images: str
    link: str = ""


# What became of models, with the color and the marker of their points.
KINDS = {"deployed": (COLORS[0], "o"), "passed": (COLORS[2], "s"), "not pushed": (COLORS[4], "X")}


def over_time(runs: Sequence[Measurement], name: str) -> str:
    """A metric of run after run, with its intervals and what the gate asked for.

    Runs that were measured on the same images are joined by a line; where the images change, a line says so.

    Args:
      runs: at least one, oldest first.
      name: of the metric.
    """
    with mpl.rc_context(_STYLE):
        figure = Figure((5.4, 3.2), layout="constrained")
        axes = figure.subplots()
        times = date2num([run.time for run in runs])  # In days.
        margin = max(0.06 * (times[-1] - times[0]), 1 / 24)
        left, right = times[0] - margin, times[-1] + margin
        axes.set_xlim(left, right)
        bounds = [np.nan if run.bound is None else run.bound for run in runs]
        if not np.isnan(bounds).all():
            places = [left, *times[1:], right]
            dashes = (0, (4, 2))
            axes.step(
                places, [*bounds, bounds[-1]], where="post", color=_INK, linewidth=1, linestyle=dashes, label="gate"
            )
        joined: list[tuple[float, float]] = []
        for index, (time, run) in enumerate(zip(times, runs, strict=True)):
            if index and run.images != runs[index - 1].images:
                middle = (times[index - 1] + time) / 2
                axes.axvline(middle, color=_INK, linewidth=0.8, linestyle=":")
                joined.append((middle, np.nan))
            joined.append((time, run.value))
        axes.plot(*zip(*joined, strict=True), color=_INK, alpha=0.35, linewidth=1)
        for kind, (color, marker) in KINDS.items():
            of_kind = [(time, run) for time, run in zip(times, runs, strict=True) if run.kind == kind]
            if ends := [(time, *run.interval) for time, run in of_kind if run.interval]:
                axes.vlines(*zip(*ends, strict=True), color=color, linewidth=1.5, alpha=0.6)
            if of_kind:
                points = axes.scatter(
                    [time for time, _ in of_kind],
                    [run.value for _, run in of_kind],
                    s=36,
                    color=color,
                    marker=marker,
                    zorder=3,
                    label=kind,
                )
                points.set_urls([run.link or None for _, run in of_kind])
        locator = AutoDateLocator(minticks=3, maxticks=6)
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
        axes.set_ylabel(name)
        figure.legend(loc="outside upper left", ncols=4)
        return _svg(figure, f"{name[0].upper()}{name[1:]} of each run, with its 95 % interval and the gate's line")


def learning_curves(curves: dict[str, dict[str, list[tuple[int, float]]]], unit: str = "epoch") -> list[str]:
    """Loss and mean IoU by epoch, or by evaluation; where images were smaller, the background is shaded.

    Args:
      curves: by split (`train`, `validation`) and name (`loss`, `mean_iou`): epochs, counted from 0, and values.
      unit: what is counted.
    """
    charts = []
    for name in ("loss", "mean_iou"):
        with mpl.rc_context(_STYLE):
            words = name.replace("mean_iou", "mean IoU")
            figure = Figure((4.8, 3.2), layout="constrained")
            axes = figure.subplots()
            for color, (split, of_split) in zip(COLORS, curves.items(), strict=False):
                points = of_split.get(name, [])
                label = {"validation": "eval"}.get(split, split)
                axes.plot(
                    [index + 1 for index, _ in points],
                    [value for _, value in points],
                    color=color,
                    label=label,
                    marker="o" if len(points) <= _MARKED_POINTS else None,
                    markersize=3,
                )
            _mark(axes, stages(curves))
            axes.set(xlabel=unit, ylabel=words)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            figure.legend(loc="outside upper left", ncols=2)
            charts.append(_svg(figure, f"Learning curves: {words} by {unit}"))
    return charts


def stages(curves: dict[str, dict[str, list[tuple[int, float]]]]) -> list[Stage]:
    """The sizes of images in a training, in their order; none if it was all at the full size, or is not known."""
    found: list[Stage] = []
    for index, scale in curves.get("train", {}).get("image_scale", []):
        # Of several models, which may change their sizes at different times, the mean.
        size = min(_SIZES, key=lambda known: abs(known - scale))
        if found and found[-1].size == _SIZES[size]:
            found[-1] = dataclasses.replace(found[-1], last=index + 1)
        else:
            found.append(Stage(_SIZES[size], index + 1, index + 1))
    return found if len(found) > 1 else []


def _mark(axes: Axes, found: Sequence[Stage]) -> None:
    if not found:
        return
    left, right = axes.get_xlim()
    for stage, later in zip(found, [*found[1:], None], strict=True):
        start, end = max(left, stage.first - 0.5), right if later is None else later.first - 0.5
        if later is not None:
            axes.axvspan(
                start, end, color=_INK, alpha=0.08 if stage is found[0] and len(found) > 2 else 0.04, linewidth=0
            )
            axes.axvline(end, color=_INK, linewidth=0.8, linestyle=(0, (4, 3)))
        axes.text(
            (start + end) / 2,
            1.02,
            stage.size,
            transform=axes.get_xaxis_transform(),
            ha="center",
            va="bottom",
            fontsize=9,
        )
    axes.set_xlim(left, right)


def over_days(title: str, points: Sequence[tuple[str, float, float, bool]], reference: str) -> str:
    """A number of served traffic by the day.

    Args:
      title: what it is.
      points: of each day, in ISO 8601: the number, what it is compared with, and whether the difference is an alert.
      reference: what that is, for the legend.
    """
    with mpl.rc_context(_STYLE):
        figure = Figure((4.8, 2.8), layout="constrained")
        axes = figure.subplots()
        # Of one day, more than one version may have answered.
        days = [np.datetime64(day) for day, *_ in points]
        marker = "o" if len(points) <= _MARKED_POINTS else None
        axes.plot(days, [before for _, _, before, _ in points], color=_INK, linewidth=0.8, label=reference)
        axes.plot(days, [now for _, now, _, _ in points], color=COLORS[0], marker=marker, markersize=3, label="served")
        alerts = [(day, now) for day, (_, now, _, is_alert) in zip(days, points, strict=True) if is_alert]
        if alerts:
            axes.plot(*zip(*alerts, strict=True), "o", color=COLORS[4], markersize=9, fillstyle="none", label="alert")
        locator = AutoDateLocator(minticks=2, maxticks=5, interval_multiples=False)
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(DateFormatter("%d %b"))
        if len(set(days)) == 1:
            axes.set_xticks(days[:1])
        axes.set_title(title, fontsize=10, loc="left", pad=8)
        figure.legend(loc="outside lower left", ncols=3)
        return _svg(figure, f"{title}, by day")


def counts(pairs: np.ndarray) -> str:
    """Predicted against labeled numbers of objects: [images, 2], labeled and predicted."""
    with mpl.rc_context(_STYLE):
        figure = Figure((4.5, 4), layout="constrained")
        axes = figure.subplots()
        most = max(1, int(pairs.max(initial=0)))
        axes.plot([0, most], [0, most], color=_INK, linewidth=0.8, label="equal")
        # So many images as are kept would make a large file, if each had a point; equal ones share it.
        places, images = np.unique(pairs, axis=0, return_counts=True)
        axes.scatter(
            places[:, 0],
            places[:, 1],
            s=30 * np.sqrt(images),
            color=COLORS[0],
            alpha=0.8,
            linewidths=0,
            label="images",
        )
        axes.set(xlabel="labeled objects", ylabel="predicted objects")
        figure.legend(loc="outside upper left", ncols=2)
        return _svg(figure, "Numbers of objects in each image: predicted against labeled")


def confusion(rows: np.ndarray) -> str:
    """[C, C] shares of each label's pixels by prediction, of more classes than a table has room for."""
    with mpl.rc_context(_STYLE):
        figure = Figure((4.8, 4.8), layout="constrained")
        axes = figure.subplots()
        axes.imshow(rows, cmap="cividis", vmin=0, vmax=1)
        axes.set(xlabel="prediction", ylabel="label")
        axes.spines[:].set_visible(False)
        return _svg(figure, "Confusion matrix: shares of each label's pixels by prediction")


def _svg(figure: Figure, description: str) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue().replace(_INK, "currentColor")
    start = text.index("<svg")
    return f'<figure class="chart" role="img" aria-label="{description}">{text[start:]}</figure>'
