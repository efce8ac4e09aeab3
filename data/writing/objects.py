"""Objects that a model found, and the files in which COCO's programs take them."""

from __future__ import annotations

import contextlib
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
# What the panoptic file begins with, so that it is not mistaken for someone else's; the other one is a list.
_HEAD = '{"info": {"description": "segpipe predict"},\n'
# Pixels that are counted at once: counting takes eight bytes for each.
_BAND_PIXELS = 2**20


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
        areas, boxes = _measure(numbers, len(class_ids))
        kept = np.flatnonzero(areas)
        if len(kept) < len(areas):
            places = np.zeros(len(areas) + 1, np.int32)
            places[kept + 1] = np.arange(1, len(kept) + 1)
            numbers = places[numbers]
        return cls(numbers, class_ids[kept], scores[kept], boxes[kept], areas[kept])

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
    edges = np.zeros(inner.shape, bool)
    for neighbors in (framed[:-2, 1:-1], framed[2:, 1:-1], framed[1:-1, :-2], framed[1:-1, 2:]):
        edges |= inner != neighbors
    return edges & (inner > 0)


def panoptic_ids(class_ids: np.ndarray, objects: FoundObjects) -> np.ndarray:
    """The number of each pixel's segment: those of the objects, then one for each class without: [height, width]."""
    ids = class_ids.astype(np.int32)
    ids += len(objects.class_ids) + 1
    np.copyto(ids, objects.numbers, where=objects.numbers > 0)
    return ids


def panoptic_colors(ids: np.ndarray) -> np.ndarray:
    """Numbers of segments as COCO's panoptic format stores them: red + 256 · green + 65,536 · blue."""
    return np.ascontiguousarray(ids, "<u4").view(np.uint8).reshape(*ids.shape, 4)[..., :3]


@contextlib.contextmanager
def object_files(folder: str, label_map: LabelMap, things: list[str]) -> Iterator[ObjectFiles]:
    """Writes two files for a folder of predictions, which appear at the end, whole or not at all.

    Until then they are called `.partial`; those of an earlier run are removed, since the images beside them change.

    Args:
      folder: where to write; it must exist.
      label_map: the classes.
      things: names of the classes that have objects.

    Raises:
      UserError: if a file exists that is someone else's, or cannot be written.
    """
    paths = [os.path.join(folder, name) for name in (RESULTS, PANOPTIC)]
    _check_free(*paths)
    partial = [f"{path}.partial" for path in paths]
    with contextlib.ExitStack() as stack:
        with _explained(folder):
            # The one with the mark comes last, so that what is left without it is someone else's.
            for path in (*partial, *paths):
                with contextlib.suppress(FileNotFoundError):
                    os.remove(path)
            opened = []
            for path in partial:
                stack.callback(_remove, path)
                opened.append(open(path, "x", encoding="utf-8"))  # noqa: SIM115
                stack.callback(_give_up, opened[-1])
            files = ObjectFiles(folder, opened[0], opened[1], label_map, things)
        yield files
        with _explained(folder):
            files.close()
            for written, path in reversed(list(zip(partial, paths, strict=True))):
                os.replace(written, path)


def _check_free(results: str, panoptic: str) -> None:
    """Raises a UserError if one of the files exists and is no result of predict."""
    is_own = False
    if os.path.isfile(panoptic):  # Not a pipe, at which reading would wait.
        with contextlib.suppress(OSError), open(panoptic, encoding="utf-8", errors="replace") as file:
            is_own = file.read(len(_HEAD)) == _HEAD
    for path in (results, panoptic):
        if os.path.lexists(path) and not (is_own and os.path.isfile(path)):
            raise UserError(f"{path} exists and is no result of predict; move it away, or choose another --output")


@contextlib.contextmanager
def _explained(folder: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(
            f"cannot write {RESULTS} and {PANOPTIC} in {folder}: {error.strerror}; mend that, or choose another "
            "--output"
        ) from None


def _remove(path: str) -> None:
    with contextlib.suppress(OSError):
        os.remove(path)


def _give_up(file: io.TextIOWrapper) -> None:
    """Closes a file; what it cannot hold any more is removed with it."""
    with contextlib.suppress(OSError):
        file.close()


class ObjectFiles:
    """The two files, to which one image after the other is added; made by `object_files`.

    `objects_coco.json` has the results of COCO's instance segmentation, a list of objects with run lengths and scores,
    and `objects_panoptic.json` is of COCO's panoptic segmentation, whose images are PNG files beside it. Categories
    have the ids of the label map, and images are numbered from 1 on; `objects_panoptic.json` has their names.
    (https://cocodataset.org/#format-results)

    Args:
      folder: where they are.
      results: the file of the results.
      panoptic: the panoptic one.
      label_map: the classes.
      things: names of the classes that have objects.
    """

    def __init__(
        self,
        folder: str,
        results: io.TextIOWrapper,
        panoptic: io.TextIOWrapper,
        label_map: LabelMap,
        things: list[str],
    ):
        self._folder, self._results, self._panoptic = folder, results, panoptic
        self._images: list[dict[str, Any]] = []
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
        self._results.write("[")
        self._panoptic.write(f'{_HEAD}"categories": {json.dumps(categories)},\n"annotations": [')
        self._has_results = False

    def add(self, name: str, picture: str, class_ids: np.ndarray, objects: FoundObjects) -> None:
        """Adds an image.

        Args:
          name: of the image.
          picture: path of its `panoptic_colors`, in the folder.
          class_ids: [height, width].
          objects: in it.

        Raises:
          UserError: if the files cannot be written.
        """
        height, width = class_ids.shape
        number = len(self._images) + 1
        self._images.append({"id": number, "file_name": readable(name), "height": height, "width": width})
        with _explained(self._folder):
            for result in _results(number, objects):
                self._results.write((",\n" if self._has_results else "\n") + json.dumps(result))
                self._has_results = True
        annotation = {
            "image_id": number,
            "file_name": readable(picture),
            "segments_info": list(_segments(class_ids, objects)),
        }
        with _explained(self._folder):
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
    without = class_ids.astype(np.int16)
    without += 1
    without[objects.numbers > 0] = 0
    areas, boxes = _measure(without, 256)
    for class_id in np.flatnonzero(areas).tolist():
        top, left, bottom, right = boxes[class_id].tolist()
        yield {
            "id": len(objects.class_ids) + 1 + class_id,
            "category_id": class_id,
            "area": int(areas[class_id]),
            "bbox": [left, top, right - left, bottom - top],
            "iscrowd": 0,
        }


def _measure(numbers: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """[count] areas and [count, 4] boxes of what has the numbers 1, 2, …; zeros for what has no pixel."""
    from scipy import ndimage

    areas = np.zeros(count + 1, np.int64)
    rows = max(1, _BAND_PIXELS // max(numbers.shape[1], 1))
    for top in range(0, len(numbers), rows):
        areas += np.bincount(numbers[top : top + rows].ravel(), minlength=count + 1)
    boxes = np.zeros([count, 4], np.int64)
    for index, place in enumerate(ndimage.find_objects(numbers, count)):
        if place is not None:
            boxes[index] = place[0].start, place[1].start, place[0].stop, place[1].stop
    return areas[1:], boxes
