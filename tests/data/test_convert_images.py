"""Conversions whose images need a decision for the whole data set: how they are turned, and by which range scaled."""

import io
import json
import pathlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from data import contract
from data.base.errors import UserError
from data.convert import convert, remarks
from data.decoding.images import BadImageError, read_image
from data.formats import LabeledImage, Listing, Reader, Source
from data.formats.mask_folder import MaskFolderReader
from data.label_map import LabelMap
from data.spans import range_beside
from tests.data.decoding.files import png, tiff

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
            shape = np.asarray(Image.open(io.BytesIO(content))).shape[:2]
            mask = masks[index] if masks else GENERATOR.integers(0, 2, shape).astype(np.uint8)
            for kind in ("images", "masks"):
                (tmp_path / name / kind / split).mkdir(parents=True, exist_ok=True)
            (tmp_path / name / "images" / split / f"{index}.img.png").write_bytes(content)
            Image.fromarray(mask).save(tmp_path / name / "masks" / split / f"{index}.img.png")
        return tmp_path / name

    return make


def images(destination: pathlib.Path) -> list[np.ndarray]:
    """The pixels of all examples, by name."""
    found = {}
    for record in tf.data.TFRecordDataset(sorted(map(str, destination.glob("*.tfrecord")))):
        features = tf.train.Example.FromString(record.numpy()).features.feature
        content = features[contract.IMAGE].bytes_list.value[0]
        pixels = tf.io.decode_image(content, expand_animations=False).numpy().squeeze()
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
    found = [GENERATOR.integers(low, high + 1, (8, 9), np.uint16) for _ in range(count)]
    found[0][0, 0], found[1][0, 0] = low, high
    return found


def test_deep_images_are_scaled_by_the_range_of_the_data_set(folder, tmp_path):
    values = twelve_bits()
    contents = [png(pixels) if index % 2 else tiff(pixels) for index, pixels in enumerate(values)]
    report = convert(reader(folder(contents)), str(tmp_path / "out"))
    assert report["intensity_range"] == [300, 4000]
    assert json.loads((tmp_path / "out" / "conversion.json").read_text())["intensity_range"] == [300, 4000]
    assert remarks(report) == ["images of more than 8 bits: 6; 300 became black, 4000 white"]
    for pixels, original in zip(images(tmp_path / "out"), values, strict=True):
        np.testing.assert_array_equal(pixels, np.rint((original - 300.0) / 3700 * 255))


def test_values_below_256_in_16_bits_do_not_become_black(folder, tmp_path):
    values = twelve_bits(low=0, high=200)
    convert(reader(folder([png(pixels) for pixels in values])), str(tmp_path / "out"))
    assert all(len(np.unique(pixels)) > 40 for pixels in images(tmp_path / "out"))


def test_a_range_that_is_given_counts_and_dim_images_are_set_aside(folder, tmp_path):
    source = folder([png(pixels) for pixels in [*twelve_bits(9), *twelve_bits(3, 0, 30)]])
    report = convert(reader(source, intensity_range="0,4095"), str(tmp_path / "out"), max_set_aside=0.5)
    assert report["intensity_range"] == [0, 4095]
    assert len(report["set_aside"]) == 3
    assert "--intensity-range" in report["set_aside"][0]["reason"]
    with pytest.raises(ValueError, match="the lower one first"):
        reader(source, intensity_range="5,5")


def test_a_range_made_by_one_hot_pixel_is_doubtful(folder, tmp_path):
    dim = [np.arange(i, 4000 + i, 3, np.uint16)[:1320].reshape(40, 33) for i in range(6)]
    dim[2][5, 5] = 65535
    source = folder([png(pixels) for pixels in dim])
    with pytest.raises(
        UserError, match=r"6 of 6 images .*from 0 to 65535.*--intensity-range 0,65535 if it is this one"
    ):
        convert(reader(source), str(tmp_path / "out"))
    convert(reader(source, intensity_range="0,65535"), str(tmp_path / "as_it_is"))
    report = convert(reader(source, intensity_range="0,4100"), str(tmp_path / "narrower"))
    assert report["splits"]["train"]["examples"] == 2


def test_single_images_that_are_dim_are_no_reason_to_stop(folder, tmp_path):
    pixels = [np.arange(1320, dtype=np.uint16).reshape(40, 33) * step for step in (1, 8, 8, 9, 9, 9)]
    assert convert(reader(folder([png(one) for one in pixels])), str(tmp_path / "out"))["set_aside"] == []


def test_a_tiff_that_cannot_be_read_is_called_one():
    content = tiff(np.zeros((8, 8)))
    with pytest.raises(BadImageError, match=r"a TIFF of 64 bits a channel.* save it as PNG"):
        read_image(content, None, 10**6)


def test_deep_images_among_others_need_a_decision(folder, tmp_path):
    source = folder([png(pixels) for pixels in [*twelve_bits(3), *[SQUARE[..., 0]] * 3]])
    with pytest.raises(
        UserError, match=r"1\.img\.png has more than 8 bits .*4\.img\.png has 8.* --intensity-range 300,4000"
    ):
        convert(reader(source), str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()
    convert(reader(source, intensity_range="300,4000"), str(tmp_path / "out"))
    np.testing.assert_array_equal(images(tmp_path / "out")[5], SQUARE[..., 0])


def test_spans_are_scaled_alike(folder, tmp_path):
    pattern = str(tmp_path / "spans" / "{SPAN}")
    deep, more = (
        folder([png(pixels) for pixels in twelve_bits()]),
        folder([png(p) for p in twelve_bits(3, 0, 4095)], name="b"),
    )
    shallow = folder([png(SQUARE)] * 3, name="c")
    (tmp_path / "spans").mkdir()
    convert(reader(deep), str(tmp_path / "spans" / "1"))
    assert range_beside(pattern, 1, None) is None
    beside = range_beside(pattern, 2, None)
    assert beside == range_beside(pattern, 2, (300, 4000)) == (300, 4000)
    with pytest.raises(UserError, match=r"spans/1 was converted with --intensity-range 300,4000"):
        range_beside(pattern, 2, (0, 4095))
    added = convert(reader(more), str(tmp_path / "spans" / "2"), is_addition=True, range_beside=beside)
    assert added["intensity_range"] == [300, 4000]
    with pytest.raises(UserError, match=r"has 8 bits, and the spans beside had more.* --intensity-range 300,4000"):
        convert(reader(shallow), str(tmp_path / "spans" / "3"), is_addition=True, range_beside=beside)
    with pytest.raises(UserError, match="the spans beside have 8"):
        convert(reader(more), str(tmp_path / "other"), is_addition=True)


class Plain(Reader):
    """A format that knows nothing of deep images."""

    folder: str

    @property
    def label_map(self):
        return LABELS

    def listing(self):
        return Listing([Source(split, split, split, split) for split in contract.SPLITS])

    def read(self, source):
        if source.split == "test":
            raise KeyError("a mistake in a reader")
        return LabeledImage(read_image(png(DEEP), (9, 8), 100), np.zeros((8, 9), np.uint8))


DEEP = twelve_bits()[0]


def test_a_format_without_the_option_never_cuts_bits_off(tmp_path):
    with pytest.raises(UserError, match="Plain reads images of more than 8 bits, but has no option intensity_range"):
        convert(Plain(folder="x"), str(tmp_path / "out"), max_set_aside=0.9)


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
