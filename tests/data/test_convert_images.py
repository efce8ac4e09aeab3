"""Conversions that need to know all images: how they are turned, and whether they are of one kind."""

import io
import json
import pathlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, UnidentifiedImageError

from data import contract
from data.base.errors import UserError
from data.convert import convert
from data.decoding.images import stored_values
from data.formats.mask_folder import MaskFolderReader
from data.label_map import LabelMap
from data.remarks import remarks
from data.spans import converted_beside
from tests.data.decoding.files import png, tiff
from tests.data.decoding.test_kinds_of_images import geotiff

LABELS = LabelMap.from_names(["ground", "thing"])
GENERATOR = np.random.default_rng(0)


def turned_jpeg(pixels: np.ndarray, value: int) -> bytes:
    buffer, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = value
    Image.fromarray(pixels).save(buffer, "JPEG", exif=exif, quality=95)
    return buffer.getvalue()


@pytest.fixture
def folder(tmp_path: pathlib.Path):
    """Makes a data set: `folder(files, masks)`, each a list of contents, in splits of their own."""

    def make(files: list[bytes], masks: list[np.ndarray] | None = None, name: str = "in") -> pathlib.Path:
        for index, content in enumerate(files):
            split = contract.SPLITS[index % 3]
            shape = np.asarray(Image.open(io.BytesIO(content))).shape[:2] if is_picture(content) else (8, 9)
            mask = masks[index] if masks else GENERATOR.integers(0, 2, shape).astype(np.uint8)
            for kind in ("images", "masks"):
                (tmp_path / name / kind / split).mkdir(parents=True, exist_ok=True)
            (tmp_path / name / "images" / split / f"{index}.img.png").write_bytes(content)
            Image.fromarray(mask).save(tmp_path / name / "masks" / split / f"{index}.img.png")
        return tmp_path / name

    return make


def is_picture(content: bytes) -> bool:
    """Whether Pillow opens it."""
    try:
        Image.open(io.BytesIO(content))
    except UnidentifiedImageError:
        return False
    return True


def images(destination: pathlib.Path) -> list[np.ndarray]:
    """The pixels of all examples, by name."""
    found = {}
    for record in tf.data.TFRecordDataset(sorted(map(str, destination.glob("*.tfrecord")))):
        features = tf.train.Example.FromString(record.numpy()).features.feature
        content = features[contract.IMAGE].bytes_list.value[0]
        pixels = stored_values(content).squeeze()
        found[features[contract.SOURCE_ID].bytes_list.value[0].decode().rpartition("/")[2]] = pixels
    return [found[name] for name in sorted(found)]


def reader(folder: pathlib.Path, **options) -> MaskFolderReader:
    return MaskFolderReader(folder=str(folder), labels=LABELS, **options)


SQUARE = GENERATOR.integers(0, 256, (8, 8, 3), np.uint8)


@pytest.mark.parametrize(("option", "value"), [(None, 6), ("upright", 6), ("stored", 6), (None, 3), ("stored", 2)])
def test_where_a_mask_fits_both_ways_the_option_decides_and_is_counted(folder, tmp_path, option, value):
    source = folder([turned_jpeg(SQUARE, value)] * 2 + [png(SQUARE)])
    options = {} if option is None else {"orientation": option}
    report = convert(reader(source, **options), str(tmp_path / "out"))
    kind = "orientation_assumed_upright" if option is None else f"orientation_chosen_{option}"
    assert report["notes"]["counts"][kind] == 2
    assert any("fits both ways: 2" in line for line in remarks(report))
    stored = tf.io.decode_jpeg(turned_jpeg(SQUARE, 1)).numpy()
    upright = {6: np.rot90(stored, -1), 3: stored[::-1, ::-1], 2: stored[:, ::-1]}[value]
    for pixels in images(tmp_path / "out")[:2]:
        np.testing.assert_array_equal(pixels, stored if option == "stored" else upright)


def test_masks_that_fit_only_as_stored_contradict_the_default(folder, tmp_path):
    wide, square = GENERATOR.integers(0, 256, (6, 9, 3), np.uint8), SQUARE
    contents = [turned_jpeg(wide, 6), turned_jpeg(square, 6), turned_jpeg(square, 1)]
    masks = [np.zeros(pixels.shape[:2], np.uint8) for pixels in (wide, square, square)]
    source = folder(contents, masks)
    with pytest.raises(UserError, match=r"0\.img\.png turns it, .*1\.img\.png.*--orientation stored"):
        convert(reader(source), str(tmp_path / "out"))
    for option in ("upright", "stored"):
        report = convert(reader(source, orientation=option), str(tmp_path / option))
        assert report["notes"]["counts"]["orientation_only_stored_fits"] == 1
        assert images(tmp_path / option)[0].shape == (6, 9, 3)


def twelve_bits(count: int = 6, low: int = 300, high: int = 4000) -> list[np.ndarray]:
    return [GENERATOR.integers(low, high + 1, (8, 9), np.uint16) for _ in range(count)]


def bands_of(count: int = 3, bands: int = 13, dtype=np.uint16) -> list[np.ndarray]:
    return [GENERATOR.integers(1, 5000, (8, 9, bands)).astype(dtype) for _ in range(count)]


def image_facts(folder: pathlib.Path) -> dict:
    return json.loads((folder / "conversion.json").read_text())["image"]


