"""Rasters and polygons as small as can be, on made-up ground."""

import json
import pathlib

import numpy as np
import rasterio
from rasterio.transform import Affine

CRS = "EPSG:32633"
LEFT, TOP, PIXEL = 500_000.0, 5_000_000.0, 10.0


def write_raster(path, values, *, crs=CRS, left=LEFT, top=TOP, pixel=PIXEL, names=(), **options):
    """Writes [h, w] or [h, w, bands] values; without a CRS it has no transform either."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    bands = np.atleast_3d(values).transpose(2, 0, 1)
    place = {"crs": crs, "transform": Affine(pixel, 0, left, 0, -pixel, top)} if crs else {}
    count, height, width = bands.shape
    settings = {"driver": "GTiff", "height": height, "width": width, "count": count, "dtype": bands.dtype}
    with rasterio.open(path, "w", **settings, **place, **options) as target:
        target.write(bands)
        for number, name in enumerate(names, start=1):
            target.set_band_description(number, name)
    return path


def noise(height, width, bands=4, dtype=np.uint16):
    return np.random.default_rng(height * 1000 + width).integers(1, 250, [height, width, bands]).astype(dtype)


def write_scene(folder, name="a", height=48, width=64, *, mask=None, image=None, **options):
    """A scene and its mask, by default the left half of class 0 and the right half of class 1."""
    height, width = (height, width) if image is None else image.shape[:2]
    ids = (np.arange(width) >= width // 2).astype(np.uint8) * np.ones([height, 1], np.uint8)
    write_raster(folder / "images" / f"{name}.tif", noise(height, width) if image is None else image, **options)
    write_raster(folder / "masks" / f"{name}.tif", ids if mask is None else mask, **options)
    return folder


def write_geojson(path, polygons, crs=CRS, **attributes):
    """Polygons as lists of corners; attributes have a value for each. Without a CRS, longitude and latitude."""
    path.parent.mkdir(parents=True, exist_ok=True)
    features = [
        {
            "type": "Feature",
            "properties": {name: values[index] for name, values in attributes.items()},
            "geometry": {"type": "Polygon", "coordinates": [[*corners, corners[0]]]},
        }
        for index, corners in enumerate(polygons)
    ]
    named = (
        {"crs": {"type": "name", "properties": {"name": f"urn:ogc:def:crs:{crs.replace(':', '::')}"}}} if crs else {}
    )
    path.write_text(json.dumps({"type": "FeatureCollection", **named, "features": features}))
    return path


def rectangle(first_column, first_row, last_column, last_row):
    """Corners of a rectangle of pixels, the last ones exclusive."""
    columns = [LEFT + PIXEL * column for column in (first_column, last_column)]
    rows = [TOP - PIXEL * row for row in (first_row, last_row)]
    return [[columns[0], rows[0]], [columns[1], rows[0]], [columns[1], rows[1]], [columns[0], rows[1]]]
