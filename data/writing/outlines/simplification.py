"""Simplifies the outlines of regions so that neighbors keep one border: neither gaps nor overlaps arise between them.

Outlines are cut into arcs where three regions meet. An arc that two regions share is simplified once, by Douglas and
Peucker's rule (https://doi.org/10.3138/FM57-6770-U75U-7727), so that no point of it moves by more than the tolerance.
(`shapely.coverage_simplify` also keeps neighbors together, but it bounds areas and not distances.) Where that would tie
a region into a knot or leave less than half of it, a smaller tolerance is taken for the arcs around it.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import shapely

# What is tried one after the other, as shares of the tolerance.
_SHARES = (1, 0.5, 0.25, 0)
# What must be left of a region.
_LEAST_AREA = 0.5


@dataclasses.dataclass(frozen=True)
class _Arcs:
    """Parts of outlines between two nodes, or whole outlines where there are none.

    Attributes:
      lines: each arc once.
      used: [uses] which arc comes next, outline by outline.
      is_reversed: [uses] whether it is followed from its end to its start.
      ring: [uses] the outline that it belongs to.
    """

    lines: np.ndarray
    used: np.ndarray
    is_reversed: np.ndarray
    ring: np.ndarray


def simplify(class_ids: np.ndarray, rings: list[np.ndarray], polygon: np.ndarray, tolerance: float) -> np.ndarray:
    """Polygons with fewer corners.

    Args:
      class_ids: the mask, [height, width].
      rings: outlines along the edges of its pixels, each [corners, 2] x and y, without the first corner again.
      polygon: [rings] the polygon that each belongs to, in rising order; the first of each goes around the others.
      tolerance: how far an outline may move, in pixels.

    Returns:
      [polygons] shapely polygons.
    """
    arcs = _cut(class_ids, rings)
    rings_of_arcs = polygon[arcs.ring]
    exact = _polygons(np.concatenate(rings), np.repeat(np.arange(len(rings)), [len(ring) for ring in rings]), polygon)
    least = shapely.area(exact) * _LEAST_AREA
    tried = np.zeros(len(arcs.lines), int)
    simplified = arcs.lines.copy()
    changed = np.ones(len(tried), bool)
    while changed.any():
        tolerances = np.array(_SHARES)[tried[changed]] * tolerance
        simplified[changed] = shapely.simplify(arcs.lines[changed], tolerances, preserve_topology=False)
        corners, ring = _joined(arcs, simplified)
        is_whole = np.ones(len(exact), bool)
        is_whole[polygon[np.bincount(ring, minlength=len(rings)) < 3]] = False
        kept = is_whole[polygon[ring]]
        found = exact.copy()
        found[is_whole] = _polygons(corners[kept], ring[kept], polygon)
        is_good = is_whole & shapely.is_valid(found) & (shapely.area(found) >= least)
        changed = np.zeros(len(tried), bool)
        changed[arcs.used[~is_good[rings_of_arcs]]] = True
        changed &= tried < len(_SHARES) - 1
        tried[changed] += 1
    return found


def _nodes(class_ids: np.ndarray) -> np.ndarray:
    """Where outlines are cut: corners of pixels at which three or more regions meet, and those of the image.

    Returns:
      [height + 1, width + 1] bool.
    """
    padded = np.pad(class_ids.astype(np.int32), 1, constant_values=-1)
    down, right = padded[1:] != padded[:-1], padded[:, 1:] != padded[:, :-1]
    edges = down[:, :-1].astype(np.uint8) + down[:, 1:] + right[:-1] + right[1:]
    nodes: np.ndarray = edges > 2
    nodes[[0, 0, -1, -1], [0, -1, 0, -1]] = True
    return nodes


def _cut(class_ids: np.ndarray, rings: list[np.ndarray]) -> _Arcs:
    nodes = _nodes(class_ids)
    corners, ring = _with_nodes(rings, nodes)
    codes = corners[:, 1] * np.int64(nodes.shape[1]) + corners[:, 0]
    is_node = nodes[corners[:, 1], corners[:, 0]]
    order = _from_a_node(np.where(is_node, -1, codes), ring)
    corners, codes, is_node = corners[order], codes[order], is_node[order]
    # The first corner of an outline begins an arc even where it is no node.
    is_first = np.concatenate([[True], ring[1:] != ring[:-1]])
    begins = is_node | is_first
    starts = np.flatnonzero(begins)
    of_ring = ring[starts]
    # An arc ends where the next one begins, the last one of an outline where the first does.
    is_last = np.concatenate([of_ring[1:] != of_ring[:-1], [True]])
    ends = np.where(is_last, np.flatnonzero(is_first)[of_ring], np.concatenate([starts[1:], [0]]))
    counts = np.diff(np.concatenate([starts, [len(ring)]]))
    place = np.arange(len(ring)) + np.cumsum(begins) - 1
    line_starts = starts + np.arange(len(starts))
    line_ends = line_starts + counts
    flat = np.empty(len(ring) + len(starts), np.int64)
    flat[place], flat[line_ends] = np.arange(len(ring)), ends
    # Whoever follows it from the other side finds the same arc by its start and the corner after that.
    first, second = codes[flat[line_starts]], codes[flat[line_starts + 1]]
    before_last, last = codes[flat[line_ends - 1]], codes[flat[line_ends]]
    is_reversed = (last < first) | ((last == first) & (before_last < second))
    keys = np.where(is_reversed, last, first) * np.int64(nodes.size) + np.where(is_reversed, before_last, second)
    _, chosen, used = np.unique(keys, return_index=True, return_inverse=True)
    lengths = counts[chosen] + 1
    along = _counted(lengths)
    begin, step = np.where(is_reversed[chosen], line_ends[chosen], line_starts[chosen]), 1 - 2 * is_reversed[chosen]
    picked = flat[np.repeat(begin, lengths) + along * np.repeat(step, lengths)]
    lines = shapely.linestrings(corners[picked].astype(float), indices=np.repeat(np.arange(len(chosen)), lengths))
    return _Arcs(lines, used.ravel(), is_reversed, of_ring)


def _with_nodes(rings: list[np.ndarray], nodes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The corners of outlines, and the nodes on the straight lines between them, with the outline of each."""
    corners = np.concatenate(rings)
    following = np.concatenate([np.roll(ring, -1, axis=0) for ring in rings])
    ring = np.repeat(np.arange(len(rings)), [len(one) for one in rings])
    way = following - corners
    lengths = np.abs(way).sum(1)
    along = _counted(lengths)
    points = np.repeat(corners, lengths, axis=0) + np.repeat(np.sign(way), lengths, axis=0) * along[:, None]
    kept = (along == 0) | nodes[points[:, 1], points[:, 0]]
    return points[kept], np.repeat(ring, lengths)[kept]


