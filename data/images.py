"""Reads images and masks of any origin into what the data contract stores."""

from __future__ import annotations

import dataclasses
import io

import numpy as np
from PIL import Image, ImageOps, TiffImagePlugin, UnidentifiedImageError

from data.contract import IGNORE_LABEL
from data.label_map import LabelMap

# Pillow's own limit only warns up to twice its value; `_open` checks the limit of the caller before decoding.
Image.MAX_IMAGE_PIXELS = None

_KEPT_FORMATS = {"JPEG": "jpeg", "PNG": "png"}
_KEPT_MODES = ("L", "RGB", "I;16")


class BadImageError(Exception):
    """An image or a mask that cannot be used; the message is the reason that the user reads."""


@dataclasses.dataclass(frozen=True)
class EncodedImage:
    """An image as the contract stores it: JPEG or PNG, RGB or grey."""

    encoded: bytes
    format: str
    height: int
    width: int


def _open(content: bytes, max_pixels: int) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(content))
        width, height = image.size
        if width * height > max_pixels:
            raise BadImageError(f"{width}x{height} pixels are more than the limit of {max_pixels}")
        image.load()
    except BadImageError:
        raise
    except UnidentifiedImageError:  # Pillow's message holds a memory address instead of a name.
        raise BadImageError("unreadable: in no image format that is known") from None
    except Exception as error:  # Pillow's decoders raise nearly anything on broken files.
        raise BadImageError(f"unreadable: {error or type(error).__name__}") from None
    return image


def read_image(content: bytes, mask_size: tuple[int, int] | None, max_pixels: int) -> EncodedImage:
    """Checks an image by decoding it whole and stores it by the contract.

    JPEG and PNG files in RGB or grey keep their bytes. Everything else (GIF, alpha channels, palettes, CMYK) becomes
    an RGB PNG. An EXIF orientation is applied where the mask has the size of the turned image, as annotation tools
    show it that way.

    Args:
      content: the file's bytes; what counts is what they are, not how the file is called.
      mask_size: width and height of the mask in pixels, or None for an image without one, which is turned upright.
      max_pixels: images with more are refused before they are decoded.

    Raises:
      BadImageError: if the image is unreadable, too large, or not of the mask's size.
    """
    image = _open(content, max_pixels)
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
        raise BadImageError("its pixels have 32 bits; store them in 8 or 16")
    if upright.mode.startswith("I;16"):
        pixels = (np.asarray(upright) >> 8).astype(np.uint8)
    else:
        pixels = np.asarray(upright if upright.mode == "L" else upright.convert("RGB"))
    return EncodedImage(encode_png(pixels), "png", upright.height, upright.width)


def read_mask(content: bytes, max_pixels: int) -> np.ndarray:
    """Decodes a mask: [height, width] of ids (grey and palette images) or [height, width, 3] uint8 colours.

    Ids are what the file holds: grey of 1, 2 or 4 bits has ids up to 1, 3 or 15.

    Raises:
      BadImageError: if the mask is unreadable or has more than `max_pixels` pixels.
    """
    mask = _open(content, max_pixels)
    if mask.mode == "1":
        return np.asarray(mask, np.uint8)
    if mask.mode == "L":
        # Pillow stretches grey of 2 and 4 bits, up to 3 and 15, to the range of 8 bits.
        return np.asarray(mask) // {2: 85, 4: 17}.get(_grey_bits(mask, content), 1)
    if mask.mode in ("P", "I") or mask.mode.startswith("I;16"):
        return np.asarray(mask)
    if mask.mode not in ("RGB", "RGBA"):
        raise BadImageError(f"a mask holds class ids or RGB colors; the mode of this one is {mask.mode}")
    return np.asarray(mask.convert("RGB"))


def _grey_bits(image: Image.Image, content: bytes) -> int:
    """How many bits a pixel has in the file, for the formats that may store grey in fewer than 8."""
    if image.format == "PNG":
        return content[24]  # The first chunk is IHDR: 8 bytes of signature, 8 of its head, width, height, bit depth.
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return image.tag_v2[TiffImagePlugin.BITSPERSAMPLE][0]
    return 8


def class_ids(mask: np.ndarray, label_map: LabelMap) -> np.ndarray:
    """Turns a mask of ids or colours into [height, width] uint8 class ids.

    Args:
      mask: [height, width] class ids, or [height, width, 3] colours of the label map.
      label_map: the classes that may occur; 255 may always occur.

    Raises:
      BadImageError: naming the first id or colour that is not in the label map.
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
