"""Finds values that are no classes but mixtures: what smoothing, resizing and lossy storage leave along edges."""

from __future__ import annotations

import numpy as np

from data.decoding.used_values import UsedValues

# A border class between two others is one such value; interpolation leaves several.
_FEWEST = 3
_SHARE = 0.8
# Fewer pixels prove nothing.
_FEWEST_PIXELS = 16


def values_along_edges(pixels: np.ndarray, used: UsedValues) -> list[int]:
    """The values of a mask that occur only as transitions between areas of other values.

    A pixel is part of a transition if its value lies between those to its left and right, or above and below it, or
    differs from all four neighbors. Where a mask was smoothed or compressed, most edges have such pixels, of many
    values; in a mask of classes, however thin its objects are, areas mostly meet without.

    Args:
      pixels: [height, width] whole numbers.
      used: their values.

    Returns:
      The values in order; empty if the mask does not look smoothed.
    """
    if len(used.values) < _FEWEST + 2 or min(pixels.shape) < 3:  # A value on each side, too.
        return []
    if used.values[0] < 0 or used.values[-1] > 65535:
        return []
    counts = np.zeros(used.values[-1] + 1, np.int64)
    counts[used.values] = used.counts
    inner = pixels[1:-1, 1:-1]
    above, below = pixels[:-2, 1:-1], pixels[2:, 1:-1]
    left, right = pixels[1:-1, :-2], pixels[1:-1, 2:]
    is_transition = (above < inner) & (inner < below) | (above > inner) & (inner > below)
    is_transition |= (left < inner) & (inner < right) | (left > inner) & (inner > right)
    is_transition |= (above != inner) & (inner != below) & (left != inner) & (inner != right)
    within = np.bincount(inner.ravel(), minlength=len(counts))
    transitions = np.bincount(inner[is_transition], minlength=len(counts))
    is_edge = (within > 0) & (transitions >= _SHARE * within)
    is_area = (counts > 0) & ~is_edge
    if np.count_nonzero(is_edge) < _FEWEST or np.count_nonzero(is_area) < 2:
        return []
    area = is_area[pixels]
    numbers = pixels.astype(np.int32)
    jumps = 0
    for one, other in ((np.s_[:, 1:], np.s_[:, :-1]), (np.s_[1:], np.s_[:-1])):
        jumps += np.count_nonzero(area[one] & area[other] & (np.abs(numbers[one] - numbers[other]) > 1))
    found = transitions[is_edge].sum()
    if found < max(jumps, _FEWEST_PIXELS) or counts[is_area].sum() < counts.sum() / 2:
        return []
    return np.flatnonzero(is_edge).tolist()
