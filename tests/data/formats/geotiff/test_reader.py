"""What scenes and their masks become."""

import json

import numpy as np
import pytest
import rasterio
from rasterio.enums import Resampling
from rasterio.transform import Affine

from data.contract import IGNORE_LABEL
from data.decoding.arrays import decode_array
from data.decoding.notes import collecting
from data.decoding.tiff import MANY_OPACITIES, UNSAID_BAND
from data.formats.geotiff.masks import read_values
from data.formats.geotiff.reader import GeotiffReader
from tests.conftest import ROOT
from tests.data.formats.geotiff.rasters import (
    LEFT,
    PIXEL,
    TOP,
    noise,
    rectangle,
    write_geojson,
    write_raster,
    write_scene,
)

SENTINEL = ROOT.parent / "shared" / "data" / "sentinel2"


def reader_of(folder, **options):
    classes = {} if "labels" in options else {"classes": "a,b"}
    settings = {"window": 32, "gap": 0, "split_by": "west-east", "split": "train=1.0", **classes, **options}
    return GeotiffReader.model_validate({"folder": str(folder), **settings})


def everything(folder, **options):
    """All windows put together again: [h, w, bands] values and [h, w] class ids."""
    reader = reader_of(folder, **options)
    values = ids = None
    for source in reader.listing().sources:
        labeled = reader.read(source)
        path, row, column, height, width = json.loads(source.labels)
        if values is None:
            with rasterio.open(path) as raster:
                shape = raster.shape
            values, ids = np.zeros([*shape, 4]), np.full(shape, 99, np.uint8)
        values[row : row + height, column : column + width] = decode_array(labeled.image.encoded, 10**6)
        ids[row : row + height, column : column + width] = labeled.class_ids
    return values, ids


def test_windows_put_together_are_the_scene(tmp_path):
    image = noise(50, 70)
    mask = np.random.default_rng(0).integers(0, 2, [50, 70]).astype(np.uint8)
    write_scene(tmp_path, image=image, mask=mask)
    values, ids = everything(tmp_path)
    assert np.array_equal(values, image)
    assert np.array_equal(ids, mask)


def test_a_window_says_where_it_is_and_what_its_bands_are(tmp_path):
    write_scene(tmp_path, "may/a", height=40, width=40)
    listing = reader_of(tmp_path, overlap=8).listing()
    assert [source.source_id for source in listing.sources] == [
        f"may/a_r{row:05d}_c{column:05d}" for row in (0, 8) for column in (0, 8)
    ]
    scenes = listing.facts["scenes"]
    assert (scenes["window"], scenes["overlap"], scenes["gap"], scenes["crs"]) == (32, 8, 0, "EPSG:32633")


def test_no_data_of_scene_and_mask_is_ignored(tmp_path):
    image, mask = noise(32, 96), np.ones([32, 96], np.uint8)
    image[:, 32:] = 0
    image[:8, :8] = 0
    image[9:12, :8, 2] = 0  # Dark in one band.
    mask[20:, :4] = 7
    write_raster(tmp_path / "images" / "a.tif", image, nodata=0)
    write_raster(tmp_path / "masks" / "a.tif", mask, nodata=7)
    reader = reader_of(tmp_path)
    listing = reader.listing()
    assert len(listing.sources) == 1
    assert [entry.reason for entry in listing.ignored] == ["no pixel of it is labeled"] * 2
    ids = reader.read(listing.sources[0]).class_ids
    expected = np.ones([32, 32], np.uint8)
    expected[:8, :8] = expected[20:, :4] = IGNORE_LABEL
    assert np.array_equal(ids, expected)


def test_where_a_mask_has_no_data_may_be_a_class(tmp_path):
    write_scene(tmp_path, nodata=0)
    assert (everything(tmp_path)[1] == 0).sum() == 0
    _, ids = everything(tmp_path, transparent="a")
    assert (ids[:, :32] == 0).all()
    assert (ids[:, 32:] == 1).all()


