"""Where windows lie in a scene: a grid that begins at its first pixel, whose last row and column are shifted inside."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator

from data.base.files import exists, join, read_bytes
from data.contract import REPORT_FILE

# The key of the report of a conversion.
REPORT_KEY = "scenes"
# Of strips: the smallest windows, the parts of a window by which the next one is moved, the usual share of eval and of
# test, and what both may have.
_SMALLEST, _STEPS, _USUAL, _MOST_HELD_OUT = 16, (1, 2, 4), 0.15, 0.5


@dataclasses.dataclass(frozen=True)
class Window:
    """A part of a scene, in pixels.

    Attributes:
      row: of its first pixel.
      column: likewise.
      height: of the window.
      width: likewise.
    """

    row: int
    column: int
    height: int
    width: int

    @property
    def name(self) -> str:
        """What is put after the name of the scene, such as `r00256_c00000`."""
        return f"r{self.row:05d}_c{self.column:05d}"

    @property
    def slices(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """First and last row, first and last column, the last ones exclusive, as rasterio takes them."""
        return (self.row, self.row + self.height), (self.column, self.column + self.width)


def positions(length: int, window: int, overlap: int) -> list[int]:
    """Where windows begin along an axis; the last one ends with the axis, and a short axis has one.

    Args:
      length: of the axis.
      window: length of the windows.
      overlap: how much of a window the next one covers too, fewer than `window`.
    """
    if length <= window:
        return [0]
    starts = list(range(0, length - window + 1, window - overlap))
    return starts if starts[-1] == length - window else [*starts, length - window]


def windows(height: int, width: int, window: int, overlap: int) -> Iterator[Window]:
    """All windows of a scene, row by row; a scene that is smaller than a window is one."""
    for row in positions(height, window, overlap):
        for column in positions(width, window, overlap):
            yield Window(row, column, min(window, height), min(window, width))


def strips(length: int, window: int) -> tuple[int, int, dict[str, float]] | None:
    """How ground is cut into a strip for each split, of which train has half at least.

    Windows stay as large as they can: rather than become smaller, they overlap, and the gap between splits becomes the
    part of a window that is not overlapped.

    Args:
      length: of the ground, across the strips, in pixels.
      window: the largest length of windows.

    Returns:
      Windows, how much of one the next one covers too, which leaves the gap, and the shares of the splits; None if the
      ground is too small.
    """
    sizes = [window >> power for power in range(8) if window >> power >= _SMALLEST]
    for size, step in ((size, size // parts) for size in sizes for parts in _STEPS):
        # A window lies in a strip wherever the grid begins, and in eval a gap is left to test.
        needed = {"eval": size + 2 * step, "test": size + step}
        shares = {split: max(_USUAL, math.ceil(100 * part / length) / 100) for split, part in needed.items()}
        if sum(shares.values()) <= _MOST_HELD_OUT:
            return size, size - step, {"train": round(1 - sum(shares.values()), 2), **shares}
    return None


def window_of(folder: str) -> int | None:
    """Pixels of the windows into which a conversion cut scenes, in each direction; None if it was not one of scenes."""
    path = join(folder, REPORT_FILE)
    report = json.loads(read_bytes(path)) if exists(path) else {}
    return report.get(REPORT_KEY, {}).get("window")