def _from_a_node(keys: np.ndarray, ring: np.ndarray) -> np.ndarray:
    """The order in which each outline begins at its first corner with the lowest key."""
    starts = np.flatnonzero(np.concatenate([[True], ring[1:] != ring[:-1]]))
    counts = np.diff(np.concatenate([starts, [len(ring)]]))
    lowest = np.repeat(np.minimum.reduceat(keys, starts), counts)
    candidates = np.flatnonzero(keys == lowest)
    _, first = np.unique(ring[candidates], return_index=True)
    turned = np.repeat(candidates[first] - starts, counts) + _counted(counts)
    return np.repeat(starts, counts) + turned % np.repeat(counts, counts)


def _joined(arcs: _Arcs, lines: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Corners of the outlines that arcs make up, with the outline of each."""
    corners = shapely.get_coordinates(lines)
    counts = shapely.get_num_coordinates(lines)
    starts = np.cumsum(counts) - counts
    # The last corner is the first of the next arc.
    lengths = counts[arcs.used] - 1
    begin = starts[arcs.used] + np.where(arcs.is_reversed, lengths, 0)
    step = 1 - 2 * arcs.is_reversed
    picked = np.repeat(begin, lengths) + _counted(lengths) * np.repeat(step, lengths)
    return corners[picked], np.repeat(arcs.ring, lengths)


def _polygons(corners: np.ndarray, ring: np.ndarray, polygon: np.ndarray) -> np.ndarray:
    """Polygons of outlines; `ring` may leave out numbers, but for no polygon all and for none a part."""
    present, number = np.unique(ring, return_inverse=True)
    outlines = shapely.linearrings(corners.astype(float), indices=number.ravel())
    _, owner = np.unique(polygon[present], return_inverse=True)
    return np.atleast_1d(shapely.polygons(outlines, indices=owner.ravel()))


def _counted(lengths: np.ndarray) -> np.ndarray:
    """0, 1, … for each length, one after the other."""
    return np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
