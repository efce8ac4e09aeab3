"""The folder that goes to a labeling tool: images, the model's masks as annotations, and a table of why."""

from __future__ import annotations

import csv
import dataclasses
import fnmatch
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence

from data.base.errors import UserError
from data.decoding.errors import BadImageError
from data.writing import AnnotatedImage
from data.writing.folders import annotation_folders, check_empty, folder_of
from models.serving.loaded_model import LoadedModel
from models.suggestions import IMAGES, PLACES
from models.suggestions.candidates import Candidate, Place, images_at

TABLE = "suggestions.csv"
# Bytes of a name; file systems take 255, with an end, and a number where names are the same.
_LONGEST = 200
_ENDS = {"jpeg": ".jpg", "png": ".png"}


@dataclasses.dataclass(frozen=True)
class Suggestion:
    """An image to label.

    Attributes:
      candidate: the image.
      surer_of: the share of all images that were looked at of which the model is surer.
    """

    candidate: Candidate
    surer_of: float


def write(
    model: LoadedModel, suggestions: Sequence[Suggestion], output: str, form: str, tolerance: float, max_pixels: int
) -> None:
    """Writes a folder that appears at the end, whole or not at all.

    Args:
      model: whose masks people correct.
      suggestions: in the order of the table.
      output: the folder to make.
      form: a name in `models.suggestions.SOURCES`.
      tolerance: how far outlines may lie from the edges of masks, in pixels.
      max_pixels: as when the images were looked at.

    Raises:
      UserError: if it cannot be written, or an image is not there any more.
    """
    check_empty(output)
    output, names, partial = os.path.realpath(output), _names(suggestions), ""
    try:
        parent, last = os.path.split(output)
        os.makedirs(parent, exist_ok=True)
        partial = tempfile.mkdtemp(prefix=f".{last}.", dir=parent)
        os.chmod(partial, 0o755)  # Labeling tools may run as other users.
        os.makedirs(os.path.join(partial, IMAGES))
        _write_images(model, names, partial, form, tolerance, max_pixels)
        _arrange(partial, form)
        _write_table(os.path.join(partial, TABLE), suggestions, names)
        if os.path.isdir(output):
            os.rmdir(output)
        os.rename(partial, output)
    except OSError as error:
        raise UserError(f"cannot write {output}: {error.strerror or error}; choose another --output") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _names(suggestions: Sequence[Suggestion]) -> dict[Place, str]:
    """What each image is called in the tool: its id, or its path without folders, which might stand for splits."""
    names: dict[Place, str] = {}
    taken: set[str] = set()
    for suggestion in suggestions:
        place = suggestion.candidate.place
        # A client's id may have any length.
        wanted = place.name.replace(os.sep, "_").lstrip(".").encode()[:_LONGEST].decode(errors="ignore") or "image"
        number = 2
        free = wanted
        while free.casefold() in taken:  # Some file systems know no case.
            number, free = number + 1, f"{wanted}_{number}"
        taken.add(free.casefold())
        names[place] = free
    return names


def _write_images(
    model: LoadedModel, names: Mapping[Place, str], folder: str, form: str, tolerance: float, max_pixels: int
) -> None:
    waiting = {(place.path, place.number): place for place in names}
    with annotation_folders(folder, [form], model.label_map_with_kinds, tolerance) as annotations:
        for place, image in images_at({place.path: place.name for place in names}, max_pixels, set(waiting)):
            if isinstance(image, BadImageError):
                continue
            name = names[waiting.pop((place.path, place.number))]
            file = f"{name}{_ENDS[image.format]}"
            with open(os.path.join(folder, IMAGES, file), "wb") as written:
                written.write(image.encoded)
            segmented = model.segment_whole(image.encoded, image.height, image.width)
            regions = annotations.regions(segmented.class_ids, segmented.objects)
            # Without a path: annotations lie beside the images in the end, or tools find these by name.
            annotations.add(AnnotatedImage(file, name, "", image.height, image.width, regions))
    if waiting:
        raise UserError(f"{next(iter(waiting.values())).label} is not there any more; run the command again")


def _arrange(folder: str, form: str) -> None:
    """Moves annotations, and lists of the labels, to where the tool and `convert` look for them."""
    written = folder_of(folder, form)
    for name in os.listdir(written):
        for pattern, place in PLACES.get(form, {}).items():
            if fnmatch.fnmatchcase(name, pattern):
                os.rename(os.path.join(written, name), os.path.join(folder, place, name))
                break
    if not os.listdir(written):
        os.rmdir(written)


def _write_table(path: str, suggestions: Sequence[Suggestion], names: Mapping[Place, str]) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["image", "uncertainty", "why", "from"])
        for suggestion in suggestions:
            one = suggestion.candidate
            why = f"the model is surer of {suggestion.surer_of:.0%} of the images, and it is unlike the others here"
            writer.writerow([names[one.place], f"{one.uncertainty:.4f}", why, one.place.path])
