"""Shapes of annotated objects, and the one rule by which their pixels are found.

Coordinates are in pixels, x to the right and y down, and the first pixel covers 0 to 1: its center is at 0.5. A pixel
belongs to a shape if its center lies inside, as `pycocotools` computes it, to a fifth of a pixel. Rings of a polygon
may cross themselves; what they go around an even number of times is outside. What lies beyond the image is cut off.
"""

from __future__ import annotations

import abc
import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from data.decoding.errors import BadImageError

# Of a circle that is drawn as a polygon: with so many corners none is off by a tenth of a pixel, up to this radius.
_CIRCLE_CORNERS = 720
# No image reaches as far, and pycocotools walks along every outline, step by step; it crashes at a thousand times this.
_FARTHEST = 1e6


class Shape(abc.ABC):
    """Where an object is."""

    @abc.abstractmethod
    def mask(self, height: int, width: int) -> np.ndarray:
        """Its pixels in an image: [height, width] bool.

        Raises:
          BadImageError: if it is not what it says it is, or does not belong to an image of this size.
        """


@dataclasses.dataclass(frozen=True)
class Polygon(Shape):
    """One or several outlines that belong together.

    Attributes:
      rings: x and y of the corners in turn, of each outline. All of them are filled.
    """

    rings: Sequence[Sequence[float]]

    def mask(self, height: int, width: int) -> np.ndarray:
        from pycocotools import mask as coco_mask

        return coco_mask.decode(self._runs(height, width)).astype(bool)

    def area(self, height: int, width: int) -> int:
        """How many pixels of an image it has, without drawing them.

        Raises:
          BadImageError: as by `mask`.
        """
        from pycocotools import mask as coco_mask

        return int(coco_mask.area(self._runs(height, width)))

    def _runs(self, height: int, width: int) -> Any:
        from pycocotools import mask as coco_mask

        for ring in self.rings:
            check_ring(ring)
        runs = coco_mask.frPyObjects([[float(value) for value in ring] for ring in self.rings], height, width)
        return coco_mask.merge(runs)


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

    def mask(self, height: int, width: int) -> np.ndarray:
        from pycocotools import mask as coco_mask

        if (self.height, self.width) != (height, width):
            raise BadImageError(f"its run lengths cover {self.width}x{self.height} pixels, the image {width}x{height}")
        if isinstance(self.counts, str):
            runs = {"size": [height, width], "counts": self.counts.encode()}
            return coco_mask.decode(runs).astype(bool)
        counts = np.asarray(self.counts)
        if counts.size and (counts.dtype.kind not in "iu" or counts.min() < 0):
            raise BadImageError("its run lengths are not whole numbers from 0 on")
        if counts.sum() != height * width:
            raise BadImageError(f"its run lengths cover {counts.sum()} pixels, the image has {height * width}")
        values = np.arange(len(counts)) % 2 == 1
        return np.repeat(values, counts).reshape(width, height).T


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

    def mask(self, height: int, width: int) -> np.ndarray:
        drawn = np.zeros((height, width), bool)
        bottom, right = max(self.top + self.pixels.shape[0], 0), max(self.left + self.pixels.shape[1], 0)
        top, left = max(self.top, 0), max(self.left, 0)
        inside = self.pixels[top - self.top : max(height - self.top, 0), left - self.left : max(width - self.left, 0)]
        drawn[top:bottom, left:right] = inside
        return drawn


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


def check_ring(ring: Sequence[float]) -> None:
    """Raises a BadImageError if x and y in turn are no outline."""
    if len(ring) % 2:
        raise BadImageError(f"its polygon has {len(ring)} coordinates, an odd number")
    if len(ring) < 6:
        raise BadImageError(f"its polygon has {len(ring) // 2} points, and needs three")
    if not all(isinstance(value, (int, float)) and math.isfinite(value) for value in ring):
        raise BadImageError("its polygon has coordinates that are not finite numbers")
    if any(abs(value) > _FARTHEST for value in ring):
        raise BadImageError("its polygon has coordinates of more than a million pixels")
