"""The folders into which annotations are written, one for each format."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
from collections.abc import Iterator, Sequence

import numpy as np

from data.annotations.classes import is_background
from data.base.errors import UserError
from data.label_map import LabelMap
from data.writing import WRITERS, AnnotatedImage, Writer
from data.writing.objects import FoundObjects
from data.writing.outlines.regions import Region, find_regions


class AnnotationFolders:
    """Annotations in several formats; made by `annotation_folders`.

    Args:
      output: the folder that they are in.
      writers: the formats.
      classes: ids of the classes whose regions are written.
      tolerance: how far outlines may lie from the edges of pixels, in pixels.
    """

    def __init__(self, output: str, writers: Sequence[Writer], classes: Sequence[int], tolerance: float):
        self._output = output
        self._writers, self._classes, self._tolerance = writers, classes, tolerance

    @property
    def are_wanted(self) -> bool:
        """Whether there are formats."""
        return bool(self._writers)

    def regions(self, class_ids: np.ndarray, objects: FoundObjects | None = None) -> list[Region]:
        """What is written of a mask, [height, width] uint8; nothing if there are no formats.

        Objects, where they are told apart, are regions of their own, several if their pixels are not connected.
        """
        if not self._writers:
            return []
        if objects is None:
            return find_regions(class_ids, self._classes, self._tolerance)
        # Values beyond the class ids stand for objects.
        of_value = np.concatenate([np.arange(256), objects.class_ids])
        values = np.where(objects.numbers > 0, objects.numbers + 255, class_ids).astype(np.int32)
        wanted = np.flatnonzero(np.isin(of_value, self._classes))
        found = find_regions(values, wanted, self._tolerance)
        return [
            dataclasses.replace(region, class_id=int(of_value[value]), object=max(0, value - 255))
            for region in found
            for value in [region.class_id]
        ]

    def add(self, image: AnnotatedImage) -> None:
        """Writes an image's annotations in all formats.

        Raises:
          UserError: if they cannot be written.
        """
        with _explained(self._output):
            for writer in self._writers:
                writer.add(image)


def folder_of(output: str, name: str) -> str:
    """Where the annotations of a format are, below the folder of all results."""
    return os.path.join(output, f"annotations_{name}")


def check_free(output: str, formats: Sequence[str]) -> None:
    """Makes sure that nobody's corrections would be overwritten.

    Raises:
      UserError: if the folder of a format exists.
    """
    for name in formats:
        folder = folder_of(output, name)
        if os.path.lexists(folder):
            raise UserError(
                f"{folder} exists, and someone may have corrected the annotations in it; move it away, or choose "
                "another --output"
            )


def check_empty(output: str) -> None:
    """Makes sure that a folder for a labeling tool can be made.

    Raises:
      UserError: if it exists and holds anything.
    """
    if os.path.lexists(output) and not (os.path.isdir(output) and not os.listdir(output)):
        raise UserError(f"--output {output} exists, and someone may have labeled what it holds; name another folder")


@contextlib.contextmanager
def _explained(output: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(
            f"cannot write annotations in {output}: {error}; mend that, or choose another --output"
        ) from None


def _give_up(writer: Writer) -> None:
    """Closes the files of a writer that are still open; what they cannot hold any more is removed with them."""
    with contextlib.suppress(OSError):
        writer.close()


@contextlib.contextmanager
def annotation_folders(
    output: str, formats: Sequence[str], label_map: LabelMap, tolerance: float
) -> Iterator[AnnotationFolders]:
    """Writes annotations into `output/annotations_FORMAT`, folders that appear at the end, whole or not at all.

    Until then they are called `annotations_FORMAT.partial`; what an earlier run left of these is removed.

    Args:
      output: where the folders will be; it must exist.
      formats: names in `WRITERS`.
      label_map: the classes. Regions of all are written, except for one that is called background.
      tolerance: how far outlines may lie from the edges of pixels, in pixels.

    Raises:
      UserError: if a folder exists already, since people may have corrected what it holds; or cannot be written.
    """
    check_free(output, formats)
    destinations = {name: folder_of(output, name) for name in dict.fromkeys(formats)}
    partial = {name: f"{destination}.partial" for name, destination in destinations.items()}
    labels = [label for label in label_map.classes if not is_background(label.name)]
    with contextlib.ExitStack() as stack:
        writers = []
        with _explained(output):
            for name, folder in partial.items():
                if os.path.lexists(folder):
                    shutil.rmtree(folder)
                os.makedirs(folder)
                stack.callback(shutil.rmtree, folder, ignore_errors=True)
                writers.append(WRITERS[name](folder, destinations[name], labels))
                stack.callback(_give_up, writers[-1])
        yield AnnotationFolders(output, writers, [label.id for label in labels], tolerance)
        with _explained(output):
            for writer in writers:
                writer.finish()
            for name, folder in partial.items():
                os.rename(folder, destinations[name])
