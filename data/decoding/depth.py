"""The values of images of more than 8 bits, of which Pillow keeps only 8 where it makes colors of them."""

from __future__ import annotations

import io
import sys

import numpy as np
from PIL import Image, TiffImagePlugin

from data.decoding.errors import BadImageError

_WHITE_IS_ZERO = 0
_SIGNED = 2
_AS_PNG = "save it as a PNG, which is read in all its bits"


def use_native_order(image: TiffImagePlugin.TiffImageFile) -> None:
    """Makes Pillow read signed and float values in the order in which libtiff gives them, not in that of the file."""
    native = {"I;16BS": "I;16NS", "I;32BS": "I;32NS", "F;32BF": "F;32NF", "I;16S": "I;16NS", "I;32S": "I;32NS"}
    native["F;32F"] = "F;32NF"
    image.tile = [
        tile._replace(args=(native.get(tile.args[0], tile.args[0]), *tile.args[1:]))
        if tile.codec_name == "libtiff" and isinstance(tile.args, tuple)
        else tile
        for tile in image.tile
    ]


def deep_values(image: Image.Image, content: bytes) -> np.ndarray | None:
    """The values of an image that has more than 8 bits, or signed ones; None if it has 8 or fewer.

    Args:
      image: decoded by Pillow.
      content: the file's bytes.

    Returns:
      [height, width] or [height, width, 3] numbers, larger ones brighter.

    Raises:
      BadImageError: if Pillow reads such a file, but not all of its bits.
    """
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return _tiff_values(image, content)
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        values = np.asarray(image)
        return values.astype(values.dtype.newbyteorder("="))
    if bits := _hidden_bits(image, content):
        raise BadImageError(f"its colors have {bits} bits, of which only 8 can be read from {image.format}; {_AS_PNG}")
    return None


def _tiff_values(image: TiffImagePlugin.TiffImageFile, content: bytes) -> np.ndarray | None:
    bits = image.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, (1,))[0]
    formats = image.tag_v2.get(TiffImagePlugin.SAMPLEFORMAT, (1,))
    if bits <= 8 and _SIGNED not in formats:
        return None
    if bits == 16 and image.mode in ("RGB", "RGBA") and image.tag_v2.get(TiffImagePlugin.PLANAR_CONFIGURATION, 1) == 1:
        return _tiff_colors(image, content)
    values = np.asarray(image)
    values = values.astype(values.dtype.newbyteorder("="))
    if values.ndim == 2 and image.mode == "L":
        values = values.view(np.int8).astype(np.int16)
    elif image.mode == "I" and bits == 32 and formats[0] != _SIGNED:
        values = values.view(np.uint32)
    elif image.mode not in ("I", "F") and not image.mode.startswith("I;16"):
        raise BadImageError(f"its {image.mode} colors of {bits} bits cannot be read from a TIFF like this; {_AS_PNG}")
    if image.tag_v2.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == _WHITE_IS_ZERO:
        values = np.uint16(2**bits - 1) - values if values.dtype == np.uint16 else -values.astype(np.float64)
    return values


def _tiff_colors(image: TiffImagePlugin.TiffImageFile, content: bytes) -> np.ndarray:
    """[height, width, 3] uint16, from two decodes: Pillow unpacks either byte of the 16 bits."""
    first, second = np.asarray(image.convert("RGB")), None
    with Image.open(io.BytesIO(content), formats=("TIFF",)) as again:
        tiles = []
        for tile in again.tile:
            arguments = tile.args if isinstance(tile.args, tuple) else (tile.args,)
            rawmode = str(arguments[0])
            other = {"L": "B", "B": "L", "N": "B" if sys.byteorder == "little" else "L"}[rawmode[-1]]
            tiles.append(tile._replace(args=(rawmode[:-1] + other, *arguments[1:])))
        again.tile = tiles
        # Premultiplied colors would be divided by alpha, each byte by itself.
        if any("a;" in str(tile.args) for tile in tiles):
            raise BadImageError(f"its colors of 16 bits are multiplied by alpha; {_AS_PNG} without alpha")
        second = np.asarray(again.convert("RGB"))
    return first.astype(np.uint16) << 8 | second


def _hidden_bits(image: Image.Image, content: bytes) -> int:
    """The bits of a channel where Pillow has cut them off, and 0 where it has not."""
    if image.format == "JPEG2000" and image.mode not in ("1", "P"):
        start = content.find(b"\xff\x4f\xff\x51")  # The codestream's first two markers; then the image's size.
        depth = (content[start + 42] & 0x7F) + 1 if 0 <= start < len(content) - 42 else 8
        return depth if depth > 8 else 0
    if image.format == "PPM":
        fields = content[:4096].split(None, 4)
        return 16 if fields[0] in (b"P3", b"P6") and b"#" not in content[:64] and int(fields[3]) > 255 else 0
    return 16 if image.format == "SGI" and content[3:4] == b"\x02" else 0
