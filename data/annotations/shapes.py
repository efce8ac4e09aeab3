"""Shapes of annotated objects, and the one rule by which their pixels are found.

Coordinates are in pixels, x to the right and y down, and the first pixel covers 0 to 1: its center is at 0.5. A pixel
belongs to a shape if its center lies inside, as `pycocotools` computes it, to a fifth of a pixel. Rings of a polygon
may cross themselves; what they go around an even number of times is outside. What lies beyond the image is cut off, but
a shape of which nothing is in the image is an error: it was drawn on another image, or on one of another size.
"""

from __future__ import annotations

import abc
import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from data.annotations.run_lengths import checked, columns, decompressed
from data.decoding.errors import BadImageError

# Of a circle that is drawn as a polygon: with so many corners none is off by a tenth of a pixel, up to this radius.
_CIRCLE_CORNERS = 720
# Of a polygon, in pixels: coordinates, and its outline's length.
_FARTHEST, _LONGEST = 1e6, 4e6
# An outline may pass the border of its image by so much of its width or height.
_BEYOND = 0.02
# A shape so far beyond the image, in pixels, is none that tools have rounded.
_OUTSIDE = 1


class Shape(abc.ABC):
    """Where an object is."""

    @abc.abstractmethod
    def patch(self, height: int, width: int) -> Bitmap:
        """Its pixels in an image, as a part of the image that has all of them.

        Raises:
          BadImageError: if it is not what it says it is, or does not belong to an image of this size.
        """

    def mask(self, height: int, width: int) -> np.ndarray:
        """Its pixels in an image: [height, width] bool.

        Raises:
          BadImageError: as `patch` does.
        """
        drawn = np.zeros((height, width), bool)
        patch = self.patch(height, width)
        drawn[patch.place] = patch.pixels
        return drawn


@dataclasses.dataclass(frozen=True)
class Polygon(Shape):
    """One or several outlines that belong together.

    Attributes:
      rings: x and y of the corners in turn, of each outline. All of them are filled.
    """

    rings: Sequence[Sequence[float]]

    def patch(self, height: int, width: int) -> Bitmap:
        pixels, left = columns(decompressed(self._runs(height, width)["counts"].decode()), height)
        return Bitmap(pixels, left)

    def area(self, height: int, width: int) -> int:
        """How many pixels of an image it has, without drawing them.

        Raises:
          BadImageError: as by `patch`.
        """
        from pycocotools import mask as coco_mask

        return int(coco_mask.area(self._runs(height, width)))

    def _runs(self, height: int, width: int) -> Any:
        from pycocotools import mask as coco_mask

        rings = [check_ring(ring) for ring in self.rings]
        if not rings:
            raise BadImageError("it has no outline")
        lowest, highest = (np.array([end(ring, axis=0) for ring in rings]) for end in (np.min, np.max))
        _check_inside(lowest.min(axis=0), highest.max(axis=0), height, width)
        runs = coco_mask.frPyObjects([ring.ravel() for ring in rings], height, width)
        return runs[0] if len(runs) == 1 else coco_mask.merge(runs)


@dataclasses.dataclass(frozen=True)
class Runs(Shape):
    """Run lengths by COCO's rules: down each column, columns from left to right, first those outside.

    Attributes:
      counts: the lengths, or pycocotools' compressed text for these.
      height: of the image that they cover, in pixels.
      width: likewise.
    """

    counts: Sequence[int] | str
    height: int
    width: int

    def patch(self, height: int, width: int) -> Bitmap:
        if (self.height, self.width) != (height, width):
            raise BadImageError(f"its run lengths cover {self.width}x{self.height} pixels, the image {width}x{height}")
        counts = decompressed(self.counts) if isinstance(self.counts, str) else self.counts
        pixels, left = columns(checked(counts, height, width), height)
        return Bitmap(pixels, left)


@dataclasses.dataclass(frozen=True)
class Bitmap(Shape):
    """Pixels of a part of the image.

    Attributes:
      pixels: [height, width] bool.
      left: where their first column is in the image.
      top: where their first row is.
    """

    pixels: np.ndarray
    left: int = 0
    top: int = 0

    @property
    def place(self) -> tuple[slice, slice]:
        """The rows and columns of the image that it covers, if it lies inside."""
        rows, columns = self.pixels.shape
        return slice(self.top, self.top + rows), slice(self.left, self.left + columns)

    def patch(self, height: int, width: int) -> Bitmap:
        rows, columns = self.pixels.shape
        _check_inside((self.left, self.top), (self.left + columns, self.top + rows), height, width)
        top, left = max(self.top, 0), max(self.left, 0)
        inside = self.pixels[top - self.top : max(height - self.top, 0), left - self.left : max(width - self.left, 0)]
        return Bitmap(inside, left, top) if inside.size else Bitmap(np.zeros((0, 0), bool))