def test_an_option_says_what_stands_for_no_data(tmp_path):
    image = noise(32, 32)
    image[0, 0], image[1, 1, 0] = 255, 255
    write_scene(tmp_path, image=image)
    reader = reader_of(tmp_path, nodata=255)
    ids = reader.read(reader.listing().sources[0]).class_ids
    assert np.argwhere(ids == IGNORE_LABEL).tolist() == [[0, 0]]


def test_what_is_without_data_in_8_bits_is_what_gdal_says(tmp_path):
    image = np.random.default_rng(0).integers(0, 3, [32, 32, 3]).astype(np.uint8)
    write_scene(tmp_path, image=image, mask=np.ones([32, 32], np.uint8))
    path = write_raster(tmp_path / "images" / "a.tif", image, photometric="RGB", nodata=0)
    reader = reader_of(tmp_path)
    with rasterio.open(path) as raster:
        is_valid = raster.dataset_mask() == 255
    assert 0 < np.count_nonzero(~is_valid) < np.count_nonzero((image == 0).any(axis=2))
    labeled = reader.read(reader.listing().sources[0])
    assert np.array_equal(labeled.class_ids != IGNORE_LABEL, is_valid)


def test_not_a_number_is_no_data(tmp_path):
    image = noise(32, 32).astype(np.float32)
    image[3, 4, 1], image[5, 6, 0] = np.nan, -9999
    write_scene(tmp_path, image=image, mask=np.zeros([32, 32], np.uint8))
    with rasterio.open(tmp_path / "images" / "a.tif", "r+") as raster:
        raster.nodata = -9999
    reader = reader_of(tmp_path)
    labeled = reader.read(reader.listing().sources[0])
    assert np.argwhere(labeled.class_ids == IGNORE_LABEL).tolist() == [[3, 4], [5, 6]]
    assert np.isnan(decode_array(labeled.image.encoded, 10**6)[5, 6, 0])


def test_an_alpha_band_is_none_of_the_bands(tmp_path):
    image = noise(32, 32, 4, np.uint8)
    image[..., 3] = 255
    image[:16, :, 3] = 0
    write_scene(tmp_path, image=image, mask=np.zeros([32, 32], np.uint8))
    write_raster(tmp_path / "images" / "a.tif", image, photometric="RGB", alpha="YES")
    reader = reader_of(tmp_path)
    labeled = reader.read(reader.listing().sources[0])
    assert labeled.image.format == "png"
    assert (labeled.class_ids[:16] == IGNORE_LABEL).all()
    assert (labeled.class_ids[16:] == 0).all()


@pytest.mark.parametrize(
    ("options", "names", "said"),
    [
        ({}, (), [MANY_OPACITIES]),  # GDAL calls the fourth band of 8 bits so.
        ({"photometric": "RGB"}, (), [UNSAID_BAND]),
        ({"photometric": "RGB"}, ("red", "green", "blue", "near infrared"), []),
        ({"photometric": "MINISBLACK"}, (), []),
    ],
)
def test_a_fourth_band_that_may_be_opacity_is_noted(tmp_path, options, names, said):
    image = noise(32, 32, 4, np.uint8)
    write_scene(tmp_path, image=image, mask=np.zeros([32, 32], np.uint8))
    write_raster(tmp_path / "images" / "a.tif", image, names=names, **options)
    reader = reader_of(tmp_path)
    with collecting("a") as notes:
        reader.read(reader.listing().sources[0])
    assert [kind for kind in (MANY_OPACITIES, UNSAID_BAND) if kind in notes.counts] == said


def test_ids_with_gaps_are_given_by_a_label_map(tmp_path):
    mask = np.array([[1, 8], [4, 0]], np.uint8).repeat(16, 0).repeat(16, 1)
    write_scene(tmp_path, image=noise(32, 32), mask=mask, nodata=0)
    labels = tmp_path / "labels.yaml"
    labels.write_text("- {name: a, value: 1}\n- {name: b, value: 4}\n- {name: c, value: 8}\n")
    _, ids = everything(tmp_path, labels=str(labels))
    assert ids[::16, ::16].tolist() == [[0, 2], [1, IGNORE_LABEL]]


