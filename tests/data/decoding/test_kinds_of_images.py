"""Files that are odd but good are read, as TensorFlow will read them; damaged ones are named by their fault."""

import contextlib
import io
import re
import warnings
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from rasterio.io import MemoryFile

from data.decoding.arrays import decode_array
from data.decoding.images import BadImageError, read_image, upright_size
from data.decoding.notes import Notes, collecting
from data.remarks import remarks
from tests.data.decoding.files import chunk, png, tiff

LIMIT = 10_000
GENERATOR = np.random.default_rng(0)
COLORS = GENERATOR.integers(0, 256, (5, 7, 3), np.uint8)
GRAY = COLORS[..., 0]
DEEP = GENERATOR.integers(0, 4096, (5, 7), np.uint16)
DEEP_COLORS = GENERATOR.integers(0, 65536, (5, 7, 3), np.uint16)
# An orientation beside a tag of a wrong type; and a block without a header.
EXIF = b"MM\0*\0\0\0\x08\0\x02\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\x01\x1a\0\x02\0\0\0\x01\xff\0\0\0\0\0\0\0"
NO_HEADER = b"no header of a TIFF"


def pixels(image) -> np.ndarray:
    """What an image holds as it is stored, without a dimension of one band."""
    if image.format == "npy":
        return decode_array(image.encoded, LIMIT).squeeze()
    if image.format == "png" and image.encoded[24] == 16:
        return tf.io.decode_png(image.encoded, dtype=tf.uint16).numpy().squeeze()
    return tf.io.decode_image(image.encoded, expand_animations=False).numpy().squeeze()


def geotiff(values: np.ndarray, **options) -> bytes:
    """[h, w, bands] as GDAL writes them."""
    size = {"height": values.shape[0], "width": values.shape[1], "count": values.shape[2], "dtype": values.dtype}
    with MemoryFile() as file:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # It lies nowhere on the earth.
            with file.open(driver="GTiff", **size, **options) as raster:
                raster.write(np.moveaxis(values, -1, 0))
        return file.read()


def saved(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "extra",
    [
        chunk(b"tEXt", b"a\0b", checksum=5),
        chunk(b"tEXt", b"a\0" + b"b" * 3_000_000),
        chunk(b"zTXt", b"a\0\0" + zlib.compress(b"b" * 100_000_000)),
        chunk(b"iTXt", b"a\0\1\0\0\0" + zlib.compress(b"b" * 100_000_000)),
        chunk(b"iCCP", b"a\0\0junk"),
        chunk(b"eXIf", NO_HEADER),
        chunk(b"acTL", bytes([0, 0, 0, 2, 0, 0, 0, 0])),
        chunk(b"pHYs", b"short"),
    ],
    ids=lambda extra: extra[4:8].decode() + str(len(extra)),
)
def test_what_a_png_holds_beside_its_pixels_does_not_matter(extra):
    for content in (png(COLORS, before=extra), png(COLORS, after=extra)):
        image = read_image(content, (7, 5), LIMIT)
        assert image.encoded == content
        np.testing.assert_array_equal(pixels(image), COLORS)
        assert upright_size(content) == (5, 7)


def test_a_png_with_damaged_pixels_is_set_aside():
    for content in (
        png(COLORS, pixels_checksum=5),
        png(COLORS, before=chunk(b"PLTE", bytes(9), checksum=5)),
        png(COLORS)[:60],
        png(COLORS).replace(b"IDAT", b"ABCD"),
    ):
        with pytest.raises(BadImageError, match=r"unreadable|damaged"):
            read_image(content, (7, 5), LIMIT)


def test_a_png_whose_last_bytes_alone_are_missing_is_read():
    image = read_image(png(COLORS)[:-12], (7, 5), LIMIT)
    np.testing.assert_array_equal(pixels(image), COLORS)


@pytest.mark.parametrize(("block", "size"), [(EXIF, (7, 5)), (NO_HEADER, (5, 7)), (b"", (5, 7)), (EXIF[:20], (5, 7))])
def test_odd_exif_in_a_jpeg_is_no_obstacle(block, size):
    content = saved(Image.fromarray(COLORS), "JPEG", exif=b"Exif\0\0" + block)
    image = read_image(content, None, LIMIT)
    assert (image.height, image.width) == size == upright_size(content)
    assert (image.encoded == content) == (block != EXIF)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("value", range(1, 9))
