"""How images of more than 8 bits become 8 bits: by one range for the whole data set.

Cameras and microscopes write 10 to 12 bits into files of 16, so neither the high byte nor the type's own range says
what is black and what is white. The lowest and the highest value of all images of a data set do; they are kept in the
report of the conversion, and the exported model scales what it gets by the same range.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Annotated, Any

import pydantic

from data.base.errors import UserError
from data.base.files import exists, join, read_bytes
from data.contract import REPORT_FILE
from data.decoding.notes import Notes, note

if TYPE_CHECKING:  # Settings are read without NumPy.
    import numpy as np

Range = tuple[float, float]

# What is noted about an image: it has more than 8 bits, with these values; or it has 8.
DEEP, EIGHT_BITS, VALUES = "images_of_more_than_8_bits", "images_of_8_bits", "intensity"
FEW_LEVELS = "images_of_more_than_8_bits_of_which_few_levels_are_left"
# The key of the report of a conversion.
RANGE_KEY = "intensity_range"

# An image that has more levels than these must keep at least as many.
MIN_LEVELS = 16
# If most have more than twice as many, but not these left, a few extreme values have made the range.
_FEW = 64


def _parse(value: Any) -> Any:
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


def _check(value: Range) -> Range:
    if not (math.isfinite(value[0]) and math.isfinite(value[1]) and value[0] < value[1]):
        raise ValueError("takes two numbers, the lower one first, such as 0,4095")
    return value


# As text, `LOW,HIGH`.
IntensityRange = Annotated[
    tuple[float, float],
    pydantic.BeforeValidator(_parse),
    pydantic.AfterValidator(_check),
    pydantic.Field(title="LOW,HIGH"),
]


def scale(values: np.ndarray, intensity_range: Range) -> np.ndarray:
    """Scales values so that the range becomes 0 to 255; values outside of it become 0 or 255.

    Args:
      values: any shape, finite.
      intensity_range: the lowest and the highest value.

    Returns:
      uint8, rounded.
    """
    import numpy as np

    if values.dtype == np.uint16:
        return table(intensity_range)[values]
    low, high = intensity_range
    return np.rint(np.clip((values.astype(np.float64) - low) / (high - low), 0, 1) * 255).astype(np.uint8)


def table(intensity_range: Range) -> np.ndarray:
    """What `scale` makes of each 16-bit value: [65536] uint8."""
    import numpy as np

    return scale(np.arange(65536, dtype=np.int64), intensity_range)


def lost_levels(values: np.ndarray, scaled: np.ndarray) -> tuple[int, int] | None:
    """How many levels there were and are left, if there were more than `MIN_LEVELS` and fewer than these are left.

    Notes an image that keeps these, but loses most of its levels.

    Args:
      values: before scaling.
      scaled: [same shape] uint8.
    """
    import numpy as np

    after = int(np.count_nonzero(np.bincount(scaled.ravel(), minlength=256)))
    if after >= _FEW:
        return None
    is_deep = values.dtype == np.uint16  # Counting is faster than sorting.
    before = int(np.count_nonzero(np.bincount(values.ravel()))) if is_deep else len(np.unique(values))
    if after >= MIN_LEVELS:
        if before > 2 * after:
            note(FEW_LEVELS)
        return None
    return (before, after) if before > MIN_LEVELS else None


def read_range(folder: str) -> Range | None:
    """The range by which the conversion that made a folder scaled images; None if it scaled none, or there was none."""
    path = join(folder, REPORT_FILE)
    found = json.loads(read_bytes(path)).get(RANGE_KEY) if exists(path) else None
    return (float(found[0]), float(found[1])) if found else None


def check_addition(notes: Notes, intensity_range: Range) -> None:
    """Raises a UserError if images of 8 bits are added to data that was scaled, and nobody said that this is meant."""
    if EIGHT_BITS in notes.first:
        low, high = intensity_range
        raise UserError(
            f"{notes.first[EIGHT_BITS]} has 8 bits, and the spans beside had more, of which {low:g} became black and "
            f"{high:g} white. Which values mean the same brightness, the files do not say; --intensity-range "
            f"{low:g},{high:g} takes images of 8 bits as they are"
        )


def find_range(notes: Notes, is_addition: bool) -> Range:
    """The range of a data set, from what its images noted.

    Args:
      notes: of all images, some of which have more than 8 bits.
      is_addition: other data, without a range, will be trained on too.

    Raises:
      UserError: if the values alone do not say which range is meant.
    """
    low, high = notes.ranges[VALUES]
    deep = (
        f"{notes.first[DEEP]} has more than 8 bits (in all {notes.counts[DEEP]} such images, from {low:g} to {high:g})"
    )
    remedy = f"--intensity-range {low:g},{high:g} scales them so that {low:g} becomes black and {high:g} white"
    if EIGHT_BITS in notes.counts:
        raise UserError(
            f"{deep}, and {notes.first[EIGHT_BITS]} has 8. Which values mean the same brightness, the files do not "
            f"say; images of 8 bits stay as they are, and {remedy}"
        )
    if is_addition:
        raise UserError(f"{deep}, and the spans beside have 8, or do not say how theirs were scaled; {remedy}")
    if low == high:
        raise UserError(f"{deep}; all pixels of all images have this one value, so there is nothing to learn from")
    return low, high


def check_levels(notes: Notes, intensity_range: Range) -> None:
    """Raises a UserError if the range that was found leaves most images only a few gray levels."""
    few, deep = notes.counts.get(FEW_LEVELS, 0), notes.counts.get(DEEP, 0)
    if few * 2 > deep:
        low, high = intensity_range
        raise UserError(
            f"{few} of {deep} images of more than 8 bits, {notes.first[FEW_LEVELS]} among them, keep fewer than half "
            f"of their levels, and fewer than {_FEW}, since the values of all images go from {low:g} to {high:g}; a "
            "few pixels with extreme values may be the reason. --intensity-range LOW,HIGH gives the range that counts "
            f"(values outside of it become black or white), or --intensity-range {low:g},{high:g} if it is this one"
        )


def remarks(notes: Notes, intensity_range: Range | None) -> list[str]:
    """What the user should know about how images were scaled."""
    if intensity_range is None or DEEP not in notes.counts:
        return []
    low, high = intensity_range
    return [f"images of more than 8 bits: {notes.counts[DEEP]}; {low:g} became black, {high:g} white"]
