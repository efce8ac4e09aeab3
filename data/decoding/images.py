"""Turns images of any origin into what the data contract stores."""

from __future__ import annotations

import dataclasses
import io
import logging
import threading
from typing import Any

import numpy as np
from PIL import Image, TiffImagePlugin, UnidentifiedImageError

from data.decoding import arrays, orientation, tiff
from data.decoding.arrays import no_data, own_nodata, stored_type
from data.decoding.errors import BadImageError
from data.decoding.notes import note
from data.decoding.structure import JPEG_SIGNATURE, PNG_SIGNATURE, Header, only_pixels, parts, read_header

# Formats of animations and pages. A second image of another size is a thumbnail.
_SEQUENCES = ("AVIF", "GIF", "TIFF", "WEBP")
_PILLOW_LIMIT = threading.Lock()
# The values of the largest image that is decoded, for each of its pixels; with more bands it has fewer pixels.
_MOST_BANDS = 4
# Of an array that is stored already: 8 GB.
_MOST_VALUES = 2**31
# What Pillow says of a file without its name; the error that follows says it with the name.
logging.getLogger("PIL.TiffImagePlugin").setLevel(logging.CRITICAL)

__all__ = ["BadImageError", "EncodedImage", "decode", "encode_png", "encoded_values", "open_image", "read_image"]


@dataclasses.dataclass(frozen=True)
class EncodedImage:
    """An image as the contract stores it, upright.

    Attributes:
      encoded: its bytes.
      format: `jpeg`; `png` of 8 or 16 bits, gray or RGB; or `npy` for all else, as in `data.decoding.arrays`.
      height: in pixels.
      width: in pixels.
      no_data: [height, width] bool, pixels without data, which `LabeledImage` makes 255; None if there are none.
    """

    encoded: bytes
    format: str
    height: int
    width: int
    no_data: np.ndarray | None = dataclasses.field(default=None, repr=False, compare=False)


def encoded_values(values: np.ndarray, nodata: float | None = None) -> EncodedImage:
    """An image as the contract stores it, from its values; notes what they are, for the whole data set to be judged.

    Args:
      values: [height, width] or [height, width, bands] numbers, upright.
      nodata: the value that stands for no data, if any does. In floats it becomes NaN, and what is not finite stands
        for no data anyway.

    Raises:
      BadImageError: if it has no or too many bands, values that are no numbers, or no pixel with data.
    """
    return _encoded(values, nodata)


def _encoded(values: np.ndarray, nodata: float | None, kept: bytes | None = None, kept_as: str = "") -> EncodedImage:
    """Args: `kept` are the bytes to store, in the format `kept_as`, instead of the values encoded anew."""
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[..., 0]
    if values.size == 0:
        raise BadImageError(f"it has no pixels: its shape is {list(values.shape)}")
    is_missing = no_data(values, nodata)
    if is_missing.all():
        raise BadImageError("it has no pixel with data: all are NaN, infinite or the value for no data")
    own = own_nodata(values.dtype, nodata)
    if values.dtype.kind == "f":
        if own is not None:
            of_bands = is_missing if values.ndim == 2 else is_missing[..., np.newaxis]
            values = np.where(of_bands & (values == own), values.dtype.type(np.nan), values)
        own = None
    is_picture = values.ndim == 2 or values.shape[2] == 3
    if kept is not None:
        encoded, file_format, stored = kept, kept_as, values.dtype
    elif is_picture and values.dtype.kind in "bu" and values.dtype.itemsize <= 2:
        values = np.ascontiguousarray(values, np.uint8 if values.dtype.itemsize == 1 else np.uint16)
        encoded, file_format, stored = encode_png(values), "png", values.dtype
    else:
        with np.errstate(over="ignore"):  # Of 64 bits, what does not fit into 32 becomes infinite: no data.
            encoded, file_format, stored = arrays.encode_array(values), arrays.FORMAT, stored_type(values)
    note(arrays.NOTED_TYPE + np.dtype(stored).name)
    note(f"{arrays.NOTED_BANDS}{1 if values.ndim == 2 else values.shape[2]}")
    if np.dtype(stored).kind != "f":
        note(arrays.NOTED_NODATA + ("none" if own is None else str(own.item())))
    height, width = values.shape[:2]
    return EncodedImage(encoded, file_format, height, width, is_missing if is_missing.any() else None)