def test_other_formats_are_turned_upright_too(kind, value):
    exif = Image.Exif()
    exif[0x0112] = value
    options = {"lossless": True} if kind == "WEBP" else {}
    content = saved(Image.fromarray(COLORS), kind, exif=exif, **options)
    # Columns and rows change places from 5 on.
    expected = np.swapaxes(COLORS, 0, 1) if value >= 5 else COLORS
    expected = expected[:, ::-1] if value in (2, 3, 6, 7) else expected
    expected = expected[::-1] if value in (3, 4, 7, 8) else expected
    np.testing.assert_array_equal(pixels(read_image(content, None, LIMIT)), expected)
    if value >= 5:
        np.testing.assert_array_equal(pixels(read_image(content, (7, 5), LIMIT)), COLORS)
    else:
        np.testing.assert_array_equal(pixels(read_image(content, (7, 5), LIMIT, "stored")), COLORS)


MODES = ["1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV"]


def of_all_modes():
    """Files of each mode, in each format that Pillow writes it in and reads again."""
    for kind in ("PNG", "TIFF", "GIF", "JPEG", "BMP", "WEBP"):
        for mode in MODES:
            image = Image.fromarray(COLORS)
            for step in {"La": ["LA", "La"], "RGBa": ["RGBA", "RGBa"], "PA": ["P", "PA"]}.get(mode, [mode]):
                image = image.convert(step)
            with contextlib.suppress(OSError, ValueError, KeyError):
                content = saved(image, kind)
                Image.open(io.BytesIO(content)).load()
                yield pytest.param(kind, mode, content, id=f"{kind}-{mode}")


@pytest.mark.parametrize(("kind", "mode", "content"), of_all_modes())
def test_all_modes_that_pillow_writes_are_read(kind, mode, content):
    found = read_image(content, (7, 5), LIMIT)
    assert pixels(found).shape[:2] == (5, 7)
    if (kind, mode) == ("TIFF", "RGBX"):  # A fourth band of which it does not say that it is alpha.
        np.testing.assert_array_equal(pixels(found)[..., :3], COLORS)
        assert (found.format, pixels(found).shape[2]) == ("npy", 4)
    elif kind in ("PNG", "TIFF") and mode in ("RGB", "RGBA"):
        np.testing.assert_array_equal(pixels(found), COLORS)


def test_zero_is_white_where_the_file_says_so():
    for kind in ("L", "1"):
        image = Image.fromarray(GRAY).convert(kind)
        content = saved(image, "TIFF", tiffinfo={262: 0})
        np.testing.assert_array_equal(pixels(read_image(content, (7, 5), LIMIT)), np.asarray(image.convert("L")))
    np.testing.assert_array_equal(pixels(read_image(tiff(DEEP, t262=0), (7, 5), LIMIT)), 65535 - DEEP)
    signed = DEEP.astype(np.int16)
    np.testing.assert_array_equal(pixels(read_image(tiff(signed, t262=0), (7, 5), LIMIT)), -signed.astype(float))


def test_several_images_in_one_file_are_refused_but_thumbnails_are_not():
    first, second = Image.fromarray(COLORS), Image.fromarray(COLORS[::-1])
    for kind in ("TIFF", "GIF", "WEBP"):
        content = saved(first, kind, save_all=True, append_images=[second])
        with pytest.raises(BadImageError, match="several images"):
            read_image(content, (7, 5), LIMIT)
    content = saved(first, "TIFF", save_all=True, append_images=[second.resize((3, 2))])
    np.testing.assert_array_equal(pixels(read_image(content, (7, 5), LIMIT)), COLORS)


DEEP_FILES = {
    "png": (png(DEEP), DEEP),
    "png, colors": (png(DEEP_COLORS), DEEP_COLORS),
    "png, alpha": (png(np.dstack([DEEP_COLORS, DEEP])), DEEP_COLORS),
    "png, gray and alpha": (png(np.dstack([DEEP, DEEP])), DEEP),
    "int8": (tiff(GRAY.view(np.int8)), GRAY.view(np.int8)),
    **{
        f"{name} {order} {deflate}": (tiff(values, order, deflate), values[..., :3] if values.ndim == 3 else values)
        for order in "<>"
        for deflate in (False, True)
        for name, values in {
            "uint16": DEEP,
            "colors": DEEP_COLORS,
            "colors, alpha": np.dstack([DEEP_COLORS, DEEP]),
            "int16": DEEP.astype(np.int16) - 2000,
            "int32": DEEP.astype(np.int32) * 100_000 - 5,
            "float32": DEEP.astype(np.float32) / 4096,
        }.items()
    },
    "uint32": (tiff(DEEP.astype(np.uint32) * 1_000_000), DEEP.astype(np.uint32) * 1_000_000),
}


