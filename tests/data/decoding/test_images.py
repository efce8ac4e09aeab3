import io
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image

from data.decoding.images import BadImageError, encode_png, open_image, read_image
from data.decoding.masks import class_ids, read_mask
from data.label_map import LabelMap

LABELS = LabelMap.from_names(["a", "b", "c"])
LIMIT = 10_000


def encoded(mode: str, file_format: str, size: tuple[int, int] = (6, 4), **options) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size).save(buffer, format=file_format, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(("mode", "file_format"), [("RGB", "JPEG"), ("L", "JPEG"), ("RGB", "PNG"), ("L", "PNG")])
def test_what_the_contract_stores_keeps_its_bytes(mode, file_format):
    content = encoded(mode, file_format)
    image = read_image(content, (6, 4), LIMIT)
    assert (image.encoded, image.format) == (content, file_format.lower())
    assert (image.height, image.width) == (4, 6)


@pytest.mark.parametrize(("mode", "file_format"), [("RGBA", "PNG"), ("P", "GIF"), ("P", "PNG"), ("CMYK", "JPEG")])
def test_everything_else_becomes_an_rgb_png(mode, file_format):
    image = read_image(encoded(mode, file_format), (6, 4), LIMIT)
    assert image.format == "png"
    assert Image.open(io.BytesIO(image.encoded)).mode == "RGB"


def test_exif_orientation_is_applied_where_the_mask_is_upright():
    exif = Image.Exif()
    exif[0x0112] = 6
    content = encoded("RGB", "JPEG", (6, 4), exif=exif)
    upright = read_image(content, (4, 6), LIMIT)
    assert (upright.height, upright.width) == (6, 4)
    stored = read_image(content, (6, 4), LIMIT)
    assert stored.encoded != content  # Its EXIF says now that it is upright.
    assert (stored.format, Image.open(io.BytesIO(stored.encoded)).getexif()[0x0112]) == ("jpeg", 1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "unreadable"),
        (b"this is text", "unreadable"),
        (encoded("RGB", "PNG", (50, 50))[:-40], "unreadable"),
        (encoded("RGB", "PNG", (5, 4)), "sizes differ: the image has 5x4 pixels, the mask 6x4"),
        (encoded("L", "PNG", (1000, 1000)), "1000x1000 pixels are more than the limit"),
    ],
)
def test_bad_images_are_named_by_their_fault(content, message):
    with pytest.raises(BadImageError, match=message):
        read_image(content, (6, 4), LIMIT)


def test_the_limit_is_the_callers_and_pillows_own_stays(monkeypatch):
    # Far below what is read here; another user of Pillow in this process may have set it.
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    content = encoded("RGB", "PNG", (50, 50))
    assert read_image(content, (50, 50), LIMIT).width == 50
    assert open_image(content).size == (50, 50)
    for broken in (b"", content[:-40]):
        with pytest.raises(BadImageError, match="unreadable"):
            read_mask(broken, LIMIT)
    assert Image.MAX_IMAGE_PIXELS == 10
    with pytest.raises(Image.DecompressionBombError):
        Image.open(io.BytesIO(content))


def test_importing_data_images_leaves_pillow_as_it_is():
    code = "from PIL import Image; limit = Image.MAX_IMAGE_PIXELS; import data.decoding.images"
    subprocess.run([sys.executable, "-c", f"{code}; assert limit == Image.MAX_IMAGE_PIXELS"], check=True)


def test_masks_hold_ids_or_colors():
    ids = np.array([[0, 1, 2], [255, 1, 0]], np.uint8)
    np.testing.assert_array_equal(class_ids(read_mask(encode_png(ids), LIMIT), LABELS), ids)
    palette_image = Image.fromarray(ids)
    palette_image.putpalette(list(range(256)) * 3)
    buffer = io.BytesIO()
    palette_image.save(buffer, "PNG")
    np.testing.assert_array_equal(class_ids(read_mask(buffer.getvalue(), LIMIT), LABELS), ids)
    colored = np.array(LABELS.palette, np.uint8)[np.where(ids == 255, 0, ids)]
    np.testing.assert_array_equal(
        class_ids(read_mask(encode_png(colored), LIMIT), LABELS), np.where(ids == 255, 0, ids)
    )


def packed(ids: np.ndarray, bits: int) -> np.ndarray:
    """Rows of pixels of less than 8 bits, which Pillow reads but does not write."""
    return np.packbits(np.unpackbits(ids[..., np.newaxis], axis=2)[..., -bits:].reshape(len(ids), -1), axis=1)


def gray_png(ids: np.ndarray, bits: int) -> bytes:
    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    height, width = ids.shape
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row.tobytes() for row in packed(ids, bits))))
        + chunk(b"IEND", b"")
    )


def gray_tiff(ids: np.ndarray, bits: int) -> bytes:
    height, width = ids.shape
    rows = packed(ids, bits).tobytes()
    # Width, height, bits, no compression, 0 is black, offset, one sample, rows in the strip, its size.
    values = {256: width, 257: height, 258: bits, 259: 1, 262: 1, 273: 122, 277: 1, 278: height, 279: len(rows)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in values.items())
    return b"II*\0" + struct.pack("<IH", 8, len(values)) + entries + bytes(4) + rows


@pytest.mark.parametrize("encode", [gray_png, gray_tiff])
@pytest.mark.parametrize("bits", [1, 2, 4])
def test_masks_of_few_bits_hold_ids(encode, bits):
    ids = np.arange(15, dtype=np.uint8).reshape(3, 5) % 2**bits
    mask = read_mask(encode(ids, bits), LIMIT)
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, ids)


def test_ids_and_colors_outside_the_label_map_are_named():
    with pytest.raises(BadImageError, match=r"class id 3 at row 1, column 0 .* \(0 to 2"):
        class_ids(np.array([[0, 1], [3, 1]]), LABELS)
    with pytest.raises(BadImageError, match=r"color \[1, 2, 3\] at row 0, column 0"):
        class_ids(np.array([[[1, 2, 3]]], np.uint8), LABELS)
    with pytest.raises(BadImageError, match="class id -1"):
        class_ids(np.full((2, 2), -1, np.int32), LABELS)
    with pytest.raises(BadImageError, match="this one has the mode CMYK"):
        read_mask(encoded("CMYK", "JPEG"), LIMIT)
    with pytest.raises(BadImageError, match="class id 40000"):
        class_ids(np.full((2, 2), 40000, np.uint16), LABELS)
