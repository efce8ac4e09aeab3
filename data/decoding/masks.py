"""Turns masks of any origin into class ids."""

from __future__ import annotations

import numpy as np
from PIL import Image, TiffImagePlugin

from data.contract import IGNORE_LABEL
from data.decoding.images import BadImageError, decode
from data.label_map import LabelMap


def read_mask(content: bytes, max_pixels: int) -> np.ndarray:
    """Decodes a mask: [height, width] of ids (gray and palette images) or [height, width, 3] uint8 colors.

    Ids are the values in the file: gray of 1, 2 or 4 bits has ids up to 1, 3 or 15.

    Raises:
      BadImageError: if the mask is unreadable or has more than `max_pixels` pixels.
    """
    mask = decode(content, max_pixels)
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