def test_deep_images_keep_their_values(folder, tmp_path):
    values = twelve_bits()
    contents = [png(pixels) if index % 2 else tiff(pixels) for index, pixels in enumerate(values)]
    report = convert(reader(folder(contents)), str(tmp_path / "out"))
    assert report["image"] == image_facts(tmp_path / "out") == {"type": "uint16", "bands": 1}
    assert remarks(report) == ["images: 1 band of uint16"]
    for pixels, original in zip(images(tmp_path / "out"), values, strict=True):
        np.testing.assert_array_equal(pixels, original)


def test_usual_images_need_no_remark(folder, tmp_path):
    report = convert(reader(folder([png(SQUARE), png(SQUARE[..., 0]), png(SQUARE)])), str(tmp_path / "out"))
    assert report["image"] == {"type": "uint8", "bands": 3}
    assert remarks(report) == []


def test_any_number_of_bands_and_what_has_no_data(folder, tmp_path):
    values = bands_of()
    values[1][2, 3], values[1][3, 4, 5] = 0, 0  # The latter is dark in one band.
    source = folder([geotiff(pixels) for pixels in values])
    report = convert(reader(source, nodata=0), str(tmp_path / "out"))
    assert report["image"] == {"type": "uint16", "bands": 13, "nodata": 0}
    assert remarks(report) == ["images: 13 bands of uint16, 0 for no data"]
    assert report["splits"]["eval"]["ignored_pixel_share"] == pytest.approx(1 / 72, abs=1e-6)
    for pixels, original in zip(images(tmp_path / "out"), values, strict=True):
        np.testing.assert_array_equal(pixels, original)
    floats = [pixels.astype(np.float32) / 7 for pixels in values]
    floats[0][0, 0, 0] = np.nan
    report = convert(reader(folder([geotiff(pixels) for pixels in floats], name="f")), str(tmp_path / "floats"))
    assert report["image"] == {"type": "float32", "bands": 13}
    assert report["splits"]["train"]["ignored_pixel_share"] == pytest.approx(1 / 72, abs=1e-6)
    np.testing.assert_array_equal(images(tmp_path / "floats")[0], floats[0])


@pytest.mark.parametrize(
    ("odd", "message"),
    [
        (png(SQUARE[..., 0]), r"1\.img\.png has values of uint16, and .*5\.img\.png of uint8"),
        (tiff(np.zeros((8, 9), np.float32)), r"1\.img\.png has values of uint16, and .*5\.img\.png of float32"),
        (png(np.zeros((8, 9, 3), np.uint16)), r"1\.img\.png has 1 band, and .*5\.img\.png has 3 bands"),
        (geotiff(bands_of(1, 4)[0]), r"1\.img\.png has 1 band, and .*5\.img\.png has 4 bands"),
        (
            geotiff(twelve_bits(1)[0][..., np.newaxis], nodata=7),
            r"1\.img\.png says nothing .*, and .*5\.img\.png says that 7 .* --nodata 7",
        ),
    ],
    ids=["8 bits", "floats", "colors", "bands", "no data"],
)
def test_images_of_two_kinds_are_refused(folder, tmp_path, odd, message):
    source = folder([*map(png, twelve_bits(5)), odd])
    with pytest.raises(UserError, match=message):
        convert(reader(source), str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_file_without_data_is_set_aside(folder, tmp_path):
    contents = [tiff(pixels.astype(np.float32)) for pixels in twelve_bits(12)]
    source = folder([*contents, tiff(np.full((8, 9), np.nan, np.float32))])
    report = convert(reader(source), str(tmp_path / "out"), max_set_aside=0.1)
    assert [entry["reason"].partition(":")[0] for entry in report["set_aside"]] == ["it has no pixel with data"]


def test_spans_have_images_of_one_kind(folder, tmp_path):
    pattern = str(tmp_path / "spans" / "{SPAN}")
    deep, more = folder(list(map(png, twelve_bits()))), folder(list(map(png, twelve_bits(3, 0, 4095))), name="b")
    shallow = folder([png(SQUARE)] * 3, name="c")
    (tmp_path / "spans").mkdir()
    convert(reader(deep), str(tmp_path / "spans" / "1"))
    assert converted_beside(pattern, 1) == ""
    beside = converted_beside(pattern, 2)
    assert beside == str(tmp_path / "spans" / "1")
    convert(reader(more), str(tmp_path / "spans" / "2"), is_addition=True, beside=beside)
    with pytest.raises(UserError, match=r"have 3 bands of uint8, and those in .*spans/1 have 1 band of uint16"):
        convert(reader(shallow), str(tmp_path / "spans" / "3"), is_addition=True, beside=beside)


def test_any_error_of_one_pair_is_its_reason(folder, tmp_path):
    source = folder([png(SQUARE)] * 12)

    class Failing(MaskFolderReader):
        def read(self, source):
            if source.image.endswith("/1.img.png"):
                raise MemoryError
            if source.image.endswith("/2.img.png"):
                raise KeyError(3)
            return super().read(source)

    report = convert(Failing(folder=str(source), labels=LABELS), str(tmp_path / "out"), max_set_aside=0.5)
    reasons = {entry["reason"] for entry in report["set_aside"]}
    assert reasons == {"cannot be read: KeyError 3", "cannot be read: MemoryError"}
