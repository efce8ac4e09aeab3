"""Objects that a model found, and the files in which COCO's programs take them."""

from __future__ import annotations

import dataclasses
import io
import json
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from data.annotations.run_lengths import compressed
from data.base.errors import UserError
from data.label_map import LabelMap
from data.writing.writer import readable

RESULTS, PANOPTIC = "objects_coco.json", "objects_panoptic.json"


@dataclasses.dataclass(frozen=True)
class FoundObjects:
    """The objects in an image, in the order of their numbers, which begin at 1.

    Attributes:
      numbers: [height, width] int32, which object a pixel belongs to, 0 for none.
      class_ids: [n] integers.
      scores: [n] floats from 0 to 1.
      boxes: [n, 4] integers: top, left, bottom and right, the last two exclusive.
      areas: [n] integers, pixels.
    """

    numbers: np.ndarray
    class_ids: np.ndarray
    scores: np.ndarray
    boxes: np.ndarray
    areas: np.ndarray

    @classmethod
    def measured(cls, numbers: np.ndarray, class_ids: np.ndarray, scores: np.ndarray) -> FoundObjects:
        """With the boxes and areas that objects have in `numbers`; those without a pixel are left out."""
        areas = np.bincount(numbers.ravel(), minlength=len(class_ids) + 1)
        kept = np.flatnonzero(areas[1:])
        places = np.zeros(len(areas), np.int32)
        places[kept + 1] = np.arange(1, len(kept) + 1)
        numbers = places[numbers]
        rows, columns = np.nonzero(numbers)
        owners = numbers[rows, columns] - 1
        boxes = np.zeros([len(kept), 4], np.int64)
        boxes[:, :2] = max(numbers.shape)
        for axis, where in ((0, rows), (1, columns)):
            np.minimum.at(boxes[:, axis], owners, where)
            np.maximum.at(boxes[:, axis + 2], owners, where + 1)
        return cls(numbers, class_ids[kept], scores[kept], boxes, areas[1:][kept])

    def counts(self, label_map: LabelMap) -> dict[str, int]:
        """How many objects each class has, by its name; classes without objects are left out."""
        counted = np.bincount(self.class_ids, minlength=len(label_map)).tolist()
        return {name: count for name, count in zip(label_map.names, counted, strict=True) if count}

    def described(self, label_map: LabelMap) -> list[dict[str, Any]]:
        """Each object as JSON holds it."""
        return [
            {"class": label_map.names[class_id], "score": round(score, 4), "box": box, "area": area}
            for class_id, score, box, area in zip(
                self.class_ids.tolist(), self.scores.tolist(), self.boxes.tolist(), self.areas.tolist(), strict=True
            )
        ]


def is_edge(numbers: np.ndarray) -> np.ndarray:
    """Where an object meets another one or the background, [height, width] bool: its outermost pixels."""
    framed = np.pad(numbers, 1, mode="edge")
    inner = framed[1:-1, 1:-1]
    neighbors = (framed[:-2, 1:-1], framed[2:, 1:-1], framed[1:-1, :-2], framed[1:-1, 2:])
    return (inner > 0) & np.any([inner != other for other in neighbors], axis=0)


def panoptic_ids(class_ids: np.ndarray, objects: FoundObjects) -> np.ndarray:
    """The number of each pixel's segment: those of the objects, then one for each class without: [height, width]."""
    count = len(objects.class_ids)
    return np.where(objects.numbers > 0, objects.numbers, count + 1 + class_ids.astype(np.int32))


def panoptic_colors(ids: np.ndarray) -> np.ndarray:
    """Numbers of segments as COCO's panoptic format stores them: red + 256 · green + 65,536 · blue."""
    return np.stack([ids & 255, ids >> 8 & 255, ids >> 16], axis=-1).astype(np.uint8)


