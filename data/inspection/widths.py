"""How wide are the structures in a mask? By the largest square of one class that a pixel lies in."""

from __future__ import annotations

import itertools

import numpy as np

# Pixels; each is less than twice the one before, so that squares of one side make up those of the next.
WIDTHS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 40, 48, 64, 80, 96, 128, 192, 256)
_IDS = 256
# Pixels that are counted at once, as NumPy takes eight bytes and more for each.
_BLOCK = 1 << 20


def count_widths(class_ids: np.ndarray) -> np.ndarray:
    """Counts the pixels of each class by the width of the structure that they are in.

    The width at a pixel is the side of the largest square that contains it and holds no other class: what survives an
    opening by that square (granulometry: Matheron, "Random Sets and Integral Geometry", 1975). All classes are measured
    at once. A line that runs diagonally is about 0.7 times as wide as across its direction. What an image's edge cuts
    off is as narrow as the part that is seen.

    Args:
      class_ids: [height, width] uint8.

    Returns:
      [256, len(WIDTHS)] int64 pixels by class id and width: column i counts widths from WIDTHS[i] to below the next.
    """
    level = np.zeros(class_ids.shape, np.uint8)
    # At each top left corner, whether the square of that side is of one class.
    is_whole = np.ones(class_ids.shape, bool)
    for side, larger in itertools.pairwise(WIDTHS):
        if larger > min(class_ids.shape):
            break
        is_whole = _grown(class_ids, is_whole, side, larger - side)
        if not is_whole.any():
            break
        level += _covered(is_whole, larger)
    counts = np.zeros(_IDS * len(WIDTHS), np.int64)
    rows = max(1, _BLOCK // max(class_ids.shape[1], 1))
    for top in range(0, len(class_ids), rows):
        here = slice(top, top + rows)
        flat = class_ids[here].ravel().astype(np.intp) * len(WIDTHS) + level[here].ravel()
        counts += np.bincount(flat, minlength=counts.size)
    return counts.reshape(_IDS, len(WIDTHS))


def _grown(class_ids: np.ndarray, is_whole: np.ndarray, side: int, by: int) -> np.ndarray:
    """Corners of squares of one class that are larger by `by`: four of the smaller ones in their corners cover them."""
    rows, columns = is_whole.shape
    parts = [is_whole[top : rows - by + top, left : columns - by + left] for top in (0, by) for left in (0, by)]
    grown = parts[0] & parts[1] & parts[2] & parts[3]
    if by >= side:  # They touch without a pixel in common, so their classes have to be compared.
        height, width = grown.shape
        first = class_ids[:height, :width]
        for top, left in ((0, by), (by, 0), (by, by)):
            grown &= first == class_ids[top : top + height, left : left + width]
    return grown


def _covered(corners: np.ndarray, side: int) -> np.ndarray:
    """Pixels that lie in one of the squares with these top left corners, as an image of the mask's size."""
    covered = np.pad(corners, (0, side - 1))
    done = 1
    while done < side:
        step = min(done, side - done)
        covered[step:] |= covered[:-step].copy()
        covered[:, step:] |= covered[:, :-step].copy()
        done += step
    return covered