@dataclasses.dataclass(frozen=True)
class _Decoded:
    """The pixels of an image.

    Attributes:
      values: [height, width] or [height, width, bands], as stored or, if `orientation` is 1, upright.
      orientation: how they are to be turned, 1 to 8.
      kept: the file's bytes, or None if they are not what the contract stores.
      format: of `kept`.
      nodata: the value that stands for no data, if the file says so.
    """

    values: np.ndarray
    orientation: int
    kept: bytes | None = None
    format: str = "png"
    nodata: float | None = None


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
        tiff.use_native_order(image)
    return image


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
        raise BadImageError(f"unreadable: {tiff.what_is_unknown(content)}") from None
    except Exception as error:  # Pillow's decoders raise nearly anything on broken files.
        raise BadImageError(f"unreadable: {str(error) or type(error).__name__}") from None
    return image


def upright_size(content: bytes) -> tuple[int, int]:
    """Height and width of an image as the contract stores it, once it is turned upright, by its header alone.

    Raises:
      BadImageError: if it is none.
    """
    header = read_header(content)
    if header is None:
        if content.startswith((arrays.GZIP_SIGNATURE, arrays.MAGIC)):
            return arrays.array_shape(content)[:2]
        raise BadImageError("not a JPEG or PNG image, nor an array in NumPy's format")
    return orientation.turned_size(header.height, header.width, orientation.exif_orientation(content))


def read_image(
    content: bytes,
    mask_size: tuple[int, int] | None,
    max_pixels: int,
    read_as: orientation.Orientation | None = None,
    nodata: float | None = None,
    whose: str = "the mask",
) -> EncodedImage:
    """Checks an image by decoding all of it, and returns it as the contract stores it.

    JPEG and PNG files in RGB or gray keep their bytes if TensorFlow decodes them. Everything else is stored anew, with
    the same values and without alpha: see `encoded_values`.

    An image that EXIF turns becomes upright, or stays as stored, whichever has the size of the mask. Only if both have
    (squares, mirrored images, turned by 180°), `read_as` decides.

    Args:
      content: the file's bytes; the file's name does not matter.
      mask_size: width and height of the mask in pixels, or None for an image without one, which is turned upright.
      max_pixels: larger images are refused before they are decoded.
      read_as: how an image is read that its mask fits both ways; by default upright, which is noted as an assumption.
      nodata: the value that stands for no data; by default what the file says.
      whose: what has the size of the mask, for messages.

    Raises:
      BadImageError: if the image is unreadable, too large, without data, or not of the mask's size.
    """
    try:
        decoded = _decode(content, max_pixels)
        turn = _choose_turn(decoded, mask_size, read_as, whose)
        nodata = decoded.nodata if nodata is None else nodata
        if decoded.kept and turn == 1:
            kept = orientation.without_orientation(decoded.kept)
            return _encoded(decoded.values, nodata, kept, decoded.format)
        return encoded_values(orientation.turned(decoded.values, turn), nodata)
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
        if content.startswith((arrays.GZIP_SIGNATURE, arrays.MAGIC)):
            return _Decoded(arrays.decode_array(content, max_pixels * _MOST_BANDS), 1)
        if (of_tiff := tiff.read_header(content)) and not of_tiff.is_picture:
            _check_size(of_tiff.width, of_tiff.height, max_pixels, of_tiff.samples)
            return _Decoded(tiff.read_values(content, of_tiff), of_tiff.turn, nodata=of_tiff.nodata)
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
    is_kept = header.channels in (1, 3) and not (header.has_palette or has_alpha)
    return _Decoded(values, turn, content if is_kept else None, header.format)


def stored_values(encoded: bytes) -> np.ndarray:
    """The values of an image as the contract stores it: [height, width] or [height, width, bands].

    Raises:
      BadImageError: if it cannot be decoded.
    """
    header = read_header(encoded)
    if header is None:
        return arrays.decode_array(encoded, _MOST_VALUES)
    values = _decode_by_tensorflow(encoded, header)
    if values is None:
        raise BadImageError("it is not an image that TensorFlow can decode")
    return values


def _says_how_inks_are_stored(content: bytes) -> bool:
    return any(part.kind == b"\xee" and content.startswith(b"Adobe", part.start) for part in parts(content))