@pytest.mark.parametrize("name", DEEP_FILES)
def test_all_bits_of_deep_images_are_kept(name):
    content, values = DEEP_FILES[name]
    with collecting("x") as notes:
        image = read_image(content, (7, 5), LIMIT)
    found = pixels(image)
    np.testing.assert_array_equal(found, values)
    bands = 1 if values.ndim == 2 else values.shape[2]
    assert {f"image_type {found.dtype.name}", f"image_bands {bands}"} <= notes.counts.keys()
    is_picture = found.dtype == np.uint16 and bands in (1, 3)
    assert image.format == ("png" if is_picture else "npy")
    if name in ("png", "png, colors"):
        assert image.encoded == content
    # What is stored is read again, as from TFRecords.
    again = read_image(image.encoded, (7, 5), LIMIT)
    np.testing.assert_array_equal(pixels(again), found)


def test_what_has_no_data():
    values = DEEP.astype(np.float32)
    values[2, 3] = np.nan
    image = read_image(tiff(values), (7, 5), LIMIT)
    assert np.argwhere(image.no_data).tolist() == [[2, 3]]
    with pytest.raises(BadImageError, match="no pixel with data"):
        read_image(tiff(np.full_like(values, np.nan)), (7, 5), LIMIT)
    # Said by the file, by the user, and by the user against the file.
    content = geotiff(np.dstack([DEEP] * 4), nodata=int(DEEP[1, 1]))
    for nodata, value in ((None, DEEP[1, 1]), (int(DEEP[0, 0]), DEEP[0, 0])):
        with collecting("x") as notes:
            image = read_image(content, (7, 5), LIMIT, nodata=nodata)
        np.testing.assert_array_equal(image.no_data, value == DEEP)
        assert f"image_nodata {value}" in notes.counts
    image = read_image(png(GRAY), (7, 5), LIMIT, nodata=int(GRAY[0, 0]))
    assert image.encoded == png(GRAY)
    np.testing.assert_array_equal(image.no_data, GRAY[0, 0] == GRAY)
    dark = COLORS.copy()
    dark[0, 0], dark[1, 1, 0] = 0, 0
    image = read_image(geotiff(dark, nodata=0), (7, 5), LIMIT)
    assert np.argwhere(image.no_data).tolist() == [[0, 0]]


@pytest.mark.parametrize(
    ("bands", "options", "said"),
    [
        (
            np.dstack([COLORS, GRAY]),
            {"photometric": "RGB"},
            "2 images, such as a.tif, have a fourth band .* not say",
        ),
        # GDAL's default for four bands of 8 bits.
        (np.dstack([COLORS, GRAY]), {}, "2 images, such as a.tif, say that a band is opacity .* near infrared"),
        (np.dstack([COLORS, np.where(GRAY > 99, 255, 0).astype(np.uint8)]), {}, None),
        (np.dstack([COLORS, GRAY]), {"photometric": "MINISBLACK"}, None),
        (COLORS, {}, None),
    ],
)
def test_what_is_a_band_and_what_opacity_is_said_where_it_is_in_doubt(bands, options, said):
    notes = Notes()
    for name in ("b.tif", "a.tif"):
        with collecting(name) as noted:
            read_image(geotiff(bands, **options), (7, 5), LIMIT)
        notes.add(noted)
    lines = remarks({"splits": {}, "notes": notes.to_json()})
    assert len(lines) == bool(said)
    assert not said or re.match(said, lines[0])


