"""A polygon with holes as one outline."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import shapely


def one_ring(polygon: shapely.Polygon) -> np.ndarray:
    """The outline with its holes, each joined to what lies to its left by a level cut that is followed twice.

    Args:
      polygon: a valid polygon whose holes go around the other way than its outline.

    Returns:
      [corners, 2] x and y, without the first corner again.
    """
    outline = shapely.get_coordinates(polygon.exterior)[:-1]
    if not polygon.interiors:
        return outline
    holes = [_from_its_left(shapely.get_coordinates(ring)[:-1]) for ring in polygon.interiors]
    # From left to right: what a cut meets is in the outline already.
    holes.sort(key=lambda hole: (hole[0, 0], hole[0, 1]))
    rings = [outline, *holes]
    starts = np.concatenate(rings)
    ends = np.concatenate([np.roll(ring, -1, axis=0) for ring in rings])
    owners = np.repeat(np.arange(len(rings)), [len(ring) for ring in rings])
    first = np.searchsorted(owners, np.arange(len(rings)))
    joints: dict[int, list[tuple[float, np.ndarray, int]]] = {}
    for number, hole in enumerate(holes, start=1):
        edge, point = _left_of(hole[0], starts[: first[number]], ends[: first[number]])
        along = float(np.abs(point - starts[edge]).sum())
        joints.setdefault(edge, []).append((along, point, number))
    for found in joints.values():
        found.sort(key=lambda joint: joint[0])
    return _followed(rings, first, joints)


def _from_its_left(ring: np.ndarray) -> np.ndarray:
    """The same outline, from the topmost of its leftmost corners on."""
    return np.roll(ring, -int(np.lexsort((ring[:, 1], ring[:, 0]))[0]), axis=0)


def _left_of(point: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> tuple[int, np.ndarray]:
    """The first edge to the left of a point, or through it, and where it is met."""
    x, y = point
    crossing = np.flatnonzero((starts[:, 1] <= y) != (ends[:, 1] <= y))
    start, end = starts[crossing], ends[crossing]
    met = start[:, 0] + (y - start[:, 1]) / (end[:, 1] - start[:, 1]) * (end[:, 0] - start[:, 0])
    met[met > x] = -np.inf
    nearest = int(met.argmax())
    return int(crossing[nearest]), np.array([met[nearest], y])


def _followed(
    rings: list[np.ndarray], first: np.ndarray, joints: dict[int, list[tuple[float, np.ndarray, int]]]
) -> np.ndarray:
    """Corners in the order in which all outlines are followed, each hole from where its cut begins and back there."""

    def steps(number: int) -> Iterator[np.ndarray | int]:
        """Corners of an outline, and the numbers of those to follow in between."""
        ring, done = rings[number], 0
        for edge in range(len(ring)):
            if here := joints.get(int(first[number]) + edge):
                yield ring[done : edge + 1]
                done = edge + 1
                for _, point, hole in here:
                    yield from (point[None], hole, point[None])
        yield ring[done:]
        if number:
            yield ring[:1]

    parts: list[np.ndarray] = []
    followed = [steps(0)]
    while followed:
        step = next(followed[-1], None)
        if step is None:
            followed.pop()
        elif isinstance(step, int):
            followed.append(steps(step))
        else:
            parts.append(step)
    corners = np.concatenate(parts)
    return corners[(corners != np.roll(corners, 1, axis=0)).any(1)]
