"""Turns images of any origin into what the data contract stores."""

from __future__ import annotations

import dataclasses
import io
import logging
import threading
from typing import Any

import numpy as np
from PIL import Image, TiffImagePlugin, UnidentifiedImageError

from data.decoding import intensity, orientation
from data.decoding.depth import deep_values, use_native_order
from data.decoding.errors import BadImageError, UnknownRangeError
from data.decoding.notes import note, note_range
from data.decoding.structure import JPEG_SIGNATURE, PNG_SIGNATURE, Header, only_pixels, parts, read_header

# Formats of animations and pages. A second image of another size is a thumbnail.
_SEQUENCES = ("AVIF", "GIF", "TIFF", "WEBP")
_PILLOW_LIMIT = threading.Lock()
# What Pillow says of a file without its name; the error that follows says it with the name.
logging.getLogger("PIL.TiffImagePlugin").setLevel(logging.CRITICAL)

__all__ = ["BadImageError", "EncodedImage", "UnknownRangeError", "decode", "encode_png", "open_image", "read_image"]


@dataclasses.dataclass(frozen=True)
class EncodedImage:
    """An image as the contract stores it: JPEG or PNG, RGB or gray, 8 bits, upright."""

    encoded: bytes
    format: str
    height: int
    width: int


@dataclasses.dataclass(frozen=True)
class _Decoded:
    """The pixels of an image.

    Attributes:
      values: [height, width] or [height, width, 3], as stored or, if `orientation` is 1, upright.
      orientation: how they are to be turned, 1 to 8.
      kept: the file's bytes, or None if they are not what the contract stores.
      format: of `kept`.
    """

    values: np.ndarray
    orientation: int
    kept: bytes | None = None
    format: str = "png"


def open_image(content: bytes, formats: tuple[str, ...] | None = None) -> Image.Image:
    """Opens an image of any size, without decoding more than its header; the caller checks the size.

    Pillow's own limit is a global that other code in the process may rely on. It warns above its value and raises above
    twice that, so it is lifted, but only while the header is read. Text, EXIF and the like in a PNG or JPEG, which
    Pillow would read and may fail at, are left out.

    Args:
      content: the file's bytes.
      formats: Pillow's names of those to try; all by default.

    Raises:
      Exception: nearly anything, if the header is broken.
    """
    if content.startswith((PNG_SIGNATURE, JPEG_SIGNATURE)):
        content = only_pixels(content)
    with _PILLOW_LIMIT:
        limit = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = None
        try:
            image = Image.open(io.BytesIO(content), formats=formats)
        finally:
            Image.MAX_IMAGE_PIXELS = limit
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        use_native_order(image)
    return image


def _unknown_kind(content: bytes) -> str:
    """Why Pillow knows no such image."""
    if content[:4] in TiffImagePlugin.PREFIXES:
        try:
            tags = TiffImagePlugin.ImageFileDirectory_v2(content[:8])
            file = io.BytesIO(content)
            file.seek(tags.next)
            tags.load(file)
            channels, bits = tags[TiffImagePlugin.SAMPLESPERPIXEL], tags[TiffImagePlugin.BITSPERSAMPLE][0]
        except Exception:  # Of a broken file, nearly anything.
            return "a broken TIFF"
        if channels in (1, 3):
            return (
                f"a TIFF of {bits} bits a channel, of a kind that is not read; save it as PNG, or as a TIFF of 8 or 16 "
                "bits"
            )
        return (
            f"a TIFF of {channels} channels of {bits} bits, which is not read; save one or three of the channels as an "
            "image of gray or red, green and blue"
        )
    return "not a known image format"


def decode(content: bytes, max_pixels: int) -> Image.Image:
    """Opens an image or a mask and decodes all of it.

    Raises:
      BadImageError: if it is unreadable or has more than `max_pixels` pixels.
    """
    try:
        image = open_image(content)
        _check_size(*image.size, max_pixels)
        image.load()
    except (BadImageError, MemoryError):
        raise
    except UnidentifiedImageError:  # Pillow's message holds a memory address instead of a name.
        raise BadImageError(f"unreadable: {_unknown_kind(content)}") from None
    except Exception as error:  # Pillow's decoders raise nearly anything on broken files.
        raise BadImageError(f"unreadable: {str(error) or type(error).__name__}") from None
    return image


def upright_size(content: bytes) -> tuple[int, int]:
    """Height and width of a JPEG or PNG once it is turned upright, by its header alone.

    Raises:
      BadImageError: if it is neither.
    """
    header = read_header(content)
    if header is None:
        raise BadImageError("not a JPEG or PNG image")
    return orientation.turned_size(header.height, header.width, orientation.exif_orientation(content))


