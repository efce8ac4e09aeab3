"""Turns images of any origin into what the data contract stores."""

from __future__ import annotations

import dataclasses
import io
import threading

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

_KEPT_FORMATS = {"JPEG": "jpeg", "PNG": "png"}
_KEPT_MODES = ("L", "RGB", "I;16")
_PILLOW_LIMIT = threading.Lock()


class BadImageError(Exception):
    """An image or a mask that cannot be used; the message is the reason that the user reads."""


@dataclasses.dataclass(frozen=True)
class EncodedImage:
    """An image as the contract stores it: JPEG or PNG, RGB or gray."""

    encoded: bytes
    format: str
    height: int
    width: int


def open_image(content: bytes, formats: tuple[str, ...] | None = None) -> Image.Image:
    """Opens an image of any size, without decoding more than its header; the caller checks the size.

    Pillow's own limit is a global that other code in the process may rely on. It warns above its value and raises above
    twice that, so it is lifted, but only while the header is read.

    Args:
      content: the file's bytes.
      formats: Pillow's names of those to try; all by default.

    Raises:
      Exception: nearly anything, if the header is broken.
    """
    with _PILLOW_LIMIT:
        limit = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = None
        try:
            return Image.open(io.BytesIO(content), formats=formats)
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def decode(content: bytes, max_pixels: int) -> Image.Image:
    """Opens an image or a mask and decodes all of it.

    Raises:
      BadImageError: if it is unreadable or has more than `max_pixels` pixels.
    """
    try:
        image = open_image(content)
        width, height = image.size
        if width * height > max_pixels:
            raise BadImageError(f"{width}x{height} pixels are more than the limit of {max_pixels}")
        image.load()
    except (BadImageError, MemoryError):
        raise
    except UnidentifiedImageError:  # Pillow's message holds a memory address instead of a name.
        raise BadImageError("unreadable: not a known image format") from None
    except Exception as error:  # Pillow's decoders raise nearly anything on broken files.
        raise BadImageError(f"unreadable: {str(error) or type(error).__name__}") from None
    return image


def read_image(content: bytes, mask_size: tuple[int, int] | None, max_pixels: int) -> EncodedImage:
    """Checks an image by decoding all of it, and returns it as the contract stores it.

    JPEG and PNG files in RGB or gray keep their bytes. Everything else (GIF, alpha channels, palettes, CMYK) becomes
    an RGB PNG. An EXIF orientation is applied if the mask has the size of the rotated image, because annotation tools
    show it that way.

    Args:
      content: the file's bytes; the file's name does not matter.
      mask_size: width and height of the mask in pixels, or None for an image without one, which is turned upright.
      max_pixels: larger images are refused before they are decoded.

    Raises:
      BadImageError: if the image is unreadable, too large, or not of the mask's size.
    """
    image = decode(content, max_pixels)
    turned = ImageOps.exif_transpose(image)
    upright = turned if mask_size in (None, turned.size) else image
    if mask_size not in (None, upright.size):
        raise BadImageError(
            f"sizes differ: the image has {image.width}x{image.height} pixels, the mask {mask_size[0]}x{mask_size[1]}"
        )
    is_kept = image.format in _KEPT_FORMATS and image.mode in _KEPT_MODES and "transparency" not in image.info
    if is_kept and (upright is image or image.getexif().get(0x0112, 1) == 1):
        return EncodedImage(content, _KEPT_FORMATS[str(image.format)], image.height, image.width)
    if upright.mode in ("I", "F"):
        raise BadImageError("its pixels have 32 bits; convert them to 8 or 16")
    if upright.mode.startswith("I;16"):
        pixels = (np.asarray(upright) >> 8).astype(np.uint8)
    else:
        pixels = np.asarray(upright if upright.mode == "L" else upright.convert("RGB"))
    return EncodedImage(encode_png(pixels), "png", upright.height, upright.width)


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
    """PNG bytes of [height, width] or [height, width, 3] uint8 pixels."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()