def rectangle(left: float, top: float, right: float, bottom: float) -> Polygon:
    """A rectangle between two corners, whichever they are."""
    (left, right), (top, bottom) = sorted((left, right)), sorted((top, bottom))
    return Polygon([[left, top, right, top, right, bottom, left, bottom]])


def ellipse(center_x: float, center_y: float, radius_x: float, radius_y: float, degrees: float = 0) -> Polygon:
    """An ellipse, turned clockwise about its center; a circle if both radii are equal."""
    angles = np.linspace(0, 2 * math.pi, _CIRCLE_CORNERS, endpoint=False)
    x, y = radius_x * np.cos(angles), radius_y * np.sin(angles)
    turn = math.radians(degrees)
    corners = np.stack(
        [center_x + x * math.cos(turn) - y * math.sin(turn), center_y + x * math.sin(turn) + y * math.cos(turn)], 1
    )
    return Polygon([corners.ravel().tolist()])


def check_reach(rings: Sequence[Sequence[float]], width: int, height: int, remedy: str) -> None:
    """Makes sure that outlines belong to an image whose size their file does not say.

    Args:
      rings: x and y of the corners in turn, of each outline.
      width: of the image, in pixels.
      height: likewise.
      remedy: the end of the message.

    Raises:
      BadImageError: if they reach so far beyond the image that it seems to have had another size.
    """
    if max((max(ring, default=0) for ring in rings), default=0) <= min(width, height):
        return
    for start, (name, size) in enumerate((("x", width), ("y", height))):
        farthest = max((max(ring[start::2], default=0) for ring in rings), default=0)
        if farthest > size * (1 + _BEYOND) + 1:
            raise BadImageError(f"it reaches to {name} {farthest:g} in an image of {width}x{height} pixels, {remedy}")


def check_units(rings: Sequence[Sequence[float]], whose: str) -> None:
    """Raises a BadImageError if outlines seem to be in parts of the image instead of pixels.

    Args:
      rings: x and y of the corners in turn, of each outline.
      whose: whose coordinates should be pixels.
    """
    highest = max((max(ring, default=0) for ring in rings), default=0)
    if 0 < highest <= 1 and not all(float(value).is_integer() for ring in rings for value in ring):
        raise BadImageError(
            f"its coordinates are all between 0 and 1, and {whose} are pixels; multiply them by the image's width and "
            "height"
        )


def _check_inside(lowest: Sequence[float], highest: Sequence[float], height: int, width: int) -> None:
    """Raises a BadImageError if nothing between two corners, each x and y, is in an image or at its edge."""
    beyond = any(low > size + _OUTSIDE for low, size in zip(lowest, (width, height), strict=True))
    if beyond or min(highest) < -_OUTSIDE:
        raise BadImageError(
            f"it lies outside of the image, which has {width}x{height} pixels; was the image cropped or resized after "
            "it was labeled, or is it another one?"
        )


def check_ring(ring: Sequence[float]) -> np.ndarray:
    """The corners of an outline, [corners, 2] float64.

    Raises:
      BadImageError: if x and y in turn are no outline.
    """
    if len(ring) % 2:
        raise BadImageError(f"its polygon has {len(ring)} coordinates, an odd number")
    if len(ring) < 6:
        raise BadImageError(f"its polygon has {len(ring) // 2} points, and needs three")
    try:
        numbers = np.asarray(ring)
    except ValueError:  # Lists of several lengths.
        numbers = np.asarray(None)
    if numbers.dtype.kind not in "iuf" or numbers.ndim != 1 or not np.isfinite(numbers).all():
        raise BadImageError("its polygon has coordinates that are not finite numbers")
    corners = numbers.astype(np.float64).reshape(-1, 2)
    # pycocotools takes memory for each fifth of a pixel of the outline, and counts these in 32 bits.
    if np.abs(corners).max() > _FARTHEST or np.abs(np.diff(corners, axis=0)).max(1).sum() > _LONGEST:
        raise BadImageError("its polygon has coordinates so far apart that they cannot be pixels")
    # Nearly always the first four tell.
    if all(len(set(map(tuple, some.tolist()))) < 3 for some in (corners[:4], corners)):
        different = len(np.unique(corners, axis=0))
        raise BadImageError(f"its outline has {different} different points, and needs three")
    return corners
