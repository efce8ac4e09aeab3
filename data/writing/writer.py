"""The interface of formats in which predictions are written for labeling tools."""

from __future__ import annotations

import abc
import dataclasses
import io
import os
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from data.label_map import Label
    from data.writing.outlines.regions import Region

# Control characters, half of them forbidden in XML, and what stands for bytes that are no text.
_NO_TEXT = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


@dataclasses.dataclass(frozen=True)
class AnnotatedImage:
    """A predicted image.

    Attributes:
      name: what tools call it: its path below the folder that was given, with the suffix.
      result: what its results are called, without a suffix.
      path: the image file; empty for an image in a TFRecord.
      height: of the image, in pixels.
      width: likewise.
      regions: the regions of its classes.
    """

    name: str
    result: str
    path: str
    height: int
    width: int
    regions: Sequence[Region]

    def objects(self) -> list[list[Region]]:
        """The regions; those of one object together."""
        found: dict[tuple[int, int], list[Region]] = {}
        for index, region in enumerate(self.regions):
            found.setdefault((region.object, 0 if region.object else index), []).append(region)
        return list(found.values())


class Writer(abc.ABC):
    """Writes the annotations of images, one image at a time, into a folder of its own.

    Args:
      folder: where to write; it is empty.
      destination: what becomes of the folder's path once everything is written.
      labels: the classes that regions may have, in their order.
    """

    def __init__(self, folder: str, destination: str, labels: Sequence[Label]):
        self.folder, self.destination, self.labels = folder, destination, labels
        self.names = {label.id: label.name for label in labels}
        self._open: list[io.TextIOWrapper] = []

    @abc.abstractmethod
    def add(self, image: AnnotatedImage) -> None:
        """Writes an image's annotations."""

    def finish(self) -> None:
        """Completes the files; nothing is added any more."""
        self.close()

    def close(self) -> None:
        """Closes the files, whether all is written or not."""
        for file in self._open:
            file.close()

    def open_file(self, name: str) -> io.TextIOWrapper:
        """Opens a file, by its path in the folder, that is written little by little."""
        self._open.append(open(os.path.join(self.folder, name), "w", encoding="utf-8"))  # noqa: SIM115
        return self._open[-1]

    def write_file(self, name: str, text: str) -> None:
        """Writes a whole file, by its path in the folder."""
        path = os.path.join(self.folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)


def readable(name: str) -> str:
    """A file's name as text that JSON, XML and lists of files can hold."""
    return _NO_TEXT.sub("\N{REPLACEMENT CHARACTER}", name.replace(os.sep, "/"))


def numbers(corners: np.ndarray) -> list[float]:
    """Coordinates one after the other, as whole numbers where they are."""
    return [int(value) if value.is_integer() else round(value, 4) for value in corners.ravel().tolist()]


def points(corners: np.ndarray) -> list[list[float]]:
    """Coordinates as pairs of x and y, likewise."""
    flat = numbers(corners)
    return [list(pair) for pair in zip(flat[::2], flat[1::2], strict=True)]


def hexadecimal(color: Sequence[int]) -> str:
    """A color such as `#ff8000`."""
    return "#" + bytes(color).hex()
