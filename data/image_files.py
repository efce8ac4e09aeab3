"""Turns images and masks of any origin into what the data contract stores."""

from __future__ import annotations

import dataclasses
import io
import threading

import numpy as np
from PIL import Image, ImageOps, TiffImagePlugin, UnidentifiedImageError

from data.contract import IGNORE_LABEL
from data.label_map import LabelMap

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


def _decode(content: bytes, max_pixels: int) -> Image.Image:
    try:
        image = open_image(content)
        width, height = image.size
        if width * height > max_pixels:
            raise BadImageError(f"{width}x{height} pixels are more than the limit of {max_pixels}")
        image.load()
    except BadImageError:
        raise
    except UnidentifiedImageError:  # Pillow's message holds a memory address instead of a name.
        raise BadImageError("unreadable: not a known image format") from None
    except Exception as error:  # Pillow's decoders raise nearly anything on broken files.
        raise BadImageError(f"unreadable: {error or type(error).__name__}") from None
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
    image = _decode(content, max_pixels)
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


def read_mask(content: bytes, max_pixels: int) -> np.ndarray:
    """Decodes a mask: [height, width] of ids (gray and palette images) or [height, width, 3] uint8 colors.

    Ids are the values in the file: gray of 1, 2 or 4 bits has ids up to 1, 3 or 15.

    Raises:
      BadImageError: if the mask is unreadable or has more than `max_pixels` pixels.
    """
    mask = _decode(content, max_pixels)
    if mask.mode == "1":
        return np.asarray(mask, np.uint8)
    if mask.mode == "L":
        # Pillow stretches gray of 2 and 4 bits, with values up to 3 and 15, to the range of 8 bits.
        return np.asarray(mask) // {2: 85, 4: 17}.get(_gray_bits(mask, content), 1)
    if mask.mode in ("P", "I") or mask.mode.startswith("I;16"):
        return np.asarray(mask)
    if mask.mode not in ("RGB", "RGBA"):
        raise BadImageError(f"a mask holds class ids or RGB colors; this one has the mode {mask.mode}")
    return np.asarray(mask.convert("RGB"))


def _gray_bits(image: Image.Image, content: bytes) -> int:
    """Bits per pixel in the file, for the formats that can store gray in fewer than 8."""
    if image.format == "PNG":
        return content[24]  # The first chunk is IHDR: 8 bytes of signature, 8 of its header, width, height, bit depth.
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return image.tag_v2[TiffImagePlugin.BITSPERSAMPLE][0]
    return 8


def class_ids(mask: np.ndarray, label_map: LabelMap) -> np.ndarray:
    """Turns a mask of ids or colors into [height, width] uint8 class ids.

    Args:
      mask: [height, width] class ids, or [height, width, 3] colors of the label map.
      label_map: the classes that may occur; 255 may always occur.

    Raises:
      BadImageError: names the first id or color that is not in the label map.
    """
    if mask.ndim == 2:
        ids = mask.astype(np.int64)
        wrong = np.argwhere(((ids < 0) | (ids >= len(label_map))) & (ids != IGNORE_LABEL))
        if len(wrong):
            row, column = wrong[0]
            raise BadImageError(
                f"class id {int(mask[row, column])} at row {row}, column {column} is not in the label map "
                f"(0 to {len(label_map) - 1}, and {IGNORE_LABEL} for ignore)"
            )
        return ids.astype(np.uint8)
    packed = mask.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    ids = np.full(packed.shape, -1, np.int64)
    for label in label_map.root:
        red, green, blue = label.color
        ids[packed == (red << 16 | green << 8 | blue)] = label.id
    wrong = np.argwhere(ids < 0)
    if len(wrong):
        row, column = wrong[0]
        raise BadImageError(f"color {mask[row, column].tolist()} at row {row}, column {column} is not in the label map")
    return ids.astype(np.uint8)


def encode_png(pixels: np.ndarray) -> bytes:
    """PNG bytes of [height, width] or [height, width, 3] uint8 pixels."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()