@pytest.mark.parametrize("compress", ["none", "lzw", "deflate", "zstd"])
@pytest.mark.parametrize("interleave", ["pixel", "band"])
def test_any_number_of_bands_in_a_tiff(compress, interleave):
    values = GENERATOR.integers(0, 12_000, (40, 30, 13), np.uint16)
    content = geotiff(values, compress=compress, interleave=interleave)
    image = read_image(content, (30, 40), LIMIT)
    np.testing.assert_array_equal(decode_array(image.encoded, 40 * 30 * 13), values)
    for broken in (content[: len(content) // 2], content[:100]):
        with pytest.raises(BadImageError) as error:
            read_image(broken, (30, 40), LIMIT)
        assert "\n" not in str(error.value)
    with pytest.raises(BadImageError, match="30x40 pixels of 13 bands are more values than the limit"):
        read_image(content, (30, 40), 2000)


def test_a_tiff_that_claims_more_than_it_has_is_refused():
    content = bytearray(tiff(DEEP))
    for tag in (b"\x00\x01\x04\x00", b"\x01\x01\x04\x00"):
        place = content.find(tag)
        content[place + 8 : place + 12] = (32768).to_bytes(4, "little")
    with pytest.raises(BadImageError, match="32768x32768 pixels are more than the limit"):
        read_image(bytes(content), None, LIMIT)
    with pytest.raises(BadImageError):
        read_image(bytes(content), None, 2**31)


def test_pages_of_many_bits_are_refused():
    images = [Image.fromarray(DEEP), Image.fromarray(DEEP[::-1])]
    with pytest.raises(BadImageError, match="several images"):
        read_image(saved(images[0], "TIFF", save_all=True, append_images=images[1:]), (7, 5), LIMIT)


def test_colors_whose_bits_are_cut_off_or_mean_something_else_are_refused():
    ppm = b"P6 7 5 65535\n" + DEEP_COLORS.astype(">u2").tobytes()
    inks = tiff(np.dstack([DEEP_COLORS, DEEP]), t262=5, t338=0)
    multiplied = tiff(np.dstack([DEEP_COLORS, DEEP]), t338=1)
    for content in (ppm, inks, multiplied):
        with pytest.raises(BadImageError, match=r"save it as a PNG|CMYK of more than 8 bits|multiplied by alpha"):
            read_image(content, (7, 5), LIMIT)
    gray = b"P5 7 5 65535\n" + DEEP.astype(">u2").tobytes()
    np.testing.assert_array_equal(pixels(read_image(gray, (7, 5), LIMIT)), DEEP)


def test_any_file_is_read_or_named():
    good = [png(COLORS), png(DEEP), tiff(DEEP_COLORS, deflate=True), saved(Image.fromarray(COLORS), "JPEG"), tiff(DEEP)]
    good += [saved(Image.fromarray(COLORS), kind) for kind in ("GIF", "WEBP", "BMP")]
    outcomes = set()
    for content in good:
        for _ in range(60):
            broken = bytearray(content)
            for _ in range(GENERATOR.integers(1, 4)):
                broken[GENERATOR.integers(len(broken))] = GENERATOR.integers(256)
            broken = bytes(broken[: GENERATOR.integers(len(broken))] if GENERATOR.random() < 0.2 else broken)
            try:
                image = read_image(broken, None, LIMIT)
            except BadImageError as error:
                outcomes.add("refused" if "\n" not in str(error) else "several lines")
            else:
                outcomes.add("read")
                assert pixels(image).shape[:2] == (image.height, image.width)
    assert outcomes == {"read", "refused"}


def test_a_jpeg_in_cmyk_is_decoded_as_the_model_decodes_it_or_refused():
    content = saved(Image.fromarray(COLORS).convert("CMYK"), "JPEG", quality=95)
    found = pixels(read_image(content, (7, 5), LIMIT))
    np.testing.assert_array_equal(found, tf.io.decode_jpeg(content, channels=3))
    shown = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"), int)
    assert np.abs(found.astype(int) - shown).max() < 16  # Inverted, it would be more than 100.
    start = content.find(b"\xff\xee")
    unmarked = content[:start] + content[start + 2 + int.from_bytes(content[start + 2 : start + 4], "big") :]
    with pytest.raises(BadImageError, match="CMYK without Adobe's marker"):
        read_image(unmarked, (7, 5), LIMIT)


def test_a_jpeg_with_a_preview_keeps_its_bytes():
    previews = [Image.fromarray(COLORS[::-1])]
    content = saved(Image.fromarray(COLORS), "MPO", save_all=True, append_images=previews)
    image = read_image(content, (7, 5), LIMIT)
    assert (image.encoded, image.format) == (content, "jpeg")


def test_a_color_space_that_cannot_be_converted_is_named():
    with pytest.raises(BadImageError, match="Lab color space"):
        read_image(saved(Image.new("LAB", (7, 5)), "TIFF"), (7, 5), LIMIT)


def test_any_error_is_the_images_own(monkeypatch):
    def fail(*_, **__):
        raise MemoryError

    monkeypatch.setattr("data.decoding.images.encode_png", fail)
    with pytest.raises(BadImageError, match="unreadable: MemoryError"):
        read_image(saved(Image.fromarray(COLORS), "BMP"), None, LIMIT)
