import io
import struct
import subprocess
import sys

import pytest
from PIL import Image

from data.decoding.images import BadImageError, decode, open_image, read_image
from data.masks.class_ids import read_mask

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


def test_bytes_between_the_parts_of_a_jpeg_are_refused():
    # Libjpeg skips them, and shows the image; what EXIF says beyond them, others do not find.
    content = encoded("RGB", "JPEG")
    for damaged in (content[:2] + b"\xff\0" + content[2:], content[:20] + b"ab" + content[20:]):
        Image.open(io.BytesIO(damaged)).load()
        with pytest.raises(BadImageError, match="damaged: what comes before its pixels is no sequence of parts"):
            read_image(damaged, None, LIMIT)


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


def test_a_mask_of_many_bands_is_named_as_such(caplog):
    file = io.BytesIO()
    Image.new("RGB", (4, 4)).save(file, "TIFF")
    content = file.getvalue().replace(struct.pack("<HHII", 277, 3, 1, 3), struct.pack("<HHII", 277, 3, 1, 13))
    with pytest.raises(BadImageError, match="a TIFF of 13 bands, of a kind that is not read here"):
        decode(content, 100)
    assert not caplog.records