def test_of_a_large_mask_pixels_are_taken_and_not_its_overviews(tmp_path, monkeypatch):
    mask = np.random.default_rng(0).choice([0, 4], [75, 90]).astype(np.uint8)
    path = write_raster(tmp_path / "a.tif", mask)
    with rasterio.open(path, "r+") as raster:
        raster.build_overviews([2, 4], Resampling.average)
    with rasterio.open(path) as raster:
        assert set(np.unique(raster.read(1, out_shape=(25, 30)))) > {0, 4}
    for at_once in (1, 1000, 10**6):
        monkeypatch.setattr("data.formats.geotiff.masks._READ_AT_ONCE", at_once)
        assert np.array_equal(read_values(str(path), 75 * 90 // 9).pixels, mask[::3, ::3])
        assert np.array_equal(read_values(str(path), 75 * 90).pixels, mask)


def test_a_value_of_no_class_sets_its_window_aside(tmp_path):
    mask = np.zeros([32, 64], np.uint8)
    mask[0, 40] = 9
    write_scene(tmp_path, image=noise(32, 64), mask=mask)
    reader = reader_of(tmp_path)
    first, second = reader.listing().sources
    reader.read(first)
    with pytest.raises(Exception, match="class id 9 at row 0, column 8 is not in the label map"):
        reader.read(second)


def test_a_mask_on_another_grid_is_warped_only_if_asked(tmp_path):
    coarse = np.repeat([[0, 1]], 12, 0).repeat(8, 1).astype(np.uint8)
    write_scene(tmp_path)
    # Of 20 m, over the left part of the scene, which has 64 columns of 10 m.
    write_raster(tmp_path / "masks" / "a.tif", coarse, pixel=20.0)
    listing = reader_of(tmp_path).listing()
    assert not listing.sources
    assert "EPSG:32633, pixels of 20" in listing.set_aside[0].reason
    assert "the scene is EPSG:32633, pixels of 10" in listing.set_aside[0].reason
    assert "--warp" in listing.set_aside[0].reason
    reader = reader_of(tmp_path, warp=True)
    ids = reader.read(reader.listing().sources[0]).class_ids
    assert (ids[:24, :16] == 0).all()
    assert (ids[:24, 16:32] == 1).all()
    assert (ids[24:] == IGNORE_LABEL).all()


def test_a_warped_mask_with_a_mask_in_its_file_says_where_nothing_is(tmp_path):
    write_scene(tmp_path)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        path = write_raster(tmp_path / "masks" / "a.tif", np.ones([12, 16], np.uint8), pixel=20.0)
        with rasterio.open(path, "r+") as raster:
            raster.write_mask(np.arange(16) * np.ones([12, 1]) >= 4)
    _, ids = everything(tmp_path, warp=True)
    assert (ids[:24, 8:32] == 1).all()
    assert (ids[:24, :8] == IGNORE_LABEL).all()
    assert (ids[24:, :32] == IGNORE_LABEL).all()


@pytest.mark.parametrize("scene_rises", [False, True])
def test_a_mask_that_is_stored_upside_down_is_on_another_grid(tmp_path, scene_rises):
    mask = np.random.default_rng(0).integers(0, 2, [48, 64]).astype(np.uint8)
    write_scene(tmp_path, mask=mask)
    path = tmp_path / ("images" if scene_rises else "masks") / "a.tif"
    with rasterio.open(path, "r+") as raster:
        raster.write(raster.read()[:, ::-1])
        raster.transform = Affine(PIXEL, 0, LEFT, 0, PIXEL, TOP - 48 * PIXEL)
    (entry,) = reader_of(tmp_path).listing().set_aside
    assert "from 500000, 4999520" in entry.reason
    assert "from 500000, 5000000" in entry.reason
    _, ids = everything(tmp_path, warp=True)
    assert np.array_equal(ids[::-1] if scene_rises else ids, mask)


def test_a_mask_in_another_crs_is_warped_to_the_scene(tmp_path):
    from rasterio.warp import calculate_default_transform, reproject

    write_scene(tmp_path, height=64, width=64)
    path = tmp_path / "masks" / "a.tif"
    with rasterio.open(path) as mask:
        transform, width, height = calculate_default_transform(mask.crs, "EPSG:4326", 64, 64, *mask.bounds)
        ids = mask.read(1)
        warped = np.full([height, width], IGNORE_LABEL, np.uint8)
        reproject(
            ids, warped, src_transform=mask.transform, src_crs=mask.crs, dst_transform=transform, dst_crs="EPSG:4326",
            resampling=Resampling.nearest, dst_nodata=IGNORE_LABEL,
        )  # fmt: skip
    settings = {"height": height, "width": width, "count": 1, "dtype": "uint8", "nodata": IGNORE_LABEL}
    with rasterio.open(path, "w", driver="GTiff", crs="EPSG:4326", transform=transform, **settings) as target:
        target.write(warped, 1)
    assert "EPSG:4326" in reader_of(tmp_path).listing().set_aside[0].reason
    _, back = everything(tmp_path, warp=True)
    is_known = back != IGNORE_LABEL
    assert is_known.mean() > 0.9
    assert np.mean(back[is_known] == ids[is_known]) > 0.97


def test_a_mask_without_coordinates_is_taken_if_it_has_the_size(tmp_path):
    mask = np.random.default_rng(1).integers(0, 2, [48, 64]).astype(np.uint8)
    write_scene(tmp_path)
    write_raster(tmp_path / "masks" / "a.tif", mask, crs=None)
    _, ids = everything(tmp_path)
    assert np.array_equal(ids, mask)
    write_raster(tmp_path / "masks" / "a.tif", mask[1:], crs=None)
    assert "both have a CRS" in reader_of(tmp_path, warp=True).listing().set_aside[0].reason


@pytest.mark.parametrize("form", ["geojson", "gpkg", "shp", "degrees"])
def test_polygons_are_burnt_in(tmp_path, form):
    import pyogrio.raw
    import shapely
    from rasterio.warp import transform

    write_scene(tmp_path)
    (tmp_path / "masks" / "a.tif").unlink()
    corners = [rectangle(4, 8, 40, 30), rectangle(30, 0, 50, 16)]
    if form in ("geojson", "degrees"):
        if form == "degrees":
            corners = [
                list(zip(*transform("EPSG:32633", "EPSG:4326", *zip(*ring, strict=True)), strict=True))
                for ring in corners
            ]
        crs = "EPSG:32633" if form == "geojson" else None
        write_geojson(tmp_path / "masks" / "a.geojson", corners, crs, kind=["house", "road"])
    else:
        shapes = np.array([shapely.to_wkb(shapely.Polygon(ring)) for ring in corners], object)
        pyogrio.raw.write(
            tmp_path / "masks" / f"a.{form}",
            geometry=shapes,
            field_data=[np.array(["house", "road"], object)],
            fields=["kind"],
            geometry_type="Polygon",
            crs="EPSG:32633",
        )
    _, ids = everything(tmp_path, classes="background,road,house", attribute="kind")
    expected = np.zeros([48, 64], np.uint8)
    expected[8:30, 4:40] = 2
    expected[:16, 30:50] = 1
    assert np.array_equal(ids, expected)


def test_one_file_may_have_the_polygons_of_all_scenes(tmp_path):
    write_scene(tmp_path, "a", height=32)
    write_scene(tmp_path, "b", height=32, left=LEFT + 64 * PIXEL)
    write_geojson(tmp_path / "roads.geojson", [rectangle(60, 10, 70, 20)])
    reader = reader_of(tmp_path, masks="roads.geojson", classes="background,road", split="train=0.5,test=0.5")
    counts = {"a": 0, "b": 0}
    for source in reader.listing().sources:
        counts[source.source_id[0]] += int((reader.read(source).class_ids == 1).sum())
    assert counts == {"a": 40, "b": 60}


def test_ground_of_no_polygon_is_ignored_without_a_background(tmp_path):
    write_scene(tmp_path)
    (tmp_path / "masks" / "a.tif").unlink()
    write_geojson(tmp_path / "masks" / "a.geojson", [rectangle(0, 0, 16, 16), rectangle(16, 0, 32, 16)], kind=[3, 7])
    labels = tmp_path / "labels.yaml"
    labels.write_text("- {name: a, value: 3}\n- {name: b, value: 7}\n")
    reader = reader_of(tmp_path, labels=str(labels), attribute="kind")
    (source,) = reader.listing().sources
    ids = reader.read(source).class_ids
    assert (ids[:16, :16] == 0).all()
    assert (ids[:16, 16:] == 1).all()
    assert (ids[16:] == IGNORE_LABEL).all()


def test_folders_of_scenes_are_recognized(tmp_path):
    write_scene(tmp_path, height=1100, width=40)
    found = GeotiffReader.recognize(str(tmp_path), ["images/a.tif", "masks/a.tif"])
    assert found is not None
    assert found.needs_labels
    assert not found.options
    assert "EPSG:32633" in found.reasons[0]


def test_small_scenes_get_small_windows(tmp_path):
    write_scene(tmp_path, height=300, width=200)
    found = GeotiffReader.recognize(str(tmp_path), ["images/a.tif", "masks/a.tif"])
    assert found is not None
    assert found.options == {"window": 64}
    assert "300" in found.assumptions[0]


@pytest.mark.parametrize("largest", [64, 1025])
def test_many_scenes_that_were_cut_before_get_windows_of_their_size(tmp_path, largest):
    for index in range(20):
        write_scene(tmp_path, f"{index:02d}", height=48, width=largest if index == 19 else 64)
    files = [f"{folder}/{index:02d}.tif" for folder in ("images", "masks") for index in range(20)]
    found = GeotiffReader.recognize(str(tmp_path), files)
    assert found is not None
    assert found.options == {"window": 48 if largest == 64 else 32}
    assert any("--format mask-folder" in said for said in found.assumptions) == (largest == 64)


def test_polygons_are_recognized_by_their_attribute(tmp_path):
    write_scene(tmp_path, height=1100, width=40)
    (tmp_path / "masks" / "a.tif").unlink()
    corners = [rectangle(0, 0, 9, 9), rectangle(9, 9, 20, 20)]
    write_geojson(tmp_path / "masks" / "a.geojson", corners, id=[1, 2], landcover=["wood", "lake"])
    found = GeotiffReader.recognize(str(tmp_path), ["images/a.tif", "masks/a.geojson"])
    assert found is not None
    assert not found.needs_labels
    assert found.options == {"attribute": "landcover", "classes": "background,lake,wood"}


def test_pictures_without_ground_are_left_to_other_formats(tmp_path):
    write_scene(tmp_path, crs=None)
    assert GeotiffReader.recognize(str(tmp_path), ["images/a.tif", "masks/a.tif"]) is None


@pytest.mark.skipif(not SENTINEL.is_dir(), reason="there are no shared data")
def test_five_dates_of_a_square_kilometer(tmp_path):
    labels = tmp_path / "labels.yaml"
    labels.write_text("".join(f"- {{name: class {value}, value: {value}}}\n" for value in (1, 2, 3, 4, 8)))
    reader = reader_of(
        SENTINEL, labels=str(labels), window=16, overlap=12, gap=4, split="train=0.5,eval=0.24,test=0.26"
    )
    listing = reader.listing()
    assert not listing.set_aside
    columns = {split: set() for split in ("train", "eval", "test")}
    for source in listing.sources:
        columns[source.split].add(int(source.source_id.rpartition("_c")[2]))
    assert max(columns["train"]) + 16 + 4 <= min(columns["eval"])
    assert max(columns["eval"]) + 16 + 4 <= min(columns["test"])
    source = listing.sources[0]
    labeled = reader.read(source)
    with rasterio.open(SENTINEL / "images" / "scene_0.tif") as raster:
        expected = raster.read(window=((0, 16), (0, 16))).transpose(1, 2, 0)
    assert np.array_equal(decode_array(labeled.image.encoded, 10**6), expected)
    found = GeotiffReader.recognize(str(SENTINEL), ["images/scene_0.tif", "masks/scene_0.tif"])
    assert found is not None
    assert found.options == {"window": 32}