def _decode_by_tensorflow(content: bytes, header: Header) -> np.ndarray | None:
    """The pixels as the exported graph decodes them, without alpha; None if TensorFlow cannot."""
    import tensorflow as tf  # Takes seconds, and only opening an image needs none of it.

    try:
        with tf.device("CPU"):
            if header.format == "png":
                decoded = tf.io.decode_png(content, dtype=tf.uint16 if header.bits == 16 else tf.uint8)
            else:
                decoded = tf.io.decode_jpeg(content, channels=1 if header.channels == 1 else 3)
    except tf.errors.OpError:
        return None
    values = np.asarray(memoryview(decoded))  # Unlike `numpy()`, this does not copy.
    return values[..., :3] if values.shape[2] >= 3 else values[..., 0]


def _decode_by_pillow(content: bytes, max_pixels: int) -> _Decoded:
    image = decode(content, max_pixels)
    if image.format in _SEQUENCES and getattr(image, "n_frames", 1) > 1 and _is_sequence(image):
        raise BadImageError("it holds several images of one size; save the one that is meant as a file of its own")
    if bits := _hidden_bits(image, content):
        raise BadImageError(
            f"its colors have {bits} bits, of which only 8 can be read from {image.format}; save it as a PNG, which is "
            "read in all its bits"
        )
    values = _values(image)
    if of_tiff := tiff.read_header(content):
        if image.mode == "RGBA":
            tiff.note_opacity(np.asarray(image)[..., 3])
        # Which Pillow has turned, and forgotten how.
        return _Decoded(orientation.turned_back(values, of_tiff.turn), of_tiff.turn, nodata=of_tiff.nodata)
    exif: Any = image.info.get("exif")
    return _Decoded(values, orientation.block_orientation(exif) if isinstance(exif, bytes) else 1)


def _values(image: Image.Image) -> np.ndarray:
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        values = np.asarray(image)
        # Pillow has 32 bits for 16 of these.
        return values.astype(np.uint16 if image.format in ("PPM", "PNG") else values.dtype.newbyteorder("="))
    if image.mode == "La":
        image = image.convert("LA")
    if image.mode == "RGBa":
        image = image.convert("RGBA")
    if image.mode == "LAB":
        raise BadImageError("its colors are in the Lab color space; convert them to RGB")
    return np.asarray(image.convert("L" if image.mode in ("1", "L", "LA") else "RGB"))


def _hidden_bits(image: Image.Image, content: bytes) -> int:
    """The bits of a channel where Pillow has cut them off, and 0 where it has not."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return 0
    if image.format == "JPEG2000" and image.mode not in ("1", "P"):
        start = content.find(b"\xff\x4f\xff\x51")  # The codestream's first two markers; then the image's size.
        depth = (content[start + 42] & 0x7F) + 1 if 0 <= start < len(content) - 42 else 8
        return depth if depth > 8 else 0
    if image.format == "PPM":
        fields = content[:4096].split(None, 4)
        return 16 if fields[0] in (b"P3", b"P6") and b"#" not in content[:64] and int(fields[3]) > 255 else 0
    return 16 if image.format == "SGI" and content[3:4] == b"\x02" else 0


def _is_sequence(image: Image.Image) -> bool:
    """Whether the second image is one of its own, not a thumbnail of the first."""
    first = image.size
    image.seek(1)
    second = image.size
    image.seek(0)
    return first == second


def _check_size(width: int, height: int, max_pixels: int, bands: int = 1) -> None:
    if width * height > max_pixels:
        raise BadImageError(f"{width}x{height} pixels are more than the limit of {max_pixels}")
    if width * height * bands > max_pixels * _MOST_BANDS:
        raise BadImageError(
            f"{width}x{height} pixels of {bands} bands are more values than the limit of {_MOST_BANDS} for each of "
            f"{max_pixels} pixels"
        )


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


def encode_png(pixels: np.ndarray, compression: int = 6) -> bytes:
    """PNG bytes of [height, width] or [height, width, 3] pixels, uint8 or uint16; compressed by 0, not at all, to 9."""
    if pixels.ndim == 3 and pixels.dtype == np.uint16:  # Which Pillow cannot write.
        import tensorflow as tf

        with tf.device("CPU"):
            return tf.io.encode_png(pixels, compression).numpy()
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", compress_level=compression)
    return buffer.getvalue()
