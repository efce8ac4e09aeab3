"""Which split a place on the ground belongs to, whatever scenes show it: by blocks, by strips, or by drawn areas.

Neighboring windows look alike, and what is tested on must not have been trained on. So a window belongs to a split only
if all of it lies on that split's ground, and windows of two splits are a gap apart. The gap is taken from train, and
between eval and test from eval, since there is most of train.
"""

from __future__ import annotations

import abc
import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from data.base.errors import UserError
from data.contract import SPLITS
from data.decoding.errors import BadImageError
from data.formats.geotiff.polygons import read_layer
from data.formats.geotiff.scene import Scene, crs_name, raster_errors
from data.formats.geotiff.windows import Window
from data.splits import split_of

# The part of a window by which borders may be missed, as coordinates are rounded.
_ROUNDED = 1e-6
# Frames of neighboring scenes may share less of their ground, as they grow when they are projected.
_LEAST_SHARED = 0.01
BLOCKS, WEST_EAST, NORTH_SOUTH = "blocks", "west-east", "north-south"
# On the ground that belongs to no split.
NOWHERE = ""


@dataclasses.dataclass(frozen=True)
class Box:
    """A place on the ground.

    Attributes:
      plane: what its coordinates belong to: empty for the ground that all scenes share, or the name of a scene that
        lies nowhere and is a ground of its own.
      bounds: left, bottom, right and top; in a plane of its own the rows count down from 0.
    """

    plane: str
    bounds: tuple[float, float, float, float]

    def grown(self, x: float, y: float) -> Box:
        """The same with so much more on each side, in the units of its coordinates."""
        left, bottom, right, top = self.bounds
        return Box(self.plane, (left - x, bottom - y, right + x, top + y))

    @property
    def size(self) -> tuple[float, float]:
        """Width and height, in the units of its coordinates."""
        left, bottom, right, top = self.bounds
        return right - left, top - bottom


def common_crs(scenes: Iterable[Scene]) -> str:
    """The CRS, as WKT, in which all places are compared: that of the first scene that has one."""
    return next((scene.crs for scene in scenes if scene.crs), "")


def place(name: str, scene: Scene, window: Window, crs: str) -> Box:
    """Where a window of a scene is, in a CRS; of a scene without, in its own pixels.

    Raises:
      BadImageError: if it is nowhere on the ground of that CRS.
    """
    from rasterio.crs import CRS
    from rasterio.warp import transform_bounds

    if not scene.crs:
        (top, bottom), (left, right) = window.slices
        return Box(name, (left, -bottom, right, -top))
    bounds = scene.bounds(window)
    if scene.crs != crs:
        try:
            bounds = transform_bounds(CRS.from_wkt(scene.crs), CRS.from_wkt(crs), *bounds)
        except raster_errors():
            bounds = (math.nan,) * 4
        if not all(map(math.isfinite, bounds)):
            raise BadImageError(
                f"it is {scene.describe_grid()}, which is nowhere in {crs_name(crs)}, that of the first scene"
            )
    return Box("", bounds)


@dataclasses.dataclass(frozen=True)
class Shared:
    """Ground that scenes of different splits have in common.

    Attributes:
      names: of the two scenes that share most.
      share: how much of the smaller one that is.
      count: how many scenes share ground with one of another split.
    """

    names: tuple[str, str]
    share: float
    count: int


def shared_ground(boxes: Mapping[str, Box], splits: Mapping[str, str]) -> Shared | None:
    """What is wrong with splits that a data set states; None if no scenes of different splits share ground.

    Args:
      boxes: where each scene is, by name; its frame, as which parts of it have data would take reading it.
      splits: by name; scenes without one are dealt, and so in a split different from these.
    """
    names = [name for name, box in boxes.items() if not box.plane]
    bounds = np.array([boxes[name].bounds for name in names]).reshape(-1, 4)
    of_split = np.array([splits.get(name, "") for name in names])
    areas = (bounds[:, 2:] - bounds[:, :2]).prod(axis=1)
    count, most, pair = 0, _LEAST_SHARED, None
    for index, (low, high) in enumerate(zip(bounds[:, :2], bounds[:, 2:], strict=True)):
        sides = np.minimum(high, bounds[:, 2:]) - np.maximum(low, bounds[:, :2])
        common = np.maximum(sides, 0).prod(axis=1) / np.minimum(areas[index], areas)
        common[of_split == of_split[index]] = 0
        count += bool((common > _LEAST_SHARED).any())
        if common.max() > most:
            most, pair = float(common.max()), (names[index], names[int(common.argmax())])
    return Shared(pair, most, count) if pair else None


class Ground(abc.ABC):
    """Ground that is divided among the splits."""

    @abc.abstractmethod
    def parts(self, box: Box) -> dict[str, str]:
        """The parts of the ground that a place touches: the split of each, or `NOWHERE`, by the name of the part."""

    def split(self, box: Box, window: Window, gap: int) -> tuple[str, str]:
        """The split of a window, and the name of a part that it lies in; two empty strings if it belongs to none.

        Args:
          box: where the window is.
          window: the window.
          gap: pixels of the window that lie between it and windows of other splits.
        """
        width, height = box.size
        rounded = -_ROUNDED * width, -_ROUNDED * height
        inside = self.parts(box.grown(*rounded))
        if len(set(inside.values())) != 1 or NOWHERE in inside.values():
            return "", ""
        name, split = min(inside.items())
        around = box.grown(gap * width / window.width + rounded[0], gap * height / window.height + rounded[1])
        later = SPLITS[SPLITS.index(split) + 1 :]
        return ("", "") if set(self.parts(around).values()) & set(later) else (split, name)


