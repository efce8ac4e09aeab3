"""TIFF files of more than 8 bits, with signed values, or with other bands than a picture has: read by GDAL.

Pillow reads the others: those of up to 8 bits in gray, RGB, a palette or CMYK, with or without alpha.
"""

from __future__ import annotations

import dataclasses
import io
import logging
import warnings

import numpy as np
from PIL import TiffImagePlugin
from PIL.TiffImagePlugin import (
    BITSPERSAMPLE,
    EXTRASAMPLES,
    IMAGELENGTH,
    IMAGEWIDTH,
    PHOTOMETRIC_INTERPRETATION,
    SAMPLEFORMAT,
    SAMPLESPERPIXEL,
)

from data.decoding import orientation
from data.decoding.errors import BadImageError
from data.decoding.notes import Notes, note

_SIGNED = 2
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE = range(4)
# By photometric interpretation; the others have one.
_COLORS = {_RGB: 3, 5: 4, 6: 3, 8: 3}
_NAMES = {_PALETTE: "a palette", 5: "CMYK", 6: "YCbCr", 8: "Lab"}
_PREMULTIPLIED, _ALPHA = 1, 2
# What is noted about a band that may be opacity, and about opacity that may be a band.
UNSAID_BAND, MANY_OPACITIES = "image_unsaid_band", "image_many_opacities"
# Of opacity at least so much is 0 or full.
_FEWEST_PLAIN = 0.5
# GDAL's tag for the value that stands for no data, as text.
_NODATA = 42113
# What GDAL says of a file without its name; the error that follows says it with the name.
logging.getLogger("rasterio").setLevel(logging.CRITICAL)


@dataclasses.dataclass(frozen=True)
class TiffHeader:
    """What the first directory of a TIFF says.

    Attributes:
      height: as stored, in pixels.
      width: as stored, in pixels.
      samples: per pixel, alpha among them.
      bands: places of the samples that are not alpha.
      is_unsaid: whether there are red, green, blue and a fourth band of which it does not say what it is.
      is_premultiplied: whether colors are multiplied by alpha.
      photometric: what the samples stand for, as TIFF numbers it.
      is_picture: whether Pillow reads it in all its bits and bands.
      turn: how EXIF says it is to be turned, 1 to 8.
      nodata: the value that stands for no data; None if it does not say, or means an index of a palette.
    """

    height: int
    width: int
    samples: int
    bands: tuple[int, ...]
    is_unsaid: bool
    is_premultiplied: bool
    photometric: int
    is_picture: bool
    turn: int
    nodata: float | None


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


def read_header(content: bytes) -> TiffHeader | None:
    """The header of a TIFF; None if it is none, or has no complete one."""
    if content[:4] not in TiffImagePlugin.PREFIXES:
        return None
    try:
        tags = TiffImagePlugin.ImageFileDirectory_v2(content[: 16 if 43 in content[2:4] else 8])
        file = io.BytesIO(content)
        file.seek(tags.next)
        tags.load(file)
        samples = int(tags.get(SAMPLESPERPIXEL, 1))
        extra = tuple(tags.get(EXTRASAMPLES, ()))
        photometric = int(tags.get(PHOTOMETRIC_INTERPRETATION, _BLACK_IS_ZERO))
        first_extra = samples - len(extra)
        alphas = {first_extra + index for index, kind in enumerate(extra) if kind in (_PREMULTIPLIED, _ALPHA)}
        bands = tuple(index for index in range(samples) if index not in alphas)
        is_deep = max(tags.get(BITSPERSAMPLE, (1,))) > 8 or _SIGNED in tags.get(SAMPLEFORMAT, (1,))
        turn = tags.get(orientation.TAG)
        return TiffHeader(
            int(tags[IMAGELENGTH]),
            int(tags[IMAGEWIDTH]),
            samples,
            bands,
            photometric == _RGB and len(bands) == _COLORS[_RGB] + 1,
            _PREMULTIPLIED in extra,
            photometric,
            not is_deep and len(bands) == _COLORS.get(photometric, 1),
            turn if isinstance(turn, int) and 1 <= turn <= 8 else 1,
            None if photometric == _PALETTE else _number(tags.get(_NODATA)),
        )
    except Exception:  # Of a broken file, nearly anything.
        return None


