"""YOLO's segmentation (https://docs.ultralytics.com/datasets/segment/), laid out as CVAT imports it.

Each line is a class and one polygon in shares of the image; holes, and further parts of an object, are joined to it by
cuts without width.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import yaml

from data.writing.writer import AnnotatedImage, Writer, readable

if TYPE_CHECKING:
    from data.label_map import Label

_SUBSET = "train"


class YoloWriter(Writer):
    """`data.yaml`, a list of the images, and `labels/train/NAME.txt` for each; images belong in `images/train`."""

    def __init__(self, folder: str, destination: str, labels: Sequence[Label]):
        super().__init__(folder, destination, labels)
        self._numbers = {label.id: number for number, label in enumerate(labels)}
        self._list = self.open_file(f"{_SUBSET}.txt")

    def add(self, image: AnnotatedImage) -> None:
        lines = []
        for regions in image.objects():
            corners = _joined([(region.ring / (image.width, image.height)).tolist() for region in regions])
            number = self._numbers[regions[0].class_id]
            lines.append(" ".join([str(number), *(f"{share:.9g}" for corner in corners for share in corner)]) + "\n")
        self.write_file(os.path.join("labels", _SUBSET, f"{image.result}.txt"), "".join(lines))
        # Labels are found by the name without its suffix; images of one name have results with theirs.
        name = image.result + os.path.splitext(image.name)[1]
        self._list.write(f"images/{_SUBSET}/{readable(name)}\n")

    def finish(self) -> None:
        names = {self._numbers[label.id]: label.name for label in self.labels}
        content = {"path": ".", _SUBSET: f"{_SUBSET}.txt", "names": names}
        self.write_file("data.yaml", yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
        super().finish()


def _joined(rings: Sequence[list[list[float]]]) -> list[list[float]]:
    """Rings as one, which goes from the beginning of the first to each other one and back."""
    first, *others = rings
    if not others:
        return first
    return [*first, first[0], *(corner for ring in others for corner in (*ring, ring[0], first[0]))]
