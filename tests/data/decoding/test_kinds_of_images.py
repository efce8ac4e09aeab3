"""Files that are odd but good are read, as TensorFlow will read them; damaged ones are named by their fault."""

import contextlib
import io
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from data.decoding.images import BadImageError, UnknownRangeError, read_image, upright_size
from data.decoding.notes import collecting
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
    return tf.io.decode_image(image.encoded, expand_animations=False).numpy().squeeze()


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
    if kind in ("PNG", "TIFF") and mode in ("RGB", "RGBA", "RGBX"):
        np.testing.assert_array_equal(pixels(found), COLORS)


def test_zero_is_white_where_the_file_says_so():
    for kind in ("L", "1"):
        image = Image.fromarray(GRAY).convert(kind)
        content = saved(image, "TIFF", tiffinfo={262: 0})
        np.testing.assert_array_equal(pixels(read_image(content, (7, 5), LIMIT)), np.asarray(image.convert("L")))
    shown = read_image(tiff(DEEP, t262=0), (7, 5), LIMIT, intensity_range=(0, 65535))
    np.testing.assert_array_equal(pixels(shown), np.rint((65535 - DEEP.astype(float)) / 257))


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
def test_all_bits_of_deep_images_count(name):
    content, values = DEEP_FILES[name]
    low, high = float(values.min()), float(values.max())
    with collecting("x") as notes, pytest.raises(UnknownRangeError, match="more than 8 bits"):
        read_image(content, (7, 5), LIMIT)
    assert notes.ranges == {"intensity": (low, high)}
    assert notes.counts == {"images_of_more_than_8_bits": 1}
    image = read_image(content, (7, 5), LIMIT, intensity_range=(low, high))
    expected = np.rint((values.astype(np.float64) - low) / (high - low) * 255)
    np.testing.assert_array_equal(pixels(image), expected)


def test_values_without_a_brightness_are_refused():
    values = DEEP.astype(np.float32)
    values[2, 3] = np.nan
    with pytest.raises(BadImageError, match="not finite"):
        read_image(tiff(values), (7, 5), LIMIT, intensity_range=(0, 1))


def test_colors_whose_bits_pillow_cuts_off_are_refused():
    ppm = b"P6 7 5 65535\n" + DEEP_COLORS.astype(">u2").tobytes()
    planes = tiff(DEEP_COLORS, t284=2)
    for content in (ppm, planes):
        with pytest.raises(BadImageError, match=r"save it as a PNG|unreadable"):
            read_image(content, (7, 5), LIMIT, intensity_range=(0, 65535))


def test_lost_levels_are_an_error():
    dim = (np.arange(35, dtype=np.uint16) * 5).reshape(5, 7)
    with pytest.raises(BadImageError, match=r"of its 35 levels \(0 to 170\) only 2 .* --intensity-range LOW,HIGH"):
        read_image(png(dim), (7, 5), LIMIT, intensity_range=(0, 65535))
    # Few levels may be few, as in a drawing.
    image = read_image(png(dim // 20 * 20), (7, 5), LIMIT, intensity_range=(0, 65535))
    assert pixels(image).max() == 1


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
                image = read_image(broken, None, LIMIT, intensity_range=(0, 65535))
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
