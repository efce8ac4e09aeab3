"""Predictions of scenes lie where the scenes do."""

import contextlib
import json
import pathlib

import numpy as np
import pytest
import rasterio

from data.formats.geotiff.scene import look_at_scene
from data.label_map import LabelMap
from data.writing.scenes import GEOPACKAGE_SIGNATURE, geopackage_software, scene_mask, write_polygons
from tests.data.formats.geotiff.rasters import LEFT, PIXEL, TOP, noise, write_raster

LABELS = LabelMap.model_validate(
    [
        {"id": 0, "name": "background", "color": [0, 0, 0]},
        {"id": 1, "name": "lake", "color": [0, 0, 250]},
        {"id": 2, "name": "wood", "color": [0, 200, 0]},
    ]
)


def written(folder, ids, rows=(100,)):
    """Writes class ids as the mask of a scene, so many rows at a time."""
    path = write_raster(folder / "scene.tif", noise(*ids.shape, 1))
    target, top = str(folder / "mask.tif"), 0
    with scene_mask(target, look_at_scene(str(path), 10**8), LABELS, "some program") as write:
        while top < len(ids):
            for count in rows:
                if len(ids[top : top + count]):
                    write(ids[top : top + count])
                top += count
    return target


@pytest.mark.parametrize("rows", [(100,), (1, 300), (256,), (700,)])
def test_a_mask_has_the_ground_of_its_scene(tmp_path, rows):
    ids = np.random.default_rng(0).choice([0, 1, 2, 255], [600, 300]).astype(np.uint8)
    target = written(tmp_path, ids, rows)
    with rasterio.open(target) as mask, rasterio.open(tmp_path / "scene.tif") as scene:
        assert np.array_equal(mask.read(1), ids)
        assert (mask.crs, mask.transform, mask.shape) == (scene.crs, scene.transform, scene.shape)
        assert mask.nodata == 255
        assert mask.colormap(1)[2] == (0, 200, 0, 255)
        assert mask.colormap(1)[255][3] == 0
        assert mask.profile["tiled"]
        assert mask.profile["compress"] == "deflate"
        assert json.loads(mask.tags()["CLASSES"]) == {"0": "background", "1": "lake", "2": "wood"}
    assert not list(tmp_path.glob("*.partial*"))


def test_each_tile_is_in_the_file_once(tmp_path):
    ids = np.random.default_rng(0).integers(0, 3, [512, 512]).astype(np.uint8)
    sizes = [pathlib.Path(written(tmp_path, ids, rows)).stat().st_size for rows in ((512,), (37,))]
    assert sizes[0] == sizes[1]


def test_half_a_mask_is_none(tmp_path):
    path = write_raster(tmp_path / "scene.tif", noise(100, 100, 1))
    scene = look_at_scene(str(path), 10**8)
    with contextlib.suppress(ZeroDivisionError), scene_mask(str(tmp_path / "mask.tif"), scene, LABELS, "") as write:
        write(np.zeros([50, 100], np.uint8))
        raise ZeroDivisionError
    assert [path.name for path in tmp_path.iterdir()] == ["scene.tif"]


def test_polygons_cover_the_pixels_of_their_class(tmp_path):
    import pyogrio.raw
    import rasterio.features
    import shapely

    ids = np.zeros([60, 80], np.uint8)
    ids[10:40, 20:50], ids[20:30, 30:40], ids[50:, :] = 1, 2, 255
    target, path = written(tmp_path, ids), str(tmp_path / "polygons.gpkg")
    write_polygons(target, path, LABELS, "some program")
    assert geopackage_software(path) == "some program"
    meta, _, geometries, (names, numbers) = pyogrio.raw.read(path)
    polygons = shapely.from_wkb(geometries)
    assert meta["crs"] == "EPSG:32633"
    assert dict(zip(names.tolist(), numbers.tolist(), strict=True)) == {"lake": 1, "wood": 2}
    assert {name: shape.area for name, shape in zip(names, polygons, strict=True)} == {"lake": 80_000, "wood": 10_000}
    wood = polygons[names.tolist().index("wood")]
    assert wood.bounds == (LEFT + 30 * PIXEL, TOP - 30 * PIXEL, LEFT + 40 * PIXEL, TOP - 20 * PIXEL)
    with rasterio.open(target) as mask:
        back = rasterio.features.rasterize(zip(polygons, numbers, strict=True), mask.shape, transform=mask.transform)
    assert np.array_equal(back, np.where(ids == 255, 0, ids))


def test_a_mask_of_background_alone_has_no_polygons(tmp_path):
    import pyogrio.raw

    path = str(tmp_path / "polygons.gpkg")
    for _ in range(2):
        write_polygons(written(tmp_path, np.zeros([20, 20], np.uint8)), path, LABELS, "some program")
    assert len(pyogrio.raw.read(path)[2]) == 0
    assert geopackage_software(path) == "some program"


def test_geopackages_of_others_and_other_files_say_no_program(tmp_path):
    import pyogrio.raw

    path = str(tmp_path / "a 100%?#.gpkg")
    pyogrio.raw.write(
        path, np.array([b"\1\1\0\0\0" + bytes(16)], object), [], [], geometry_type="Point", crs="EPSG:32633"
    )
    assert geopackage_software(path) == ""
    for content in (b"", GEOPACKAGE_SIGNATURE + bytes(2000), b"text"):
        pathlib.Path(path).write_bytes(content)
        assert geopackage_software(path) == ""
