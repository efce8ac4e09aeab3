"""CVAT's format "Segmentation mask 1.1": masks in the colors of a label map, as its manual describes it
(https://docs.cvat.ai/docs/dataset_management/formats/format-smask/).
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import shlex
from collections.abc import Sequence

import numpy as np

from data.annotations.classes import BACKGROUND, Category, ChosenClasses
from data.annotations.image_files import ImageFiles
from data.base.errors import UserError
from data.base.files import join, read_bytes
from data.contract import IGNORE_LABEL
from data.decoding.errors import BadImageError
from data.formats.base.annotated import name_of
from data.formats.base.dense import check_objects, number_objects, numbers_or_colors
from data.formats.base.reader import SetAside, Source
from data.formats.cvat.places import CLASSES, LABEL_MAP, OBJECTS, below, find_image, split_of_subset
from data.label_map_files import MaskLabels, parse_labels
from data.masks.class_ids import class_ids, read_mask
from data.masks.files import Mask
from data.masks.meaning import Meaning, packed
from data.splits import Shares

_BLACK = "0,0,0"
_LISTS = "ImageSets/Segmentation"


@dataclasses.dataclass(frozen=True)
class LabelMapOfExport:
    """The label map of an export.

    Attributes:
      folder: of the export, below the data set.
      labels: its labels, by their place in the file.
    """

    folder: str
    labels: MaskLabels

    @property
    def categories(self) -> list[Category]:
        """The labels with their colors."""
        return [Category(label.name, label.color) for label in self.labels.label_map.root]

    @functools.cached_property
    def meanings(self) -> dict[str, Meaning]:
        """What masks of colors and masks of numbers mean, which are places in the file."""
        map_, values = self.labels.label_map, self.labels.values
        return {"colors": Meaning(map_, values, kind="colors"), "ids": Meaning(map_, values, kind="ids")}


def read_label_map(folder: str, export: str) -> LabelMapOfExport:
    """Reads the label map of an export. Where it lists neither the background nor black, black is the background.

    Args:
      folder: the data set.
      export: folder of the export, below it.

    Raises:
      UserError: if it is broken.
    """
    path = join(folder, below(export, LABEL_MAP))
    try:
        text = read_bytes(path).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the label map {path}: {error}") from None
    entries = [line.casefold().replace(" ", "").split(":") for line in text.splitlines()]
    if not any(entry[0] == BACKGROUND or entry[1:2] == [_BLACK] for entry in entries):
        text = f"{text.rstrip()}\n{BACKGROUND}:{_BLACK}::\n"
    return LabelMapOfExport(export, parse_labels(text, path))


@dataclasses.dataclass
class Masks:
    """The examples of an export.

    Attributes:
      sources: those with a mask; their labels are the export, the mask of objects, and whether other images have one.
      unlabeled: those without one.
      set_aside: what cannot be an example.
      ignored: what is none.
    """

    sources: list[Source] = dataclasses.field(default_factory=list)
    unlabeled: list[Source] = dataclasses.field(default_factory=list)
    set_aside: list[SetAside] = dataclasses.field(default_factory=list)
    ignored: list[SetAside] = dataclasses.field(default_factory=list)


def list_masks(folder: str, files: Sequence[str], export: str, shares: Shares | None) -> Masks:
    """The examples of an export: what the lists in ImageSets/Segmentation name, or all masks if there is no list.

    Args:
      folder: the data set.
      files: paths of all files in it.
      export: folder of the export, below it.
      shares: what `--split` says.

    Raises:
      UserError: if it has no images, or an image is in the lists of two splits.
    """
    start = f"{export}/" if export else ""
    own = [file for file in files if file.startswith(start)]
    masks = {name_of(file[len(start) :]): file for file in own if file.lower().endswith(".png")}
    classes = {name[len(CLASSES) + 1 :]: file for name, file in masks.items() if name.startswith(f"{CLASSES}/")}
    objects = {name[len(OBJECTS) + 1 :]: file for name, file in masks.items() if name.startswith(f"{OBJECTS}/")}
    images = ImageFiles(folder, [file for file in own if not file[len(start) :].startswith((CLASSES, OBJECTS))])
    if not images.relative:
        raise UserError(
            f"{join(folder, export) if export else folder} has masks and no images: export the task with its images, "
            f"or put them into {below(export, 'JPEGImages')}"
        )
    listed = _lists(folder, own, below(export, _LISTS), shares)
    found = Masks()
    for name, one in (listed or {name: _Listed("", join(folder, file)) for name, file in classes.items()}).items():
        try:
            path = find_image(images, name, export, [below(export, "JPEGImages"), below(export, "images")])
        except BadImageError as error:
            found.set_aside.append(SetAside(one.place, str(error)))
            continue
        mask = join(folder, classes[name]) if name in classes else ""
        labels = json.dumps([export, join(folder, objects[name]) if name in objects else "", bool(objects)])
        source = Source(name_of(path), "", images.relative[path], mask, stated_split=one.split, labels=labels)
        (found.sources if mask else found.unlabeled).append(source)
    if listed:
        outside = [file for name, file in classes.items() if name not in listed]
        found.ignored += [SetAside(join(folder, file), f"in no list in {_LISTS}") for file in outside]
    return found


@dataclasses.dataclass(frozen=True)
class _Listed:
    """An example that is to be there: its split, or an empty string, and what names it, for messages."""

    split: str
    place: str


def _lists(folder: str, files: Sequence[str], lists: str, shares: Shares | None) -> dict[str, _Listed]:
    """What lists say about each name in them."""
    found: dict[str, _Listed] = {}
    own = [file for file in files if os.path.dirname(file) == lists and file.endswith(".txt")]
    subsets = {file: os.path.splitext(os.path.basename(file))[0] for file in own}
    words = {file: split_of_subset(subset, file, {"train": 1.0}) for file, subset in subsets.items()}
    for file in sorted(own, key=lambda file: not words[file]):  # Such as trainval.txt, after train.txt and val.txt.
        text = read_bytes(join(folder, file)).decode("utf-8", "backslashreplace")
        names = {number: _listed_name(line) for number, line in enumerate(text.splitlines(), 1) if line.strip()}
        if not words[file] and any(name not in found for name in names.values()):
            split_of_subset(subsets[file], file, shares)  # Which says if it is in doubt.
        for number, name in names.items():
            one = found.setdefault(name, _Listed(words[file], f"{file}, line {number}: {name}"))
            if words[file] and one.split != words[file]:
                raise UserError(f"{file}: {name} is in the list of another split too; it may be in one split only")
    return found


def _listed_name(line: str) -> str:
    """A name in a list, which is in quotation marks if it has blanks."""
    line = line.strip()
    if line.startswith('"'):
        try:
            return shlex.split(line)[0]
        except ValueError:
            return line
    return line


def read_places(mask: Mask, label_map: LabelMapOfExport) -> np.ndarray:
    """The places in the label map of a mask of colors, or of one channel whose values they are.

    Returns:
      [height, width] uint8, 255 for "ignore".

    Raises:
      BadImageError: if a color or value is of no label.
    """
    has_colors = mask.pixels.ndim == 3 or mask.palette is not None
    meaning = label_map.meanings["colors" if has_colors else "ids"]
    if mask.pixels.ndim == 3 and (mask.pixels == mask.pixels[..., :1]).all():
        unknown = meaning.ids_of_colors(packed(mask.pixels)) < 0
        if unknown.any():  # Which would be read as a number in three channels.
            row, column = np.argwhere(unknown)[0]
            color = ",".join(str(value) for value in mask.pixels[row, column])
            raise BadImageError(f"its color {color} in row {row}, column {column} is not in {LABEL_MAP}")
    return class_ids(mask, meaning)


def ids_of_places(places: np.ndarray, label_map: LabelMapOfExport, chosen: ChosenClasses) -> np.ndarray:
    """The class ids of places in the label map: [height, width] uint8."""
    table = np.arange(256, dtype=np.uint8)
    for label in label_map.labels.label_map.root:
        table[label.id] = chosen.ids[label.name]
    return table[places]


def read_objects(path: str, places: np.ndarray, ids: np.ndarray, background: int, max_pixels: int) -> np.ndarray:
    """The number of each pixel's object, of a mask that has another color for each object and black for none.

    As in `data.annotations.drawing.draw`, objects whose class is not learned have no number.

    Args:
      path: of the mask.
      places: [height, width], the classes' places in the label map.
      ids: [height, width] class ids.
      background: the class id of pixels of no object.
      max_pixels: larger masks are refused.

    Returns:
      [height, width] uint16.

    Raises:
      BadImageError: if it does not belong to the mask of the classes, or has too many objects.
    """
    mask = read_mask(read_bytes(path), max_pixels)
    values, _ = numbers_or_colors(mask)
    if values.shape != ids.shape:
        raise BadImageError(
            f"it has {values.shape[1]}x{values.shape[0]} pixels, and the mask of the classes "
            f"{ids.shape[1]}x{ids.shape[0]}"
        )
    check_objects(values, values != 0, values == 0, places)
    are_objects = (values != 0) & ~np.isin(ids, (background, IGNORE_LABEL))
    return number_objects(values, are_objects, np.zeros(ids.shape, bool), ids)
