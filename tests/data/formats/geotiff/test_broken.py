"""Scenes that cannot be used are set aside or refused, each in a sentence."""

import re
import struct

import numpy as np
import pytest
import rasterio

from data.decoding.errors import BadImageError
from data.formats.geotiff.reader import GeotiffReader
from data.formats.geotiff.scene import look_at_scene
from tests.data.formats.geotiff.rasters import noise, rectangle, write_geojson, write_raster, write_scene


def reasons(folder, **options):
    settings = {"window": 32, "gap": 0, "split_by": "west-east", "split": "train=1.0", "classes": "a,b", **options}
    listing = GeotiffReader.model_validate({"folder": str(folder), **settings}).listing()
    assert all("\n" not in entry.reason for entry in listing.set_aside)
    return [entry.reason for entry in listing.set_aside]


def test_bands_that_differ_between_scenes(tmp_path):
    for name in ("a", "b", "c"):
        write_scene(tmp_path, name)
    write_scene(tmp_path, "d", image=noise(48, 64, 3))
    (reason,) = reasons(tmp_path)
    assert reason.startswith("it has 3 bands of uint16, and most scenes, such as ")
    assert reason.endswith("a.tif, 4 of uint16")


def test_bands_in_another_order(tmp_path):
    for name in ("a", "b", "c"):
        write_scene(tmp_path, name)
        names = ("R", "G", "B", "N") if name != "c" else ("B", "G", "R", "N")
        write_raster(tmp_path / "images" / f"{name}.tif", noise(48, 64), names=names)
    (reason,) = reasons(tmp_path)
    assert reason.startswith("its bands are B, G, R, N, and those of most scenes, such as ")


@pytest.mark.parametrize("options", [{"compress": "deflate"}, {"compress": "lzw", "tiled": True}, {}])
def test_a_raster_that_is_cut_in_half(tmp_path, options):
    write_scene(tmp_path, "a")
    path = write_raster(tmp_path / "images" / "a.tif", noise(256, 256), **options)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    (reason,) = reasons(tmp_path)
    assert "cut off" in reason or "unreadable" in reason


def test_a_mask_that_is_cut_in_half(tmp_path):
    write_scene(tmp_path, height=256, width=256)
    mask = np.random.default_rng(0).integers(0, 2, [256, 256]).astype(np.uint8)
    path = write_raster(
        tmp_path / "masks" / "a.tif", mask, compress="deflate", tiled=True, blockxsize=64, blockysize=64
    )
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    (reason,) = reasons(tmp_path)
    assert reason.startswith("its mask: unreadable")


def claim(path, height, width):
    """Changes what the header of a TIFF says about its size."""
    content = bytearray(path.read_bytes())
    (directory,) = struct.unpack_from("<I", content, 4)
    (count,) = struct.unpack_from("<H", content, directory)
    for index in range(count):
        place = directory + 2 + 12 * index
        (tag,) = struct.unpack_from("<H", content, place)
        if tag in (256, 257, 278):
            struct.pack_into("<HHII", content, place, tag, 4, 1, width if tag == 256 else height)
    path.write_bytes(content)


def test_four_gigabytes_claimed_by_two_kilobytes(tmp_path):
    write_scene(tmp_path, height=16, width=16)
    path = write_raster(tmp_path / "images" / "a.tif", noise(16, 16, 1, np.uint8))
    claim(path, 65_000, 65_000)
    assert path.stat().st_size < 2048
    (reason,) = reasons(tmp_path)
    assert reason == (
        "its header claims 65000x65000 pixels in 1 bands, and a file of "
        f"{path.stat().st_size} bytes cannot hold a list of the blocks"
    )


def test_blocks_of_which_none_is_there(tmp_path):
    write_scene(tmp_path)
    path = tmp_path / "images" / "a.tif"
    settings = {"height": 20_000, "width": 20_000, "count": 4, "dtype": "uint16", "crs": "EPSG:32633"}
    with rasterio.open(
        path, "w", driver="GTiff", tiled=True, sparse_ok=True, blockxsize=4096, blockysize=4096, **settings
    ):
        pass
    with pytest.raises(BadImageError, match=r"20000x20000 pixels in 4 bands.* holds none of them"):
        look_at_scene(str(path), 10**8)


def test_blocks_too_large_to_be_decoded(tmp_path):
    path = write_raster(tmp_path / "a.tif", noise(64, 64), tiled=True, blockxsize=64, blockysize=64)
    with pytest.raises(BadImageError, match=r"blocks of 64x64 pixels.* --max-pixels is 1000"):
        look_at_scene(str(path), 1000)


def test_nothing_but_no_data(tmp_path):
    write_scene(tmp_path, image=np.full([48, 64, 2], np.nan, np.float32))
    listing = GeotiffReader.model_validate(
        {"folder": str(tmp_path), "window": 32, "classes": "a,b", "gap": 0, "split_by": "west-east", "split": "train=1"}
    ).listing()
    assert not listing.sources
    assert {entry.reason for entry in listing.ignored} == {"no pixel of it is labeled"}


def test_polygons_on_a_scene_that_lies_nowhere(tmp_path):
    write_scene(tmp_path, crs=None)
    (tmp_path / "masks" / "a.tif").unlink()
    write_geojson(tmp_path / "masks" / "a.geojson", [rectangle(0, 0, 9, 9)])
    (reason,) = reasons(tmp_path)
    assert reason.startswith("it has no CRS, so no polygon can be placed on it")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"attribute": "kind"}, "kind of a polygon in .* is 'barn', which is no class; there are a, b"),
        ({"attribute": "sort"}, "have no attribute sort; there are: kind"),
    ],
)
def test_polygons_of_no_class(tmp_path, options, says):
    write_scene(tmp_path)
    (tmp_path / "masks" / "a.tif").unlink()
    write_geojson(tmp_path / "masks" / "a.geojson", [rectangle(0, 0, 9, 9)], kind=["barn"])
    (reason,) = reasons(tmp_path, **options)
    assert re.search(says, reason)


def test_a_geojson_in_meters_that_does_not_say_so(tmp_path):
    write_scene(tmp_path)
    (tmp_path / "masks" / "a.tif").unlink()
    write_geojson(tmp_path / "masks" / "a.geojson", [rectangle(0, 0, 9, 9)], crs=None)
    (reason,) = reasons(tmp_path)
    assert "to which its coordinates do not belong" in reason


def test_a_scene_that_is_nowhere_near_the_others(tmp_path):
    write_scene(tmp_path, "a")
    write_scene(tmp_path, "b", crs="EPSG:4326", left=0.0, top=50_000.0)
    (reason,) = reasons(tmp_path)
    assert reason.startswith("it is EPSG:4326, pixels of 10,")
    assert reason.endswith("which is nowhere in EPSG:32633, that of the first scene")


@pytest.mark.parametrize("content", [b"", b"II*\0", b"not a raster", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_raster(tmp_path, content):
    write_scene(tmp_path)
    (tmp_path / "images" / "a.tif").write_bytes(content)
    (reason,) = reasons(tmp_path)
    assert reason.startswith("unreadable")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"overlap": 32}, "--overlap 32 has to be smaller than --window 32"),
        ({"block": 16}, "--block is for --split-by blocks"),
        ({"split_by": "east"}, "takes blocks, west-east, north-south, or a GeoJSON"),
    ],
)
def test_options_that_cannot_be(tmp_path, options, says):
    with pytest.raises(ValueError, match=says):
        reasons(tmp_path, **options)
