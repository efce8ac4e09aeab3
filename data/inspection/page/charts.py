"""Charts as SVG. Lines and text take their color from the page, light or dark."""

from __future__ import annotations

import collections
import math
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup, escape

# Those of channels stand out on white and on black.
_CHANNELS = {"red": "#d1495b", "green": "#3a9d5d", "blue": "#3b82c4"}
_BINS = 64
_MOST_POINTS = 400


def histogram(channels: dict[str, np.ndarray]) -> Markup:
    """Lines of how often each value occurs, [256] counts by channel."""
    width, height = 420, 110
    binned = {name: counts.reshape(_BINS, -1).sum(axis=1) / counts.sum() for name, counts in channels.items()}
    most = max(float(shares.max()) for shares in binned.values())
    step = width / _BINS
    lines = []
    for name, shares in binned.items():
        heights = [height - float(share) / most * (height - 4) for share in shares]
        points = " ".join(
            f"{index * step:.1f},{y:.1f} {(index + 1) * step:.1f},{y:.1f}" for index, y in enumerate(heights)
        )
        lines.append(
            f'<polyline fill="none" stroke="{_CHANNELS.get(name, "currentColor")}" stroke-width="1.5" '
            f'points="{points}"><title>{escape(name)}</title></polyline>'
        )
    description = f"How often each value occurs: {', '.join(channels)}"
    return _svg(width, height + 18, description, "".join(lines) + _axis(width, height, "0", "255"))


def sizes(counted: collections.Counter[tuple[int, int]]) -> Markup:
    """A point for each size of images, by width and height in pixels, larger where there are more."""
    side = 260
    most = max(max(size) for size in counted)
    points = counted
    if len(points) > _MOST_POINTS:
        # Of nearly the same size.
        grid = most / 50
        points = collections.Counter()
        for (width, height), number in counted.items():
            points[round((round(width / grid) or 1) * grid), round((round(height / grid) or 1) * grid)] += number
    largest = max(points.values())
    circles = "".join(
        f'<circle cx="{width / most * (side - 20):.1f}" cy="{side - height / most * (side - 20):.1f}" '
        f'r="{2 + 10 * math.sqrt(number / largest):.1f}" fill="currentColor" fill-opacity="0.35">'
        f"<title>{width}×{height}: {number:,}</title></circle>"
        for (width, height), number in sorted(points.items(), key=lambda item: -item[1])
    )
    upright = '<path d="M0.5 0V260" stroke="currentColor" stroke-opacity="0.4"/>'
    label = f'<text x="6" y="12" font-size="12" fill="currentColor">height, to {most}</text>'
    return _svg(
        side,
        side + 18,
        f"Sizes of images by width and height, up to {most} pixels",
        f"{upright}{label}{circles}{_axis(side, side, '0', f'width, to {most} pixels')}",
    )


def objects(counts: np.ndarray, name: str) -> Markup:
    """Bars of how many regions have 1, 2 to 3, 4 to 7 … pixels, up to the largest that occur."""
    width, height, bars = 8, 28, np.flatnonzero(counts)
    length = int(bars[-1]) + 1 if len(bars) else 1
    shapes = "".join(
        f'<rect x="{index * width}" y="{height - height * counts[index] / counts.max():.1f}" width="{width - 1}" '
        f'height="{height * counts[index] / counts.max():.1f}" fill="currentColor" fill-opacity="0.6">'
        f"<title>{range_of(index)} pixels: {counts[index]:,}</title></rect>"
        for index in map(int, bars)
    )
    return _svg(length * width, height, f"Sizes of the objects of {name}", shapes)


def range_of(power: int) -> str:
    """The pixels from a power of two to the next."""
    return "1" if power == 0 else f"{2**power:,} to {2 ** (power + 1) - 1:,}"


def median_of(counts: Sequence[int] | np.ndarray) -> str:
    """Between which powers of two the median lies; a dash if there is nothing."""
    total = np.cumsum(counts)
    return range_of(int(np.searchsorted(total, total[-1] / 2))) if total[-1] else "–"


def _axis(width: int, height: int, left: str, right: str) -> str:
    return (
        f'<path d="M0 {height - 0.5}H{width}" stroke="currentColor" stroke-opacity="0.4"/>'
        f'<text y="{height + 14}" font-size="12" fill="currentColor">{left}</text>'
        f'<text x="{width}" y="{height + 14}" font-size="12" fill="currentColor" text-anchor="end">{right}</text>'
    )


def _svg(width: int, height: int, description: str, content: str) -> Markup:
    return Markup(
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{escape(description)}" width="{width}" '
        f'height="{height}" viewBox="0 0 {width} {height}">{content}</svg>'
    )
