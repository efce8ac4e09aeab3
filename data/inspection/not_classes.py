"""Masks that cannot hold classes: photographs, lossy copies of masks, numbered objects."""

from __future__ import annotations

import numpy as np

from data.base.errors import UserError
from data.base.files import read_bytes
from data.decoding.images import BadImageError
from data.inspection.mask_values import MaskValues
from data.masks.files import read_mask

MOST_CLASSES = 254
# With fewer values than these, numbered objects cannot be told from classes.
_MANY = 20
_COMPACT = 0.45


def check_meaning(values: MaskValues, ids: dict[int, int], max_pixels: int) -> None:
    """Raises a UserError, with a remedy, if masks hold something else than a value or a color for each class.

    Args:
      values: what the masks hold.
      ids: pixels of each value, empty if their colors count.
      max_pixels: larger masks are not read.
    """
    of = f"of {len(values.looks)} masks that were read"
    pictures = [look for look in values.looks if look.is_picture]
    if len(pictures) * 2 > len(values.looks):
        raise UserError(
            f"{pictures[0].path} looks like a photograph, not like a mask, and so do {len(pictures)} {of}: hardly two "
            "neighboring pixels are equal. A mask has one value or color for each class. If the masks are in another "
            "folder, name it: `segpipe convert --format mask-folder --help`"
        )
    lossy = [look for look in values.looks if look.edges or look.lossy]
    if lossy:
        look = lossy[0]
        why = f"has {look.edges} values along edges only, as JPEG, resizing or smoothing leave them"
        if look.lossy:
            why = f"is stored as {look.lossy}, which keeps no exact values"
        raise UserError(
            f"{look.path} {why}; in all, {len(lossy)} {of} are such. Export the masks anew, as PNG, without resizing "
            "or smoothing; or name the classes and let `segpipe convert --format mask-folder --labels FILE --nearest` "
            f"take the nearest value or color of a class{_also_unreadable(values)}"
        )
    if len(ids) > _MANY:
        _check_instances(values, ids, max_pixels)
    if not ids and len(values.colors()) > MOST_CLASSES:
        raise UserError(
            f"the masks hold {len(values.colors())} colors, more than there can be classes ({MOST_CLASSES}); if only "
            "some are classes, name those in a labels.yaml for `segpipe convert --format mask-folder --labels`"
        )


def _also_unreadable(values: MaskValues) -> str:
    """So that all can be mended in one go."""
    if not values.unreadable:
        return ""
    path, reason = values.unreadable[0]
    return f". Beside these, {len(values.unreadable)} cannot be read, such as {path}: {reason}"


def _check_instances(values: MaskValues, ids: dict[int, int], max_pixels: int) -> None:
    crowded = sorted(values.looks, key=lambda look: -len(look.ids))[:10]
    if len(ids) <= MOST_CLASSES:
        # There are as many numbers as objects: they run from 1 on, to another end in each mask, each in one place.
        run_on = sum(set(range(1, max(look.ids))) <= set(look.ids) for look in crowded)
        ends = {max(look.ids) for look in values.looks}
        if 2 * run_on < len(crowded) or len(ends) < min(4, len(values.looks)):
            return
        if float(np.median([fill for look in crowded for fill in _fills(look.path, max_pixels)] or [0])) < _COMPACT:
            return
    look = crowded[0]
    raise UserError(
        f"the masks seem to number objects (instance ids): {look.path} holds {len(look.ids)} values up to "
        f"{max(look.ids)}. With the name of their folder for DIR, this reads them as objects of one class:\n"
        "  --format mask-folder --masks DIR --objects DIR --classes background,object"
    )


def _fills(path: str, max_pixels: int) -> list[float]:
    """How much of its bounding box each value but 0 fills: much for one object, little for what is all over a mask."""
    try:
        mask = read_mask(read_bytes(path), max_pixels).pixels
    except (BadImageError, OSError):
        return []
    mask = mask[..., 0] if mask.ndim == 3 else mask
    rows, columns = np.nonzero(mask)
    values, inverse, counts = np.unique(mask[rows, columns], return_inverse=True, return_counts=True)
    sides = []
    for places in (rows, columns):
        low, high = np.full(len(values), np.iinfo(np.int64).max), np.zeros(len(values), np.int64)
        np.minimum.at(low, inverse, places)
        np.maximum.at(high, inverse, places)
        sides.append(high - low + 1)
    return list(counts / (sides[0] * sides[1]))
