"""Predictions of scenes: a GeoTIFF of class ids that lies on its scene, and its polygons as a GeoPackage."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import pathlib
import sqlite3
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from data.annotations.classes import is_background
from data.contract import IGNORE_LABEL
from data.formats.geotiff.polygons import pyogrio_raw
from data.formats.geotiff.scene import Scene, look_at_scene

if TYPE_CHECKING:
    import numpy as np

    from data.label_map import LabelMap

GEOPACKAGE_SIGNATURE = b"SQLite format 3\0"
_TILE = 256
# Polygons that are in memory at once.
_POLYGONS_AT_ONCE = 10_000


@contextlib.contextmanager
def scene_mask(path: str, scene: Scene, label_map: LabelMap, software: str) -> Iterator[Callable[[np.ndarray], None]]:
    """A GeoTIFF with the CRS, the transform and the size of a scene, tiled and compressed.

    Values are class ids with the colors of the label map, and 255, the nodata value, where the scene has no data. The
    tag CLASSES has the names as JSON. The file appears at the end, whole or not at all.

    Args:
      path: where.
      scene: what it lies on.
      label_map: the classes.
      software: who writes it, for the tag of that name.

    Yields:
      What writes the next rows, [rows, width] uint8, from top to bottom.

    Raises:
      OSError: if it cannot be written.
    """
    import numpy as np
    import rasterio
    from rasterio.transform import Affine

    partial = f"{path}.partial"
    pending: list[np.ndarray] = []
    written = 0
    try:
        with rasterio.open(
            partial,
            "w",
            driver="GTiff",
            height=scene.height,
            width=scene.width,
            count=1,
            dtype="uint8",
            crs=scene.crs,
            transform=Affine(*scene.transform),
            nodata=IGNORE_LABEL,
            tiled=True,
            blockxsize=_TILE,
            blockysize=_TILE,
            compress="deflate",
            bigtiff="if_safer",
        ) as target:
            target.write_colormap(
                1, {IGNORE_LABEL: (0, 0, 0, 0), **{one.id: (*one.color, 255) for one in label_map.classes}}
            )
            target.update_tags(TIFFTAG_SOFTWARE=software, CLASSES=json.dumps(dict(enumerate(label_map.names))))

            def write(rows: np.ndarray | None) -> None:
                """Rows of whole tiles: one that is written twice would be in the file twice."""
                nonlocal pending, written
                pending += [] if rows is None else [rows]
                waiting = sum(map(len, pending))
                ready = waiting if rows is None else waiting // _TILE * _TILE
                if ready:
                    together = np.concatenate(pending)
                    area = (written, written + ready), (0, scene.width)
                    target.write(together[:ready], 1, window=area)
                    written, pending = written + ready, [together[ready:]]

            yield write
            write(None)
        look_at_scene(partial, scene.width * _TILE + _TILE * _TILE)  # GDAL says nothing if the disk is full at the end.
        os.replace(partial, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.remove(partial)
        raise


def write_polygons(mask: str, path: str, label_map: LabelMap, software: str) -> None:
    """A GeoPackage of the connected pixels of each class, in the CRS of the mask, with their edges as they are.

    Features have the attributes `class` and `class_id`; there are none of a class that is called background.

    Args:
      mask: path of what `scene_mask` wrote.
      path: where.
      label_map: the classes.
      software: who writes it, for `geopackage_software`.

    Raises:
      UserError: if the package for vector files is not installed.
      OSError: if it cannot be written.
    """
    raw = pyogrio_raw()
    import numpy as np
    import pyogrio
    import rasterio
    import rasterio.features
    import shapely

    names = {label.id: label.name for label in label_map.classes if not is_background(label.name)}
    partial = f"{path}.partial.gpkg"
    with contextlib.suppress(FileNotFoundError):
        os.remove(partial)
    try:
        with rasterio.open(mask) as source:
            found = rasterio.features.shapes(rasterio.band(source, 1), connectivity=4, transform=source.transform)
            wanted = ((shape, int(value)) for shape, value in found if int(value) in names)
            is_first = True
            while (part := list(itertools.islice(wanted, _POLYGONS_AT_ONCE))) or is_first:
                outlines = [shapely.Polygon(shape["coordinates"][0], shape["coordinates"][1:]) for shape, _ in part]
                ids = np.array([value for _, value in part], np.int32)
                raw.write(
                    partial,
                    geometry=np.array(shapely.to_wkb(np.array(outlines, object)), object),
                    field_data=[np.array([names[value] for value in ids.tolist()], object), ids],
                    fields=np.array(["class", "class_id"], object),
                    layer="classes",
                    driver="GPKG",
                    geometry_type="Polygon",
                    crs=source.crs.to_wkt() if source.crs else None,
                    append=not is_first,
                    layer_options={"DESCRIPTION": software},
                )
                is_first = False
        os.replace(partial, path)
    except pyogrio.errors.DataSourceError as error:
        raise OSError(f"cannot write {path}: {error}") from None
    finally:
        with contextlib.suppress(OSError):
            os.remove(partial)


def geopackage_software(path: str) -> str:
    """Who wrote a GeoPackage, as `write_polygons` says it; empty if it is none, or says nothing."""
    try:
        with contextlib.closing(sqlite3.connect(f"{pathlib.Path(path).absolute().as_uri()}?mode=ro", uri=True)) as file:
            found = file.execute("SELECT description FROM gpkg_contents LIMIT 1").fetchone()
    except sqlite3.Error:
        return ""
    return str(found[0] or "") if found else ""
