"""COCO's run lengths: of pixels outside and inside of an object in turn, down each column, from left to right."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from data.decoding.errors import BadImageError

# Five bits a letter, the lowest first; the sixth bit says that the number goes on. Seven letters hold any run.
_COMPRESSED = re.compile(r"(?:[P-o]{0,6}[0-O])*")


def decompressed(text: str) -> np.ndarray:
    """The run lengths in pycocotools' compressed text, which has the difference of each to the last but one.

    pycocotools itself reads beyond the end of broken text, and does not say if runs are missing.

    Raises:
      BadImageError: if it is no such text.
    """
    if not _COMPRESSED.fullmatch(text):
        raise BadImageError("its run lengths are not COCO's compressed text")
    if not text:
        return np.zeros(0, np.int64)
    letters = np.frombuffer(text.encode(), np.uint8) - np.uint8(48)
    ends = np.flatnonzero(letters < 32)
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    places = np.arange(letters.size) - np.repeat(starts, lengths)
    numbers = np.add.reduceat((letters & 31).astype(np.int64) << 5 * places, starts)
    numbers -= (letters[ends] >> 4).astype(np.int64) << 5 * lengths  # Of negative numbers the highest bit is set.
    numbers[1::2] = np.cumsum(numbers[1::2])
    numbers[2::2] = np.cumsum(numbers[2::2])  # Without the first, from which pycocotools takes no difference.
    return numbers


def checked(counts: Sequence[int] | np.ndarray, height: int, width: int) -> np.ndarray:
    """Run lengths of an image of a size.

    Raises:
      BadImageError: if these are not whole numbers that add up to its pixels.
    """
    try:
        numbers = np.asarray(counts)
    except ValueError:  # Lists of several lengths.
        numbers = np.zeros(1)
    if numbers.size and (numbers.dtype.kind not in "iu" or numbers.ndim != 1 or numbers.min() < 0):
        raise BadImageError("its run lengths are not all whole numbers of 0 or more")
    # Each for itself too, as the sum of very large numbers begins again at 0.
    total = int(numbers.sum()) if numbers.size and numbers.max() <= height * width else sum(numbers.tolist())
    if total != height * width:
        raise BadImageError(f"its run lengths cover {total} pixels, the image has {height * width}")
    return numbers


def columns(counts: np.ndarray, height: int) -> tuple[np.ndarray, int]:
    """The part of an image that has all of an object's pixels.

    Args:
      counts: run lengths that `checked` has returned.
      height: of the image, in pixels.

    Returns:
      Whole columns of the image, [height, columns] bool, and the first one's place.
    """
    counts = counts[: len(counts) // 2 * 2]  # What follows the last run inside is outside.
    start, end = (int(counts[0]), int(counts.sum())) if len(counts) else (0, 0)
    if start == end:
        return np.zeros((height, 0), bool), 0
    left, right = start // height, -(-end // height)
    lengths = np.append(counts, right * height - end)
    lengths[0] = start - left * height
    values = np.arange(len(lengths)) % 2 == 1
    return np.repeat(values, lengths).reshape(right - left, height).T, left


def compressed(counts: Sequence[int] | np.ndarray) -> str:
    """Run lengths as pycocotools' compressed text, which `decompressed` reads."""
    numbers = np.array(counts, np.int64)
    numbers[3:] -= np.asarray(counts, np.int64)[1:-2]
    letters = []
    for number in numbers.tolist():
        goes_on = True
        while goes_on:
            low, number = number & 31, number >> 5
            # The highest bit of the last letter is the sign.
            goes_on = number != (-1 if low & 16 else 0)
            letters.append(chr(48 + low + (32 if goes_on else 0)))
    return "".join(letters)
