"""Regions: connected pixels of one class, with their outlines.

Pixels that touch at a corner only belong to different regions, so that no outline touches itself. Coordinates are those
of `data/annotations/shapes.py`: x to the right and y down, and the first pixel covers 0 to 1.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Collection

import numpy as np
import rasterio.features
import shapely

from data.annotations.shapes import Polygon
from data.writing.outlines.keyhole import one_ring
from data.writing.outlines.simplification import simplify


@dataclasses.dataclass(frozen=True)
class Region:
    """Connected pixels of one class.

    Attributes:
      class_id: their class.
      polygon: their outline and its holes, the one counterclockwise by x and y and the others clockwise.
      object: the number of the object that they belong to; 0 if the class is not told apart.
    """

    class_id: int
    polygon: shapely.Polygon
    object: int = 0

    @property
    def has_holes(self) -> bool:
        return bool(self.polygon.interiors)

    @property
    def bounds(self) -> tuple[int, int, int, int]:
        """Left, top, right and bottom; corners lie on corners of pixels."""
        left, top, right, bottom = self.polygon.bounds
        return int(left), int(top), int(right), int(bottom)

    @functools.cached_property
    def ring(self) -> np.ndarray:
        """One outline, [corners, 2] x and y, without the first corner again.

        Holes are joined to it by cuts without width, followed to the hole and back, so that programs that know one
        outline alone fill it right, by the even-odd rule as well as by the nonzero one.
        """
        return one_ring(self.polygon)

    def rings(self) -> list[np.ndarray]:
        """The outline, then its holes, each [corners, 2] x and y with the first corner again at the end."""
        return [shapely.get_coordinates(ring) for ring in (self.polygon.exterior, *self.polygon.interiors)]

    def pixels(self) -> np.ndarray:
        """Which pixels inside the bounds belong to it: [height, width] bool."""
        left, top, right, bottom = self.bounds
        return Polygon([(self.ring - (left, top)).ravel().tolist()]).mask(bottom - top, right - left)

    def runs(self) -> list[int]:
        """Lengths of runs along the rows of `pixels`, in turn outside and inside, first those outside."""
        pixels = self.pixels().ravel()
        changes = np.flatnonzero(np.diff(pixels, prepend=False))
        lengths: list[int] = np.diff(changes, prepend=0, append=pixels.size).tolist()
        return lengths


def find_regions(class_ids: np.ndarray, classes: Collection[int], tolerance: float = 0) -> list[Region]:
    """The regions of a mask.

    Args:
      class_ids: the mask, [height, width] uint8, or int32 with other values as well.
      classes: those whose regions are wanted.
      tolerance: how far outlines may lie from the edges of pixels, in pixels; 0 keeps every pixel.

    Returns:
      Regions, from top to bottom. Neighbors share their border.
    """
    is_wanted = np.zeros(1 + max(255, int(class_ids.max(initial=0))), bool)
    is_wanted[list(classes)] = True
    rings: list[np.ndarray] = []
    owners: list[int] = []
    found: list[int] = []
    for geometry, value in rasterio.features.shapes(class_ids, mask=is_wanted[class_ids], connectivity=4):
        for ring in geometry["coordinates"]:
            rings.append(np.array(ring[:-1], np.int32))
            owners.append(len(found))
        found.append(int(value))
    if not found:
        return []
    polygons = simplify(class_ids, rings, np.array(owners), tolerance) if tolerance > 0 else _exact(rings, owners)
    polygons = shapely.orient_polygons(polygons)
    return [Region(class_id, polygon) for class_id, polygon in zip(found, polygons, strict=True)]


def _exact(rings: list[np.ndarray], owners: list[int]) -> np.ndarray:
    indices = np.repeat(np.arange(len(rings)), [len(ring) for ring in rings])
    outlines = shapely.linearrings(np.concatenate(rings).astype(float), indices=indices)
    return np.atleast_1d(shapely.polygons(outlines, indices=np.array(owners)))
