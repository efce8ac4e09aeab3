"""Polygons in vector files (GeoJSON, GeoPackage, shapefile): read, placed on a scene, and burnt into its windows."""

from __future__ import annotations

import dataclasses
import functools
import os
from typing import Any

import numpy as np

from data.annotations.classes import is_background
from data.base.errors import UserError
from data.contract import IGNORE_LABEL
from data.decoding.errors import BadImageError
from data.formats.geotiff.scene import Scene, crs_name, raster_errors
from data.formats.geotiff.windows import Window
from data.masks.meaning import Meaning

EXTENSIONS = (".geojson", ".gpkg", ".shp")
# Of shapely's numbers for kinds of geometries.
_POLYGON, _MULTI_POLYGON = 3, 6


@dataclasses.dataclass(frozen=True)
class Layer:
    """The polygons of a file.

    Attributes:
      polygons: [n] shapely polygons, in the order of the file.
      values: [n] what the attribute says about each; None without an attribute.
      crs: their CRS as WKT.
    """

    polygons: np.ndarray
    values: list[Any]
    crs: str


def is_vector(path: str) -> bool:
    """Whether a path is that of a file with polygons, by its name."""
    return path.lower().endswith(EXTENSIONS)


def pyogrio_raw() -> Any:
    """The package that reads and writes vector files.

    Raises:
      UserError: if it is not installed.
    """
    try:
        import pyogrio.raw
    except ImportError:
        raise UserError(
            "polygons in GeoJSON, GeoPackage and shapefiles need the package pyogrio; install segpipe with its extra, "
            "segpipe[geo]"
        ) from None
    return pyogrio.raw


def attributes(path: str) -> dict[str, list[str]]:
    """The different values of each attribute that the polygons of a file have, as text, by the attribute's name.

    Raises:
      BadImageError: if it cannot be read.
    """
    meta, _, _, fields = _raw(path, None)
    return {
        str(name): sorted({_text(value) for value in values if value is not None})
        for name, values in zip(meta["fields"], fields, strict=True)
    }


def read_layer(path: str, attribute: str, crs: str = "") -> Layer:
    """Reads the polygons of a file; points and lines, which cover no area, are left out.

    Args:
      path: the file.
      attribute: name of what says what they are; empty if nothing does.
      crs: to which they are transformed, as WKT; by default their own.

    Raises:
      BadImageError: if it cannot be read, has no polygons, no such attribute or no CRS, or one that its coordinates do
        not fit.
    """
    status = os.stat(path)
    return _layer(path, attribute, crs, status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=4)
def _layer(path: str, attribute: str, crs: str, modified: int, size: int) -> Layer:
    """Kept for the windows that follow, which mostly are of the same file."""
    del modified, size
    import shapely
    from rasterio.crs import CRS
    from rasterio.warp import transform

    meta, _, geometries, fields = _raw(path, attribute or None)
    names = [str(name) for name in meta["fields"]]
    if attribute and attribute not in names:
        known = ", ".join(attributes(path)) or "none"
        raise BadImageError(f"the polygons of {path} have no attribute {attribute}; there are: {known}")
    shapes = shapely.from_wkb(geometries)
    kept = np.flatnonzero(np.isin(shapely.get_type_id(shapes), (_POLYGON, _MULTI_POLYGON)) & ~shapely.is_empty(shapes))
    if not len(kept):
        raise BadImageError(f"{path} holds no polygon")
    if not meta["crs"]:
        raise BadImageError(f"{path} does not say its CRS, so nobody knows where its polygons are")
    shapes, own = shapely.force_2d(shapes[kept]), CRS.from_user_input(meta["crs"])
    if crs and own != CRS.from_wkt(crs):

        def moved(points: np.ndarray) -> np.ndarray:
            return np.array(transform(own, CRS.from_wkt(crs), points[:, 0], points[:, 1])).T

        try:
            shapes = shapely.transform(shapes, moved)
            is_there = bool(np.isfinite(shapely.total_bounds(shapes)).all())
        except raster_errors():
            is_there = False
        if not is_there:
            raise BadImageError(
                f"{path} is in {crs_name(own.to_wkt())}, to which its coordinates do not belong; a GeoJSON without "
                "`crs` has longitude and latitude"
            )
    values = list(fields[0][kept]) if attribute else [None] * len(kept)
    return Layer(shapes, values, crs or own.to_wkt())


def _raw(path: str, attribute: str | None) -> Any:
    raw = pyogrio_raw()
    import pyogrio

    try:
        layers = [name for name, kind in pyogrio.list_layers(path) if kind is not None]
        if len(layers) > 1:
            raise BadImageError(f"{path} holds several layers, {', '.join(layers)}; save the one that is meant alone")
        return raw.read(path, columns=None if attribute is None else [attribute])
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, ValueError) as error:
        raise BadImageError(f"{path} cannot be read: {str(error).strip() or type(error).__name__}") from None


def _text(value: Any) -> str:
    """A value as the names of classes are written; whole numbers without a point."""
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        value = int(value)
    return str(value)


def ids_of_polygons(path: str, attribute: str, scene: Scene, meaning: Meaning) -> tuple[np.ndarray, list[int]]:
    """The polygons of a file in the coordinates of a scene, and the class id of each.

    Args:
      path: the file.
      attribute: name of what holds the names or the values of classes; without it all polygons are of the second of two
        classes.
      scene: the scene.
      meaning: what values mean.

    Raises:
      BadImageError: if the scene has no CRS, or a polygon has no class.
    """
    if not scene.crs:
        raise BadImageError(
            "it has no CRS, so no polygon can be placed on it; write one into the file, as `rio edit-info --crs "
            "EPSG:32633` does"
        )
    layer = read_layer(path, attribute, scene.crs)
    if not attribute:
        return layer.polygons, [1] * len(layer.values)
    names = {label.name: label.id for label in meaning.label_map.root}
    ids = []
    for value in layer.values:
        text = _text(value)
        found = names.get(text)
        if found is None and text.lstrip("-").isdigit():
            found = meaning.all_values.get(int(text))
        if found is None:
            raise BadImageError(
                f"{attribute} of a polygon in {path} is {text!r}, which is no class; there are "
                f"{', '.join(meaning.label_map.names)}"
            )
        ids.append(found)
    return layer.polygons, ids


def burn(polygons: np.ndarray, ids: list[int], scene: Scene, window: Window, meaning: Meaning) -> np.ndarray:
    """Class ids of a window, [height, width] uint8: later polygons lie over earlier ones.

    A pixel is of a polygon if its center is inside. Pixels of no polygon are background if a class is called so, and
    else ignored, 255.
    """
    import rasterio.features
    import shapely
    from rasterio.transform import Affine

    outside = next((label.id for label in meaning.label_map.classes if is_background(label.name)), IGNORE_LABEL)
    near = np.flatnonzero(shapely.intersects(polygons, shapely.box(*scene.bounds(window))))
    if not len(near):
        return np.full((window.height, window.width), outside, np.uint8)
    burnt: np.ndarray = rasterio.features.rasterize(
        [(polygons[index], ids[index]) for index in near],
        out_shape=(window.height, window.width),
        fill=outside,
        transform=Affine(*scene.transform_of(window)),
        dtype="uint8",
    )
    return burnt
