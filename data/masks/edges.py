"""Finds values that are no classes but mixtures: what smoothing, resizing and lossy storage leave along edges.

The limits were set on random polygons with 5 to 254 classes, with and without thin lines, on ordered bands such as
those of a height map, on trimaps, land cover and instances of nuclei: none of these looks smoothed. Of the polygons
with 6 classes or more that were resized, smoothed or JPEGs, nearly all do; with fewer classes, only some can be told.
"""

from __future__ import annotations

import numpy as np

from data.masks.used_values import UsedValues

# Numbers nearer to each other may have too few between them.
_FEWEST_APART = 3
# A border class between two others is one such value; interpolation leaves several.
_FEWEST_VALUES = 3
_FEWEST_EDGES = 16
_SHARE, _SHARE_OF_ALL = 0.6, 0.04
# A wide blur has long ones, with large steps.
_LONGEST, _LONG, _LARGE_STEP = 6, 3, 16
# Of JPEG's blocks with an edge, hardly two pixels beside each other are equal; they differ by little, though. In a
# gradient, all differ by little.
_FEWEST_NOISY, _FEWEST_STEPS = 8, 1000
_NOISY, _FLAT, _SMALL_STEPS, _LARGE_STEPS = 0.57, 0.1, 0.6, 0.02
_RARELY_FLAT, _NEARLY_ALL = 0.2, 0.8


def values_along_edges(pixels: np.ndarray, used: UsedValues) -> list[int]:
    """The values that a mask has along edges, between those of the areas there, if it was smoothed or compressed.

    Args:
      pixels: [height, width] whole numbers.
      used: their values.

    Returns:
      The values in order; empty if the mask does not look smoothed or compressed.
    """
    if len(used.values) < _FEWEST_VALUES + 2 or min(pixels.shape) < 3:  # A value on each side, too.
        return []
    if used.values[0] < 0 or used.values[-1] > 65535:
        return []
    pixels = pixels.astype(np.uint8 if used.values[-1] < 256 else np.int32, copy=False)
    is_flat, share = _flatness(pixels)
    if found := _transitions(pixels):
        return found
    if not _has_large_steps(pixels, used):
        return []
    return _only_between(pixels, used) or (_noise(pixels, used, is_flat) if share >= _NOISY else [])


def _transitions(pixels: np.ndarray) -> list[int]:
    """The values of the pixels that lie, in number and in place, between those of two areas.

    Where a mask was smoothed, most edges between areas of numbers far apart have such pixels, and the same two areas
    have them of several values. In a mask of classes, areas mostly meet without. In ordered bands, each step is small.
    """
    direct, mixed, edges = 0, 0, 0
    found = [np.zeros((0, 3), np.int32)]
    for lines in (pixels, pixels.T):
        if lines.shape[1] < _LONGEST + 4:
            continue
        last = lines.shape[1] - _LONGEST - 2
        # Two equal pixels, and then another: the edge of an area.
        row, column = np.nonzero(
            (lines[:, : last - 1] == lines[:, 1:last]) & (lines[:, 1:last] != lines[:, 2 : last + 1])
        )
        edges += len(row)
        along = np.stack([lines[row, column + step] for step in range(1, _LONGEST + 4)], axis=-1).astype(np.int32)
        is_open = np.ones(len(row), bool)
        for between in range(_LONGEST + 1):
            first, second = along[:, 0], along[:, between + 1]
            is_area = is_open & (along[:, between + 2] == second)
            is_open &= ~is_area
            is_far = is_area & (np.abs(first - second) >= _least_apart(between))
            if between == 0:
                direct += np.count_nonzero(is_far)
                continue
            middle = along[:, 1 : between + 1]
            low, high = np.minimum(first, second)[:, np.newaxis], np.maximum(first, second)[:, np.newaxis]
            is_far &= ((low < middle) & (middle < high)).all(axis=1)
            mixed += np.count_nonzero(is_far)
            found += [np.stack([first, second, value], axis=-1)[is_far] for value in middle.T]
    if mixed < max(_FEWEST_EDGES, _SHARE * (direct + mixed), _SHARE_OF_ALL * edges):
        return []
    kinds = np.unique(np.concatenate(found), axis=0)
    values = np.unique(kinds[:, 2])
    is_one_each = len(np.unique(kinds[:, :2], axis=0)) == len(kinds)
    return [] if is_one_each or len(values) < _FEWEST_VALUES else values.tolist()


