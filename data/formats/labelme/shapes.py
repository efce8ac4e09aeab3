"""What labelme's shapes are.

labelme shows points where they are between pixels, the first of which covers 0 to 1, and so they are taken here. Its
own export draws them with Pillow instead, which counts from the centers of pixels and adds the outline.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

from data.annotations.shapes import Bitmap, Polygon, Shape, check_units, ellipse, rectangle
from data.decoding.errors import BadImageError
from data.decoding.images import decode
from data.formats.labelme.files import LabelmeShape, from_base64

_FARTHEST = 1e6
_CORNERS = ("oriented_rectangle", "rotation", "quadrilateral")  # All but the first are X-AnyLabeling's.
_STROKES = ("line", "linestrip", "point", "points")
# By which the size of a mask and the distance of its corners may differ: old versions of labelme count a row and a
# column more. Corners between pixels, where those of a moved mask are, are each rounded in addition.
_MASK_TOLERANCE = 1

Points = Sequence[tuple[float, float]]


def shape_of(item: LabelmeShape, line_width: float | None, max_pixels: int) -> Shape:
    """Where a shape is.

    Args:
      item: the shape.
      line_width: the width in pixels in which lines and points are drawn; None if they cannot be.
      max_pixels: of a mask.

    Raises:
      BadImageError: if it has no area, or is not what it says it is.
    """
    points, kind = item.points, item.shape_type or "polygon"
    if any(abs(value) > _FARTHEST for point in points for value in point):
        raise BadImageError("it has coordinates of more than a million pixels")
    if kind == "polygon" or (kind == "rectangle" and len(points) == 4):  # X-AnyLabeling's have all corners.
        return _polygon(points)
    if kind in _CORNERS:
        _check_count(kind, points, 4)
        return _polygon(points)
    if kind == "rectangle":
        (left, top), (right, bottom) = _check_count(kind, points, 2)
        box = rectangle(left, top, right, bottom)
        check_units(box.rings, "labelme's")
        return box
    if kind == "circle":
        (x, y), (rim_x, rim_y) = _check_count(kind, points, 2)
        radius = math.hypot(rim_x - x, rim_y - y)
        return ellipse(x, y, radius, radius)
    if kind == "mask":
        return _bitmap(item, max_pixels)
    if kind in _STROKES:
        if line_width is None:
            raise BadImageError(
                f"a {kind} has no area; outline what it means, or let --line-width 10 draw lines and points as wide as "
                "labelme's own export does"
            )
        return _stroke(points, line_width)
    raise BadImageError(f"there is no shape_type {kind[:40]}")


def _check_count(kind: str, points: Points, count: int) -> Points:
    if len(points) != count:
        raise BadImageError(f"a {kind} of {len(points)} points; it should have {count}")
    return points


def _polygon(points: Points) -> Polygon:
    ring = list(itertools.chain.from_iterable(points))
    check_units([ring], "labelme's")
    return Polygon([ring])


def _bitmap(item: LabelmeShape, max_pixels: int) -> Bitmap:
    corners = _check_count("mask", item.points, 2)
    if not item.mask:
        raise BadImageError("a mask without pixels")
    try:
        pixels = np.array(decode(from_base64(item.mask, "it"), max_pixels))
    except BadImageError as error:
        raise BadImageError(f"its mask: {error}") from None
    if pixels.ndim != 2:
        raise BadImageError(f"its mask has {pixels.shape[2]} channels, and should have one")
    (left, top), (right, bottom) = [(round(x), round(y)) for x, y in corners]
    height, width = bottom - top + 1, right - left + 1
    is_whole = all(value.is_integer() for corner in corners for value in corner)
    tolerance = _MASK_TOLERANCE + (not is_whole)
    if max(abs(height - pixels.shape[0]), abs(width - pixels.shape[1])) > tolerance:
        raise BadImageError(
            f"its mask has {pixels.shape[1]}x{pixels.shape[0]} pixels, and its corners are {width}x{height} apart"
        )
    if is_whole:
        pixels = pixels[:height, :width]
    return Bitmap(pixels.astype(bool), left, top)


def _stroke(points: Points, width: float) -> Polygon:
    """A line of some width, rounded where it bends but not at its ends; a disk if it is a point."""
    rings: list[Sequence[float]] = []
    for (x, y), (next_x, next_y) in itertools.pairwise(points):
        if length := math.hypot(next_x - x, next_y - y):
            across_x, across_y = (y - next_y) / length * width / 2, (next_x - x) / length * width / 2
            corners = [(x, y, 1), (next_x, next_y, 1), (next_x, next_y, -1), (x, y, -1)]
            rings.append([part for x, y, side in corners for part in (x + side * across_x, y + side * across_y)])
    for x, y in points[1:-1] if rings else points[:1]:
        rings.extend(ellipse(x, y, width / 2, width / 2).rings)
    if not rings:
        raise BadImageError("it has no points")
    return Polygon(rings)
