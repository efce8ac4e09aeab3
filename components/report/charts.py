"""Charts as SVG. Text and lines take their color from the page, light or dark."""

from __future__ import annotations

import io
from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

# Stands for the page's text color.
_INK = "#010203"
# From Okabe and Ito's palette, which color-blind people can tell apart; all stand out on white and on black.
_COLORS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7")
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


def learning_curves(curves: dict[str, dict[str, list[tuple[int, float]]]], unit: str = "epoch") -> str:
    """Loss and mean IoU by epoch, or by evaluation.

    Args:
      curves: by split (`train`, `validation`) and name (`loss`, `mean_iou`): epochs, counted from 0, and values.
      unit: what is counted.
    """
    with mpl.rc_context(_STYLE):
        figure = Figure((9, 3), layout="constrained")
        for axes, name in zip(figure.subplots(1, 2), ("loss", "mean_iou"), strict=True):
            for color, (split, of_split) in zip(_COLORS, curves.items(), strict=False):
                points = of_split.get(name, [])
                label = {"validation": "eval"}.get(split, split)
                axes.plot([index + 1 for index, _ in points], [value for _, value in points], color=color, label=label)
            axes.set(xlabel=unit, ylabel=name.replace("mean_iou", "mean IoU"))
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.legend()
        return _svg(figure, f"Learning curves: loss and mean IoU by {unit}")


def shares(names: Sequence[str], of_splits: dict[str, Sequence[float]], description: str) -> str:
    """Bars of shares, 0 to 1, side by side for each name."""
    with mpl.rc_context(_STYLE):
        figure = Figure((9, max(2.0, 0.35 * len(names) * len(of_splits) / 2 + 1)), layout="constrained")
        axes = figure.subplots()
        thickness = 0.8 / len(of_splits)
        for index, (color, (split, values)) in enumerate(zip(_COLORS, of_splits.items(), strict=False)):
            positions = np.arange(len(names)) + (index - (len(of_splits) - 1) / 2) * thickness
            axes.barh(positions, [100 * value for value in values], thickness, color=color, label=split)
        axes.set_yticks(np.arange(len(names)), names)
        axes.invert_yaxis()
        axes.set_xlabel("%")
        axes.legend()
        return _svg(figure, description)


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
            s=16 * np.sqrt(images),
            color=_COLORS[0],
            alpha=0.6,
            linewidths=0,
            label="images",
        )
        axes.set(xlabel="labeled objects", ylabel="predicted objects")
        axes.legend()
        return _svg(figure, "Numbers of objects in each image: predicted against labeled")


def confusion(matrix: np.ndarray, names: Sequence[str]) -> str:
    """Shares of each label's pixels by prediction, [C, C] counts by label and prediction."""
    with mpl.rc_context(_STYLE):
        rows = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
        side = max(3.5, min(9.0, 0.7 * len(names) + 1.5))
        figure = Figure((side, side), layout="constrained")
        axes = figure.subplots()
        axes.imshow(rows, cmap="cividis", vmin=0, vmax=1)
        if len(names) <= 25:
            axes.set_xticks(range(len(names)), names, rotation=90)
            axes.set_yticks(range(len(names)), names)
        if len(names) <= 12:
            _write_shares(axes, rows)
        axes.set(xlabel="prediction", ylabel="label")
        axes.spines[:].set_visible(False)
        return _svg(figure, "Confusion matrix: shares of each label's pixels by prediction")


def _write_shares(axes: Axes, rows: np.ndarray) -> None:
    for (row, column), value in np.ndenumerate(rows):
        color = to_hex("black" if value > 0.5 else "white")
        axes.text(column, row, f"{100 * value:.1f}", ha="center", va="center", color=color, fontsize=8)


def _svg(figure: Figure, description: str) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue().replace(_INK, "currentColor")
    start = text.index("<svg")
    return f'<figure class="chart" role="img" aria-label="{description}">{text[start:]}</figure>'