def _only_between(pixels: np.ndarray, used: UsedValues) -> list[int]:
    """Values nearly all of whose pixels lie between those to the left and right, or above and below.

    Interpolation by cubic functions overshoots, so areas are not flat up to their edges.
    """
    size = int(used.values[-1]) + 1
    inner = pixels[1:-1, 1:-1]
    above, below = pixels[:-2, 1:-1], pixels[2:, 1:-1]
    left, right = pixels[1:-1, :-2], pixels[1:-1, 2:]
    found = (above < inner) & (inner < below) | (above > inner) & (inner > below)
    found |= (left < inner) & (inner < right) | (left > inner) & (inner > right)
    within = np.bincount(inner.ravel(), minlength=size)
    between = np.bincount(inner[found], minlength=size)
    counts = np.zeros(size, np.int64)
    counts[used.values] = used.counts
    is_edge = (within > 0) & (between >= _NEARLY_ALL * within)
    is_area = (counts > 0) & ~is_edge
    if np.count_nonzero(is_edge) < _FEWEST_VALUES or np.count_nonzero(is_area) < 2:
        return []
    area = is_area[pixels]
    numbers = pixels.astype(np.int32)
    jumps = 0
    for one, other in ((np.s_[:, 1:], np.s_[:, :-1]), (np.s_[1:], np.s_[:-1])):
        jumps += np.count_nonzero(area[one] & area[other] & (np.abs(numbers[one] - numbers[other]) > 1))
    if between[is_edge].sum() < max(jumps, _FEWEST_EDGES) or counts[is_area].sum() < counts.sum() / 2:
        return []
    return np.flatnonzero(is_edge).tolist()


def _has_large_steps(pixels: np.ndarray, used: UsedValues) -> bool:
    """Whether values often change by much at once, which they do not in a gradient."""
    steps = _steps(pixels)
    return bool((steps > _small_step(used)).mean() >= _LARGE_STEPS) if len(steps) else False


def _steps(pixels: np.ndarray) -> np.ndarray:
    numbers = pixels.astype(np.int32)
    steps = np.concatenate([np.abs(np.diff(numbers, axis=axis)).ravel() for axis in (0, 1)])
    return steps[steps > 0]


def _small_step(used: UsedValues) -> float:
    return max(2.0, (used.values[-1] - used.values[0]) / 8)


def _least_apart(between: int) -> int:
    """By how much two areas must differ if this number of pixels between them is to be no band of their order."""
    return _LARGE_STEP * (between + 1) if between >= _LONG else max(_FEWEST_APART, between + 2)


def _flatness(pixels: np.ndarray) -> tuple[np.ndarray, float]:
    """Which pixels equal all four neighbors; and in how many places where the value changes, it changes again next."""
    across, down = pixels[:, 1:] != pixels[:, :-1], pixels[1:] != pixels[:-1]
    again = np.count_nonzero(across[:, 1:] & across[:, :-1]) + np.count_nonzero(down[1:] & down[:-1])
    is_flat = np.ones(pixels.shape, bool)
    is_flat[:, 1:] &= ~across
    is_flat[:, :-1] &= ~across
    is_flat[1:] &= ~down
    is_flat[:-1] &= ~down
    return is_flat, again / max(np.count_nonzero(across) + np.count_nonzero(down), 1)


def _noise(pixels: np.ndarray, used: UsedValues, is_flat: np.ndarray) -> list[int]:
    """Values that occur only in noise around flat areas."""
    if len(used.values) < _FEWEST_NOISY or is_flat.mean() < _FLAT:
        return []
    steps = _steps(pixels)
    if len(steps) < _FEWEST_STEPS or (steps <= _small_step(used)).mean() < _SMALL_STEPS:
        return []
    flat = np.bincount(pixels[is_flat], minlength=int(used.values[-1]) + 1)[used.values]
    return used.values[flat < _RARELY_FLAT * used.counts].tolist()
