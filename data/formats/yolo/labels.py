"""YOLO's label files: a line for each object, with its class and its outline."""

from __future__ import annotations

import math
import os
import unicodedata
from collections.abc import Collection, Iterator, Mapping

from data.decoding.errors import BadImageError

# What Ultralytics itself lets pass: rounding, and outlines that touch the edge. What lies beyond the image is cut off.
_TOLERANCE = 0.01
# Class, center, width and height.
BOX_NUMBERS = 5


def texts_by_path(files: Collection[str]) -> dict[str, str]:
    """The text files among a data set's files, by their path in Unicode's form NFC."""
    return {unicodedata.normalize("NFC", file): file for file in files if file.endswith(".txt")}


def label_file(image: str, texts: Mapping[str, str]) -> str:
    """The label file of an image: in `labels` in place of the last folder `images`, or else beside the image.

    Args:
      image: path below the data set, in Unicode's form NFC.
      texts: the text files, as by `texts_by_path`.

    Returns:
      Its path as it is stored, or an empty string if there is none.
    """
    beside = f"{os.path.splitext(image)[0]}.txt"
    *folders, name = beside.split("/")
    if "images" in folders:
        folders[len(folders) - 1 - folders[::-1].index("images")] = "labels"
    return texts.get("/".join([*folders, name])) or texts.get(beside, "")


def lines_of(content: bytes) -> Iterator[tuple[str, list[str]]]:
    """What messages call each line that is not blank, and its words.

    Raises:
      BadImageError: if it is no text.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BadImageError("no text in UTF-8") from None
    for number, line in enumerate(text.splitlines(), 1):
        if words := line.split():
            yield f"line {number}", words


def read_line(words: list[str], classes: Collection[int]) -> tuple[int, list[float]]:
    """The class of an object, and x and y of its corners in turn as parts of the image's width and height.

    Args:
      words: of the line.
      classes: the numbers that classes have.

    Raises:
      BadImageError: if the line is no outline of a known class; the message says why.
    """
    numbers = [_number(word) for word in words]
    class_number, coordinates = numbers[0], numbers[1:]
    if class_number not in classes:
        raise BadImageError(f"there is no class {words[0]}; there are {_ranges(classes)}")
    if len(numbers) == BOX_NUMBERS:
        raise BadImageError("it is a box (five numbers), and pixels need an outline; draw it, or delete the line")
    if len(coordinates) % 2:
        raise BadImageError(f"it has {len(coordinates)} coordinates, an odd number; is a confidence at its end?")
    if len(coordinates) < 6:
        raise BadImageError(f"its outline has {len(coordinates) // 2} points, and needs three")
    for value, word in zip(coordinates, words[1:], strict=True):
        if not -_TOLERANCE <= value <= 1 + _TOLERANCE:
            hint = "; are these pixels? They must be divided by the image's width and height" if value > 2 else ""
            raise BadImageError(f"its coordinate {word} is not between 0 and 1{hint}")
    return int(class_number), coordinates


def _number(word: str) -> float:
    try:
        value = float(word)
    except ValueError:
        raise BadImageError(f"{word[:40]!r} is not a number") from None
    if not math.isfinite(value):
        raise BadImageError(f"{word} is not a finite number")
    return value


def _ranges(classes: Collection[int]) -> str:
    """Some whole numbers in few words."""
    known = sorted(classes)
    return f"{known[0]} to {known[-1]}" if known == list(range(known[0], known[-1] + 1)) else str(known)[1:-1]


def looks_like_labels(content: bytes, is_whole: bool = True) -> bool:
    """Whether the beginning of a text file holds lines of a class and of coordinates that are parts of an image."""
    try:
        text = content.decode("utf-8-sig", "strict" if is_whole else "ignore")
    except UnicodeDecodeError:
        return False
    lines = [words for line in text.splitlines() if (words := line.split())]
    if not is_whole:  # The last one may be cut.
        lines = lines[:-1] or [words[:-1] for words in lines]
    return bool(lines) and all(_looks_like_label(words) for words in lines)


def _looks_like_label(words: list[str]) -> bool:
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        return False
    return (
        len(numbers) >= BOX_NUMBERS
        and numbers[0] >= 0
        and numbers[0].is_integer()
        and all(-_TOLERANCE <= value <= 1 + _TOLERANCE for value in numbers[1:])
    )