def what_is_unknown(content: bytes) -> str:
    """What a file is that Pillow does not know, for messages."""
    if content[:4] not in TiffImagePlugin.PREFIXES:
        return "not a known image format"
    header = read_header(content)
    return f"a TIFF of {header.samples} bands, of a kind that is not read here" if header else "a broken TIFF"


def _number(text: object) -> float | None:
    try:
        value = float(str(text).strip(" \0"))
    except ValueError:
        return None
    return int(value) if value.is_integer() else value


def read_values(content: bytes, header: TiffHeader) -> np.ndarray:
    """The values of a TIFF that is no picture: [height, width, bands] as stored, larger ones brighter, without alpha.

    Raises:
      BadImageError: if it cannot be read, holds several images, or its values are no brightnesses.
    """
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning
    from rasterio.io import MemoryFile

    if header.photometric in _NAMES:
        raise BadImageError(
            f"its colors are {_NAMES[header.photometric]} of more than 8 bits, which is not read; convert it to RGB"
        )
    if header.is_premultiplied:
        raise BadImageError("its colors are multiplied by alpha; save it without alpha")
    try:
        with warnings.catch_warnings(), rasterio.Env(GDAL_PAM_ENABLED=False), MemoryFile(content) as file:
            warnings.simplefilter("ignore", NotGeoreferencedWarning)  # It need not lie on the earth.
            with file.open(driver="GTiff") as raster:
                shape = (raster.count, raster.height, raster.width)
                if shape != (header.samples, header.height, header.width):
                    raise BadImageError("damaged: it has another size than its header says")
                if raster.subdatasets:
                    with rasterio.open(raster.subdatasets[1]) as second:
                        if (second.height, second.width) == raster.shape:
                            raise BadImageError(
                                "it holds several images of one size; save the one that is meant as a file of its own"
                            )
                values = np.moveaxis(raster.read([band + 1 for band in header.bands]), 0, -1)
    except BadImageError:
        raise
    except Exception as error:  # GDAL's errors are of many classes; the first that was raised says most.
        while error.__cause__ is not None:
            error = error.__cause__  # type: ignore[assignment]
        raise BadImageError(f"unreadable: {str(error) or type(error).__name__}") from None
    if header.is_unsaid:
        note(UNSAID_BAND)
    if header.photometric == _WHITE_IS_ZERO:
        if values.dtype.kind == "u":
            return np.iinfo(values.dtype).max - values
        return -values.astype(np.float64)
    return values


def note_opacity(opacity: np.ndarray) -> None:
    """Notes if what a file calls opacity, [height, width] uint8, is probably a band: GDAL calls each fourth one so."""
    if np.count_nonzero((opacity == 0) | (opacity == 255)) < _FEWEST_PLAIN * opacity.size:
        note(MANY_OPACITIES)


def remarks(notes: Notes) -> list[str]:
    """What the user should know about bands that are opacity, or are not, by what their files say."""
    found = []
    if UNSAID_BAND in notes.counts:
        found.append(
            f"{notes.counts[UNSAID_BAND]} images, such as {notes.first[UNSAID_BAND]}, have a fourth band beside red, "
            "green and blue, and do not say what it is: it is learned from; if it is opacity (alpha), leave it out "
            "with preprocessing.channels: [1, 2, 3]"
        )
    if MANY_OPACITIES in notes.counts:
        found.append(
            f"{notes.counts[MANY_OPACITIES]} images, such as {notes.first[MANY_OPACITIES]}, say that a band is opacity "
            "(alpha), so it is not learned from, but most of it is neither 0 nor full; if it is near infrared, let the "
            "files say so, as `gdal_edit.py -colorinterp_4 undefined FILE` does"
        )
    return found