class ObjectFiles:
    """Writes two files for a folder of predictions, one image at a time.

    `objects_coco.json` has the results of COCO's instance segmentation, a list of objects with run lengths and scores,
    and `objects_panoptic.json` is of COCO's panoptic segmentation, whose images are PNG files beside it. Categories
    have the ids of the label map, and images are numbered from 1 on; `objects_panoptic.json` has their names.
    (https://cocodataset.org/#format-results)

    Args:
      folder: where to write.
      label_map: the classes.
      things: names of the classes that have objects.
    """

    def __init__(self, folder: str, label_map: LabelMap, things: list[str]):
        self._images: list[dict[str, Any]] = []
        self._results = self._open(folder, RESULTS, "[")
        categories = [
            {
                "id": label.id,
                "name": label.name,
                "color": list(label.color),
                "supercategory": "",
                "isthing": int(label.name in things),
            }
            for label in label_map.classes
        ]
        self._panoptic = self._open(folder, PANOPTIC, f'{{"categories": {json.dumps(categories)},\n"annotations": [')
        self._has_results = False

    @staticmethod
    def _open(folder: str, name: str, head: str) -> io.TextIOWrapper:
        path = os.path.join(folder, name)
        try:
            file = open(path, "w", encoding="utf-8")  # noqa: SIM115
            file.write(head)
        except OSError as error:
            raise UserError(f"cannot write {path}: {error.strerror}; choose another --output") from None
        return file

    def add(self, name: str, picture: str, class_ids: np.ndarray, objects: FoundObjects) -> None:
        """Adds an image.

        Args:
          name: of the image.
          picture: path of its `panoptic_colors`, in the folder.
          class_ids: [height, width].
          objects: in it.
        """
        height, width = class_ids.shape
        number = len(self._images) + 1
        self._images.append({"id": number, "file_name": readable(name), "height": height, "width": width})
        for result in _results(number, objects):
            self._results.write((",\n" if self._has_results else "\n") + json.dumps(result))
            self._has_results = True
        annotation = {
            "image_id": number,
            "file_name": readable(picture),
            "segments_info": list(_segments(class_ids, objects)),
        }
        self._panoptic.write((",\n" if number > 1 else "\n") + json.dumps(annotation))

    def close(self) -> None:
        """Completes the files."""
        images = ",\n".join(map(json.dumps, self._images))
        for file, tail in ((self._results, "\n]\n"), (self._panoptic, f'\n],\n"images": [\n{images}\n]}}\n')):
            file.write(tail)
            file.close()


def _results(image: int, objects: FoundObjects) -> Iterator[dict[str, Any]]:
    height, width = objects.numbers.shape
    for index, (top, left, bottom, right) in enumerate(objects.boxes.tolist()):
        # Down each column; what is left and right of the box is not looked at.
        pixels = np.zeros([right - left, height], bool)
        pixels[:, top:bottom] = (objects.numbers[top:bottom, left:right] == index + 1).T
        changes = np.flatnonzero(np.diff(pixels.ravel(), prepend=False, append=False)) + left * height
        runs = np.diff(changes, prepend=0, append=height * width)
        yield {
            "image_id": image,
            "category_id": int(objects.class_ids[index]),
            "bbox": [left, top, right - left, bottom - top],
            "segmentation": {"size": [height, width], "counts": compressed(runs)},
            "score": round(float(objects.scores[index]), 6),
        }


def _segments(class_ids: np.ndarray, objects: FoundObjects) -> Iterator[dict[str, Any]]:
    for index, (top, left, bottom, right) in enumerate(objects.boxes.tolist()):
        yield {
            "id": index + 1,
            "category_id": int(objects.class_ids[index]),
            "area": int(objects.areas[index]),
            "bbox": [left, top, right - left, bottom - top],
            "iscrowd": 0,
        }
    without = np.where(objects.numbers > 0, 0, class_ids.astype(np.int32) + 1)
    stuff = FoundObjects.measured(without, np.arange(256), np.zeros(256))
    for class_id, area, (top, left, bottom, right) in zip(
        stuff.class_ids.tolist(), stuff.areas.tolist(), stuff.boxes.tolist(), strict=True
    ):
        yield {
            "id": len(objects.class_ids) + 1 + class_id,
            "category_id": class_id,
            "area": area,
            "bbox": [left, top, right - left, bottom - top],
            "iscrowd": 0,
        }