class Blocks(Ground):
    """Blocks of ground, each of which is dealt to a split by a hash of its place.

    A block stays in its split when scenes are added, as long as the first scene by name, of which the CRS and the size
    of blocks are taken, has the same CRS and pixel size.

    Args:
      size: width and height of a block of the ground that scenes share, in the units of its coordinates.
      pixels: the same for scenes that lie nowhere.
      shares: of the splits.
    """

    def __init__(self, size: tuple[float, float], pixels: int, shares: Mapping[str, float]):
        self._size, self._pixels, self._shares = size, pixels, shares

    def parts(self, box: Box) -> dict[str, str]:
        width, height = (self._pixels, self._pixels) if box.plane else self._size
        left, bottom, right, top = box.bounds
        columns = range(math.floor(left / width), math.floor(right / width) + 1)
        rows = range(math.floor(bottom / height), math.floor(top / height) + 1)
        plane = f"{box.plane}:" if box.plane else ""
        names = [f"{plane}{column},{row}" for column in columns for row in rows]
        return {name: split_of(name, self._shares) for name in names}


class Strips(Ground):
    """All ground, cut once for each split: from west to east, or from north to south.

    Args:
      boxes: the scenes.
      axis: `WEST_EAST` or `NORTH_SOUTH`.
      shares: of the splits, in the order of the strips.
    """

    def __init__(self, boxes: Sequence[Box], axis: str, shares: Mapping[str, float]):
        self._axis, self._shares = axis, shares
        self._extents: dict[str, tuple[float, float]] = {}
        for box in boxes:
            low, high = self._interval(box)
            known = self._extents.get(box.plane, (low, high))
            self._extents[box.plane] = min(low, known[0]), max(high, known[1])

    def _interval(self, box: Box) -> tuple[float, float]:
        left, bottom, right, top = box.bounds
        return (left, right) if self._axis == WEST_EAST else (-top, -bottom)

    def parts(self, box: Box) -> dict[str, str]:
        low, high = self._interval(box)
        first, last = self._extents[box.plane]
        found, start = {}, 0.0
        for split, share in self._shares.items():
            end = start + share
            if share and low < first + end * (last - first) and high > first + start * (last - first):
                found[split] = split
            start = end
        return found


class Areas(Ground):
    """Polygons that someone drew, each of which says its split.

    Args:
      path: of a vector file whose polygons have the attribute `split`.
      crs: of the ground, as WKT.

    Raises:
      UserError: if it cannot be read, or a polygon names no split.
    """

    def __init__(self, path: str, crs: str):
        import shapely

        if not crs:
            raise UserError(f"--split-by {path}: no scene has a CRS, so areas cannot be placed on them")
        try:
            layer = read_layer(path, "split", crs)
        except (BadImageError, OSError) as error:
            raise UserError(f"--split-by {path}: {error}") from None
        if wrong := [value for value in layer.values if value not in SPLITS]:
            raise UserError(
                f"--split-by {path}: `split` of a polygon is {wrong[0]!r}; it may be {', '.join(SPLITS[:-1])} or "
                f"{SPLITS[-1]}"
            )
        self._areas: dict[str, Any] = {}
        for split in SPLITS:
            drawn = [area for area, value in zip(layer.polygons, layer.values, strict=True) if value == split]
            if drawn:
                # Outlines that were drawn by hand may cross themselves.
                self._areas[split] = shapely.union_all(shapely.make_valid(drawn))
                shapely.prepare(self._areas[split])
        if two := self._overlap():
            raise UserError(f"--split-by {path}: areas of {two[0]} and {two[1]} overlap")

    def _overlap(self) -> tuple[str, str] | None:
        names = list(self._areas)
        pairs = ((one, two) for index, one in enumerate(names) for two in names[index + 1 :])
        return next((pair for pair in pairs if self._areas[pair[0]].intersection(self._areas[pair[1]]).area), None)

    def parts(self, box: Box) -> dict[str, str]:
        import shapely

        if box.plane:
            return {NOWHERE: NOWHERE}
        where = shapely.box(*box.bounds)
        found = {split: split for split, area in self._areas.items() if area.intersects(where)}
        is_inside = any(area.covers(where) for area in self._areas.values())
        return found if is_inside else {**found, NOWHERE: NOWHERE}


def divided(
    scenes: Mapping[str, Scene], crs: str, by: str, shares: Mapping[str, float], block: int
) -> tuple[Ground, dict[str, Any]]:
    """The ground of some scenes, divided among the splits.

    Args:
      scenes: those that can be used, by their names, in their order.
      crs: in which all places are compared, as WKT.
      by: `BLOCKS`, `WEST_EAST`, `NORTH_SOUTH`, or the path of a vector file.
      shares: of the splits.
      block: width and height of a block, in pixels of the first scene that has a CRS.

    Returns:
      The ground, and what a report says about it.

    Raises:
      UserError: if the areas cannot be read.
    """
    facts: dict[str, Any] = {"split_by": by, **({"crs": crs_name(crs)} if crs else {})}
    if by == BLOCKS:
        size = float(block), float(block)
        if crs:
            first = next(scene for scene in scenes.values() if scene.crs)
            width, height = place("", first, first.whole, crs).size
            size = block * width / first.width, block * height / first.height
        return Blocks(size, block, shares), {**facts, "block": list(size)}
    if by in (WEST_EAST, NORTH_SOUTH):
        return Strips([place(name, scene, scene.whole, crs) for name, scene in scenes.items()], by, shares), facts
    return Areas(by, crs), facts
