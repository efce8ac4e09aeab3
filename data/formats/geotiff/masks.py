"""Masks that are rasters: read on the grid of their scene, on which they lie or to which they are warped."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from data.contract import IGNORE_LABEL
from data.decoding.errors import BadImageError
from data.formats.geotiff.scene import Scene, explained, opened, read_header
from data.formats.geotiff.windows import Window
from data.masks.class_ids import class_ids
from data.masks.files import Mask
from data.masks.meaning import Meaning

# How far corners of two grids may lie apart that are the same, in pixels: tools round coordinates.
_SAME = 0.1
# Of a mask of which not all pixels are kept.
_READ_AT_ONCE = 2**24


@contextlib.contextmanager
def opened_mask(scene: Scene, path: str, warps: bool) -> Iterator[Callable[[Window], tuple[Mask, np.ndarray]]]:
    """A mask that is open on the grid of its scene.

    Args:
      scene: the scene.
      path: of the mask.
      warps: whether a mask on another grid is warped, each pixel to its nearest neighbor.

    Yields:
      What reads a window: the pixels as the file stores them, and [height, width] bool, where it says that there is
      nothing.

    Raises:
      BadImageError: if it cannot be read, or is on another grid and not warped; names both.
    """

    def read(window: Window) -> tuple[Mask, np.ndarray]:
        with explained(path, "its mask: "):
            return _read(mask, window.slices)

    with explained(path, "its mask: "), opened(path) as source, contextlib.ExitStack() as stack:
        mask: Any = source
        if not _is_same_grid(scene, read_header(source, path)):
            mask = stack.enter_context(_warped(scene, source, path, warps))
        yield read


def read_values(path: str, max_pixels: int) -> Mask:
    """The pixels of a mask, or of a part of them that is spread evenly; what is nothing has a value of the others.

    Raises:
      BadImageError: if it cannot be read, or says that there is nothing.
    """
    with opened(path) as source:
        step = max(1, math.ceil((source.width * source.height / max_pixels) ** 0.5))
        # Fewer pixels at once would come from overviews in the file, which may be averages, and so of no class.
        rows = max(1, _READ_AT_ONCE // (source.width * step)) * step
        strips = []
        for top in range(0, source.height, rows):
            mask, hidden = _read(source, ((top, min(top + rows, source.height)), (0, source.width)))
            strips.append((mask.pixels[::step, ::step], hidden[::step, ::step]))
    pixels, hidden = (np.concatenate(parts) for parts in zip(*strips, strict=True))
    if hidden.all():
        raise BadImageError("all of its pixels have the value for no data")
    pixels[hidden] = pixels[~hidden][0]
    return dataclasses.replace(mask, pixels=pixels)


def _is_same_grid(scene: Scene, mask: Scene) -> bool:
    from rasterio.crs import CRS

    if (scene.height, scene.width) != (mask.height, mask.width):
        return False
    # Programs that know no coordinates write masks of the same pixels without them.
    if not (scene.crs and mask.crs):
        return True
    if CRS.from_wkt(scene.crs) != CRS.from_wkt(mask.crs):
        return False
    # Of three corners, and not of bounds alone, which a raster that is stored upside down has as well.
    corners = [[0, scene.width, 0], [0, 0, scene.height], [1, 1, 1]]
    apart = (np.reshape(scene.transform, [2, 3]) - np.reshape(mask.transform, [2, 3])) @ corners
    return bool(np.abs(apart).max() <= _SAME * min(scene.resolution))


@contextlib.contextmanager
def _warped(scene: Scene, source: Any, path: str, warps: bool) -> Iterator[Any]:
    from rasterio.enums import ColorInterp, Resampling
    from rasterio.transform import Affine
    from rasterio.vrt import WarpedVRT

    mask = read_header(source, path)
    if not (scene.crs and mask.crs):
        raise BadImageError(
            f"its mask {path} has {mask.width}x{mask.height} pixels, and the scene {scene.width}x{scene.height}; only "
            "rasters that both have a CRS can be warped"
        )
    if not warps:
        raise BadImageError(
            f"its mask {path} is on another grid: {mask.describe_grid()}; the scene is {scene.describe_grid()}; --warp "
            "warps masks by nearest neighbor"
        )
    # Beyond its edges a mask says nothing, and without a value for that, only a band of alpha can say so. A mask in the
    # file is lost in warping unless it becomes one.
    says_so = source.nodata is not None or ColorInterp.alpha in source.colorinterp
    settings = {} if says_so else {"add_alpha": True}
    with WarpedVRT(
        source,
        crs=scene.crs,
        transform=Affine(*scene.transform),
        height=scene.height,
        width=scene.width,
        resampling=Resampling.nearest,
        **settings,
    ) as warped:
        yield warped


def _read(source: Any, window: Any) -> tuple[Mask, np.ndarray]:
    from rasterio.enums import ColorInterp

    bands = [number for number, kind in enumerate(source.colorinterp, start=1) if kind != ColorInterp.alpha] or [1]
    values = source.read(bands, window=window)
    hidden = source.read_masks(1, window=window) == 0
    lossy = "TIFF with JPEG inside" if "jpeg" in str(source.profile.get("compress", "")).lower() else ""
    if len(bands) == 3 and values.dtype == np.uint8:
        return Mask(np.ascontiguousarray(np.moveaxis(values, 0, -1)), lossy=lossy), hidden
    if len(bands) != 1:
        raise BadImageError(
            f"its mask has {len(bands)} bands of {values.dtype}, and not one of class ids, or three of colors of 8 bits"
        )
    pixels = values[0]
    if pixels.dtype.kind == "f":
        shown = pixels[~hidden & ~np.isnan(pixels)]
        if not np.isfinite(shown).all() or (shown != np.round(shown)).any():
            raise BadImageError("the numbers of its mask are not whole; a mask holds class ids")
        hidden = hidden | np.isnan(pixels)
        pixels = np.where(hidden, 0, pixels).astype(np.int64)
    palette = None
    if source.colorinterp[0] == ColorInterp.palette and pixels.dtype == np.uint8:
        palette = np.full((256, 3), -1, np.int64)
        for value, color in source.colormap(1).items():
            palette[value] = color[:3]
    return Mask(pixels, palette, lossy=lossy), hidden


def ids_of_mask(mask: Mask, hidden: np.ndarray, meaning: Meaning) -> np.ndarray:
    """Class ids of what `opened_mask` reads, [height, width] uint8.

    Where the mask says that there is nothing, it is 255, or what `meaning` has for transparent pixels.

    Raises:
      BadImageError: if a value is of no class; says that it is the mask.
    """
    nothing = np.uint8(IGNORE_LABEL if meaning.transparent is None else meaning.transparent)
    if hidden.all():
        return np.full(hidden.shape, nothing)
    # Values where nothing is need not be of any class.
    pixels = mask.pixels.copy()
    pixels[hidden] = pixels[~hidden][0]
    try:
        ids = class_ids(dataclasses.replace(mask, pixels=pixels), meaning)
    except BadImageError as error:
        raise BadImageError(f"its mask: {error}") from None
    return np.where(hidden, nothing, ids)
