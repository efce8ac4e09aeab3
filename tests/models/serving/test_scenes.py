"""Scenes are segmented window by window: without seams, on the same ground, and in bounded memory."""

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import rasterio

from data.decoding.arrays import decode_array
from data.formats.geotiff.scene import look_at_scene
from models.serving.inputs import find_inputs
from models.serving.loaded_model import WholeImage
from models.serving.predict import predict
from models.serving.scenes.windows import Sight, segment_scene
from tests.data.formats.geotiff.rasters import noise, write_raster

pytestmark = pytest.mark.one_line


def brightest(encoded, height, width):
    """The number of the band that is the brightest, but of a pixel at the edge of the window 3."""
    values = decode_array(encoded, 10**8)
    assert values.shape[:2] == (height, width)
    ids = np.full([height, width], 3, np.uint8)
    ids[1:-1, 1:-1] = np.nan_to_num(values[1:-1, 1:-1]).argmax(axis=-1)
    return WholeImage(ids, 0.75)


def segmented(path, sight, nodata=None):
    rows = []
    found = segment_scene(str(path), look_at_scene(str(path), 10**8), brightest, sight, nodata, rows.append)
    return np.concatenate(rows), found


@pytest.mark.parametrize("size", [(96, 150), (64, 64), (30, 200), (65, 67)])
def test_windows_leave_no_seams(tmp_path, size):
    image = noise(*size, 2)
    ids, found = segmented(write_raster(tmp_path / "a.tif", image), Sight(64, 48, (16, 12)))
    expected = image.argmax(axis=-1)
    expected[[0, -1]] = expected[:, [0, -1]] = 3
    assert np.array_equal(ids, expected)
    assert found.counts.sum() == ids.size
    assert found.confidence == 0.75


def test_where_the_scene_has_no_data_there_is_no_class(tmp_path):
    image = noise(100, 100, 2)
    image[:70, :70], image[90, 95], image[91, 95, 1] = 0, 0, 0
    ids, found = segmented(write_raster(tmp_path / "a.tif", image, nodata=0), Sight(32, 32, (8, 8)))
    assert np.array_equal(ids == 255, (image == 0).all(axis=-1))
    assert found.counts.sum() == np.count_nonzero(ids != 255)


def test_a_model_sees_its_own_value_for_no_data(tmp_path):
    seen = []

    def look(encoded, height, width):
        seen.append(decode_array(encoded, 10**6))
        return WholeImage(np.zeros([height, width], np.uint8), 1.0)

    image = noise(20, 20, 2)
    image[3, 4], image[3, 5, 1] = 7777, 7777
    path = write_raster(tmp_path / "a.tif", image, nodata=7777)
    segment_scene(str(path), look_at_scene(str(path), 10**8), look, Sight(32, 32, (8, 8)), 0, lambda rows: None)
    assert seen[0][3, 4].tolist() == [0, 0]
    assert seen[0][3, 5].tolist() == image[3, 5].tolist()
    assert np.count_nonzero(seen[0] == 0) == 2


def test_a_scene_becomes_a_raster_on_the_same_ground(tiled, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    image = noise(90, 130, 3, np.uint8)
    image[40:60, 50:70], image[10:20, 10:20, 1] = 0, 0
    write_raster("scenes/a.tif", image, nodata=0)
    (found,) = predict(str(tiled), find_inputs(["scenes"], "out").files, "out", polygons=True)
    assert (found.error, found.mask, found.polygons) == (None, "out/a_mask.tif", "out/a_polygons.gpkg")
    with rasterio.open(found.mask) as mask, rasterio.open("scenes/a.tif") as scene:
        assert (mask.crs, mask.transform, mask.shape) == (scene.crs, scene.transform, scene.shape)
        ids = mask.read(1)
    assert np.array_equal(ids == 255, (image == 0).all(axis=-1))
    assert set(np.unique(ids)) <= {0, 1, 2, 255}
    assert found.class_shares["cat"] == pytest.approx((ids == 1).sum() / (ids != 255).sum(), abs=1e-6)
    assert (found.height, found.width) == (90, 130)
    line = json.loads(pathlib.Path("out/predictions.jsonl").read_text())
    assert line["mask"] == "out/a_mask.tif"
    assert "overlay" not in line
    # The same again, and the results are no inputs, but may be replaced, also where their list is lost.
    pathlib.Path("out/predictions.jsonl").unlink()
    assert list(find_inputs(["."], "elsewhere").files) == ["./scenes/a.tif"]
    (again,) = predict(str(tiled), find_inputs(["scenes"], "out").files, "out", polygons=True)
    assert (again.error, again.polygons) == (None, "out/a_polygons.gpkg")


def test_a_small_scene_is_segmented_as_an_image_is(tiled, tmp_path, monkeypatch):
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    image = noise(90, 130, 3, np.uint8)
    write_raster("a.tif", image)
    Image.fromarray(image).save("b.png")
    scene, picture = predict(str(tiled), {"a.tif": "a", "b.png": "b"}, "out")
    with rasterio.open(scene.mask) as mask:
        assert np.array_equal(mask.read(1), np.asarray(Image.open(picture.mask)))


def test_scenes_that_cannot_be_used_do_not_stop_the_others(tiled, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_raster("a.tif", noise(40, 40, 3, np.uint8))
    broken = write_raster("b.tif", noise(400, 400, 3, np.uint8), compress="deflate", tiled=True)
    broken.write_bytes(broken.read_bytes()[:-20_000])
    outcomes = {one.image: one.error for one in predict(str(tiled), find_inputs(["*.tif"], "out").files, "out")}
    assert outcomes["a.tif"] is None
    assert "cut off" in outcomes["b.tif"]
    assert sorted(path.name for path in pathlib.Path("out").iterdir()) == ["a_mask.tif", "predictions.jsonl"]


def test_annotations_are_of_images(tiled, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_raster("a.tif", noise(40, 40, 3, np.uint8))
    (found,) = predict(str(tiled), {"a.tif": "a"}, "out", formats=["geojson"])
    assert "--polygons" in found.error


_MEASURE = """
import resource, sys
import numpy as np
from data.formats.geotiff.scene import look_at_scene
from models.serving.loaded_model import WholeImage
from data.label_map import LabelMap
from data.writing.scenes import scene_mask
from models.serving.scenes import windows

windows._CACHE_BYTES = 2**24

def segment(encoded, height, width):
    return WholeImage(np.ones([height, width], np.uint8), 1.0)

def peak(path):
    scene = look_at_scene(path, 10**8)
    with scene_mask(path + ".mask.tif", scene, LabelMap.from_names(["a", "b"]), "") as write:
        windows.segment_scene(path, scene, segment, windows.Sight(512, 512, (64, 64)), None, write)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

small, large = map(peak, sys.argv[1:])
print(large - small)
"""


def test_memory_does_not_grow_with_the_scene(tmp_path):
    small = write_raster(tmp_path / "small.tif", np.ones([512, 512, 3], np.uint8), tiled=True)
    # 108 MB of pixels, and 36 MB of class ids.
    settings = {"height": 6_000, "width": 6_000, "count": 3, "dtype": "uint8", "compress": "deflate", "tiled": True}
    with rasterio.open(tmp_path / "large.tif", "w", driver="GTiff", **settings) as target:
        for row in range(0, 6_000, 1_000):
            target.write(np.ones([3, 1_000, 6_000], np.uint8), window=((row, row + 1_000), (0, 6_000)))
    result = subprocess.run(
        [sys.executable, "-c", _MEASURE, str(small), str(tmp_path / "large.tif")], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) < 64 * 1024  # Kilobytes.
