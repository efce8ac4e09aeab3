"""Finds values that are no classes but mixtures: what smoothing, resizing and lossy storage leave along edges.

The limits were set on random polygons with 5 to 254 classes, with and without thin lines, on trimaps, land cover and
instances of nuclei: none of these looks smoothed. Of the polygons with 21 classes or more, resized or smoothed, nine in
ten do, and nearly all that were JPEGs.
"""

from __future__ import annotations

import numpy as np

from data.decoding.used_values import UsedValues

# A border class between two others is one such value; interpolation leaves several.
_FEWEST_VALUES = 3
_FEWEST_PIXELS = 16
_SHARE = 0.8
# Of JPEG's blocks with an edge, hardly two pixels beside each other are equal; they differ by little, though.
_FEWEST_NOISY = 8
_NOISY, _FLAT, _SMALL_STEPS = 0.57, 0.1, 0.6


def values_along_edges(pixels: np.ndarray, used: UsedValues) -> list[int]:
    """The values of a mask that occur only along edges between areas of other values.

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
    return _transitions(pixels, used) or (_noise(pixels, used, is_flat) if share >= _NOISY else [])


def _transitions(pixels: np.ndarray, used: UsedValues) -> list[int]:
    """Values that lie between those to the left and right, or above and below, or differ from all four neighbors.

    Where a mask was smoothed, most edges have such pixels, of many values; in a mask of classes, however thin its
    objects are, areas mostly meet without.
    """
    size = int(used.values[-1]) + 1
    inner = pixels[1:-1, 1:-1]
    above, below = pixels[:-2, 1:-1], pixels[2:, 1:-1]
    left, right = pixels[1:-1, :-2], pixels[1:-1, 2:]
    found = (above < inner) & (inner < below) | (above > inner) & (inner > below)
    found |= (left < inner) & (inner < right) | (left > inner) & (inner > right)
    found |= (above != inner) & (inner != below) & (left != inner) & (inner != right)
    within = np.bincount(inner.ravel(), minlength=size)
    transitions = np.bincount(inner[found], minlength=size)
    counts = np.zeros(size, np.int64)
    counts[used.values] = used.counts
    is_edge = (within > 0) & (transitions >= _SHARE * within)
    is_area = (counts > 0) & ~is_edge
    if np.count_nonzero(is_edge) < _FEWEST_VALUES or np.count_nonzero(is_area) < 2:
        return []
    area = is_area[pixels]
    numbers = pixels.astype(np.int32)
    jumps = 0
    for one, other in ((np.s_[:, 1:], np.s_[:, :-1]), (np.s_[1:], np.s_[:-1])):
        jumps += np.count_nonzero(area[one] & area[other] & (np.abs(numbers[one] - numbers[other]) > 1))
    pixels_on_edges = transitions[is_edge].sum()
    if pixels_on_edges < max(jumps, _FEWEST_PIXELS) or counts[is_area].sum() < counts.sum() / 2:
        return []
    return np.flatnonzero(is_edge).tolist()


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
    numbers = pixels.astype(np.int32)
    steps = np.concatenate([np.abs(np.diff(numbers, axis=axis)).ravel() for axis in (0, 1)])
    steps = steps[steps > 0]
    if (steps <= max(2, (used.values[-1] - used.values[0]) / 8)).mean() < _SMALL_STEPS:
        return []
    flat = np.bincount(pixels[is_flat], minlength=int(used.values[-1]) + 1)[used.values]
    return used.values[flat < (1 - _SHARE) * used.counts].tolist()