def read_image(
    content: bytes,
    mask_size: tuple[int, int] | None,
    max_pixels: int,
    read_as: orientation.Orientation | None = None,
    intensity_range: intensity.Range | None = None,
    whose: str = "the mask",
) -> EncodedImage:
    """Checks an image by decoding all of it, and returns it as the contract stores it.

    JPEG and PNG files of 8 bits in RGB or gray keep their bytes if TensorFlow decodes them. Everything else (TIFF, GIF,
    alpha channels, palettes, CMYK) becomes a PNG in RGB or gray, without alpha.

    An image that EXIF turns becomes upright, or stays as stored, whichever has the size of the mask. Only if both have
    (squares, mirrored images, turned by 180°), `read_as` decides.

    Args:
      content: the file's bytes; the file's name does not matter.
      mask_size: width and height of the mask in pixels, or None for an image without one, which is turned upright.
      max_pixels: larger images are refused before they are decoded.
      read_as: how an image is read that its mask fits both ways; by default upright, which is noted as an assumption.
      intensity_range: the values that become 0 and 255 in images of more than 8 bits.
      whose: what has the size of the mask, for messages.

    Raises:
      UnknownRangeError: if the image has more than 8 bits, and there is no `intensity_range`; its values are noted.
      BadImageError: if the image is unreadable, too large, or not of the mask's size.
    """
    try:
        decoded = _decode(content, max_pixels)
        turn = _choose_turn(decoded, mask_size, read_as, whose)
        values = decoded.values
        if values.dtype == np.uint8:
            note(intensity.EIGHT_BITS)
        else:
            decoded = dataclasses.replace(decoded, kept=None)
            values = _to_eight_bits(values, intensity_range)
        height, width = values.shape[:2]
        if decoded.kept and turn == 1:
            return EncodedImage(orientation.without_orientation(decoded.kept), decoded.format, height, width)
        values = orientation.turned(values, turn)
        return EncodedImage(encode_png(values), "png", *values.shape[:2])
    except BadImageError:
        raise
    except Exception as error:  # Decoders raise nearly anything on broken files, MemoryError among it.
        raise BadImageError(f"unreadable: {str(error) or type(error).__name__}") from None


def _decode(content: bytes, max_pixels: int) -> _Decoded:
    header = read_header(content)
    if header is None:
        if content.startswith((PNG_SIGNATURE, JPEG_SIGNATURE)):
            # Some decoders search for the next part that they know, and would find no EXIF, or another one.
            raise BadImageError("damaged: what comes before its pixels is no sequence of parts; save it anew")
        return _decode_by_pillow(content, max_pixels)
    _check_size(header.width, header.height, max_pixels)
    if header.format == "jpeg" and header.channels == 4 and not _says_how_inks_are_stored(content):
        raise BadImageError(
            "its colors are CMYK without Adobe's marker, so it does not say whether 255 is all ink or none; "
            "convert it to RGB"
        )
    turn = orientation.exif_orientation(content)
    values = _decode_by_tensorflow(content, header)
    if values is None:
        decoded = _decode_by_pillow(content, max_pixels)
        if header.bits > 8 and decoded.values.dtype == np.uint8:
            raise BadImageError("unreadable: its colors of more than 8 bits cannot be decoded")
        return dataclasses.replace(decoded, orientation=turn)
    if values.shape[:2] != (header.height, header.width):
        raise BadImageError(
            f"damaged: its header says {header.width}x{header.height} pixels, "
            f"it has {values.shape[1]}x{values.shape[0]}"
        )
    has_alpha = header.channels in (2, 4) and header.format == "png"
    is_kept = header.bits <= 8 and header.channels in (1, 3) and not (header.has_palette or has_alpha)
    return _Decoded(values, turn, content if is_kept else None, header.format)


def _says_how_inks_are_stored(content: bytes) -> bool:
    return any(part.kind == b"\xee" and content.startswith(b"Adobe", part.start) for part in parts(content))


def _decode_by_tensorflow(content: bytes, header: Header) -> np.ndarray | None:
    """The pixels as the exported graph decodes them, without alpha; None if TensorFlow cannot."""
    import tensorflow as tf  # Takes seconds, and only opening an image needs none of it.

    try:
        with tf.device("CPU"):
            if header.format == "png":
                values = tf.io.decode_png(content, dtype=tf.uint16 if header.bits == 16 else tf.uint8).numpy()
            else:
                values = tf.io.decode_jpeg(content, channels=1 if header.channels == 1 else 3).numpy()
    except tf.errors.OpError:
        return None
    return values[..., :3] if values.shape[2] >= 3 else values[..., 0]


def _decode_by_pillow(content: bytes, max_pixels: int) -> _Decoded:
    image = decode(content, max_pixels)
    if image.format in _SEQUENCES and getattr(image, "n_frames", 1) > 1 and _is_sequence(image):
        raise BadImageError("it holds several images of one size; save the one that is meant as a file of its own")
    deep = deep_values(image, content)
    values = _eight_bits(image) if deep is None else deep
    if isinstance(image, TiffImagePlugin.TiffImageFile):  # Which Pillow has turned, and forgotten how.
        tag = open_image(content).tag_v2.get(orientation.TAG)  # type: ignore[attr-defined]
        turn = tag if isinstance(tag, int) and 1 <= tag <= 8 else 1
        return _Decoded(orientation.turned_back(values, turn), turn)
    exif: Any = image.info.get("exif")
    return _Decoded(values, orientation.block_orientation(exif) if isinstance(exif, bytes) else 1)


def _eight_bits(image: Image.Image) -> np.ndarray:
    if image.mode == "La":
        image = image.convert("LA")
    if image.mode == "RGBa":
        image = image.convert("RGBA")
    if image.mode == "LAB":
        raise BadImageError("its colors are in the Lab color space; convert them to RGB")
    return np.asarray(image.convert("L" if image.mode in ("1", "L", "LA") else "RGB"))


def _is_sequence(image: Image.Image) -> bool:
    """Whether the second image is one of its own, not a thumbnail of the first."""
    first = image.size
    image.seek(1)
    second = image.size
    image.seek(0)
    return first == second


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise BadImageError(f"{width}x{height} pixels are more than the limit of {max_pixels}")


def _choose_turn(
    decoded: _Decoded, mask_size: tuple[int, int] | None, read_as: orientation.Orientation | None, whose: str
) -> int:
    """How to turn the pixels: `decoded.orientation`, or 1 to leave them as they are stored."""
    turn = decoded.orientation
    height, width = decoded.values.shape[:2]
    upright_height, upright_width = orientation.turned_size(height, width, turn)
    if mask_size is None:
        return turn
    fits_upright, fits_stored = mask_size == (upright_width, upright_height), mask_size == (width, height)
    if not (fits_upright or fits_stored):
        raise BadImageError(
            f"sizes differ: the image has {width}x{height} pixels, {whose} {mask_size[0]}x{mask_size[1]}"
        )
    if turn == 1:
        return 1
    if fits_upright and fits_stored:
        note(orientation.CHOSEN + read_as if read_as else orientation.ASSUMED)
        return 1 if read_as == "stored" else turn
    note(orientation.ONLY_UPRIGHT if fits_upright else orientation.ONLY_STORED)
    return turn if fits_upright else 1


def _to_eight_bits(values: np.ndarray, intensity_range: intensity.Range | None) -> np.ndarray:
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise BadImageError("some of its values are not finite (NaN or infinite), so they have no brightness")
    low, high = float(values.min()), float(values.max())
    note(intensity.DEEP)
    note_range(intensity.VALUES, low, high)
    if intensity_range is None:
        raise UnknownRangeError(
            f"it has more than 8 bits (values from {low:g} to {high:g}), and no range is known to scale them by"
        )
    scaled = intensity.scale(values, intensity_range)
    if lost := intensity.lost_levels(values, scaled):
        raise BadImageError(
            f"of its {lost[0]} levels ({low:g} to {high:g}) only {lost[1]} would be left, since the range "
            f"{intensity_range[0]:g} to {intensity_range[1]:g} becomes 8 bits; give a narrower one, --intensity-range "
            "LOW,HIGH, if values outside of it may become black or white"
        )
    return scaled


def looks_flat(content: bytes) -> bool:
    """Whether a file looks like a mask: few values or colors, such as a photograph never has."""
    try:
        image = open_image(content)
        image.load()
        # Without interpolation, which would make new values.
        small = image.resize((min(image.width, 256), min(image.height, 256)), Image.Resampling.NEAREST)
    except Exception:  # Pillow's decoders raise nearly anything on broken files.
        return False
    pixels = np.asarray(small)
    return len(np.unique(pixels.reshape(-1, pixels.shape[2]) if pixels.ndim == 3 else pixels, axis=0)) <= 64


def encode_png(pixels: np.ndarray) -> bytes:
    """PNG bytes of [height, width] uint8 or uint16, or [height, width, 3] uint8 pixels."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()
