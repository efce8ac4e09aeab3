"""What formats have in common whose masks give each pixel a value of a known table of classes."""

from __future__ import annotations

import abc
import dataclasses
import functools
from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np

from data.annotations.classes import Category, ChosenClasses, ClassOptions
from data.base.files import join, read_bytes
from data.contract import CROWD, IGNORE_LABEL
from data.decoding.errors import BadImageError
from data.formats.base.dealt import SplitOptions
from data.formats.base.reader import MaskedImagesReader, SetAside
from data.label_map import LabelMap
from data.listing.walking import printable, relative_files
from data.masks.class_ids import class_ids, read_mask
from data.masks.files import Mask
from data.masks.meaning import Kind, Meaning, packed

# Of the pixels of objects, the share that may be elsewhere in the mask of the classes: along their edges.
_MOST_DIFFER = 0.25


@dataclasses.dataclass(frozen=True)
class MaskClass(Category):
    """A class of a table.

    Attributes:
      values: what masks hold where it is.
      shows_something: whether it is something in the picture. What is not, such as the border of a rectified image, is
        ignored unless --classes names it.
    """

    values: tuple[int, ...] = ()
    shows_something: bool = True


class DenseReader(SplitOptions, ClassOptions, MaskedImagesReader):
    """A format with masks and a table of classes; its options are those of splits, classes and images.

    Attributes:
      classes: the classes to learn, in the order of their ids, by their names in the table; names in brackets become
        one class, as in 'person, vehicle: [car, truck, bus]'. By default those that the format is known for.
      masks_hold: what counts where masks could be read both by values (or a palette's indices) and by colors; ids also
        says that values along edges are classes, and not left by smoothing.
      nearest: read values or colors of no class, as JPEG and smoothing leave them, as the nearest that is one;
        conversion.json counts the pixels.
    """

    # Of pixels that do not count, in masks of colors; their value is 255.
    ignored_color: ClassVar[tuple[int, int, int] | None] = None

    folder: str
    others: Literal["background", "ignore"] = "ignore"
    masks_hold: Kind = "auto"
    nearest: bool = False

    @abc.abstractmethod
    def table(self) -> Sequence[MaskClass]:
        """All classes that masks may hold, in the order of their ids if all are learned. 255 need not be among them.

        Raises:
          UserError: if a file that should say it cannot be read.
        """

    def usual_classes(self) -> Sequence[str]:
        """Names of the classes that are learned without --classes; none for all of the table."""
        return ()

    @property
    def grays_are_values(self) -> bool:
        """Whether gray masks hold values, even if the table has a class of the same gray."""
        return True

    @functools.cached_property
    def classes_of_masks(self) -> tuple[MaskClass, ...]:
        """The table. It travels to workers with the reader."""
        return tuple(self.table())

    @functools.cached_property
    def chosen(self) -> ChosenClasses:
        """The classes that are learned."""
        usual = tuple((name, (name,)) for name in self.usual_classes())
        options = self if self.classes or not usual else self.model_copy(update={"classes": usual})
        chosen = options.choose(self.classes_of_masks, has_background=False)
        named = {name for _, merged in options.classes for name in merged}
        hidden = [one.name for one in self.classes_of_masks if not one.shows_something and one.name not in named]
        return dataclasses.replace(chosen, ids={**chosen.ids, **dict.fromkeys(hidden, IGNORE_LABEL)})

    @property
    def label_map(self) -> LabelMap:
        return self.chosen.label_map

    def meaning_of_masks(self) -> Meaning:
        """What masks hold, where the id of each class is its place in the table."""
        names = [one.name for one in self.classes_of_masks]
        values = {value: place for place, one in enumerate(self.classes_of_masks) for value in one.values}
        ignored = [(IGNORE_LABEL, "(ignored)", self.ignored_color)] if self.ignored_color else []
        labels = [(place, one.name, one.color) for place, one in enumerate(self.classes_of_masks)] + ignored
        colors = {color for _, _, color in labels}
        if None in colors or len(colors) < len(labels):
            return Meaning(LabelMap.from_names(names), values, has_colors=False)
        entries = [{"id": id_, "name": name, "color": color} for id_, name, color in labels]
        return Meaning(LabelMap.model_validate(entries), values)

    @functools.cached_property
    def _meaning(self) -> Meaning:
        return dataclasses.replace(self.meaning_of_masks(), kind=self.masks_hold, nearest=self.nearest)

    def relative_files(self) -> tuple[list[str], list[SetAside]]:
        """Paths of all files below the folder, with `/` between folders; and those that cannot be used."""
        files = relative_files(self.folder)
        reason = "its name is not UTF-8; rename it"
        unusable = [SetAside(join(self.folder, printable(file)), reason) for file in files if printable(file) != file]
        return [file for file in files if printable(file) == file], unusable

    def places_at(self, path: str) -> np.ndarray:
        """Reads the mask at a path: as `places`.

        Raises:
          BadImageError: if it cannot be used.
        """
        try:
            return self.places(read_mask(read_bytes(path), self.max_pixels))
        except BadImageError as error:
            raise BadImageError(f"its mask {path}: {error}") from None

    def places(self, mask: Mask) -> np.ndarray:
        """The place in the table of each pixel's class: [height, width] uint8, 255 for "ignore".

        Raises:
          BadImageError: if a value is of no class.
        """
        meaning = self._meaning
        if self.grays_are_values and mask.palette is None and mask.pixels.ndim == 2:
            meaning = dataclasses.replace(meaning, has_colors=False)
        return class_ids(mask, meaning)

    def ids_of_places(self, places: np.ndarray) -> np.ndarray:
        """The ids of the chosen classes, for places in the table."""
        table = np.full(256, IGNORE_LABEL, np.uint8)
        for place, one in enumerate(self.classes_of_masks):
            table[place] = self.chosen.ids[one.name]
        return table[places]

    def is_learned(self, ids: np.ndarray) -> np.ndarray:
        """Where a class is that is learned, [height, width] bool: what else is an object has no number."""
        return (ids != IGNORE_LABEL) & (ids != self.chosen.background)


def numbers_or_colors(mask: Mask) -> tuple[np.ndarray, bool]:
    """What tells the objects of a mask apart: [height, width], colors as numbers; and whether it is colors.

    Black, or 0, is no object. The colors of a palette count where black has another index than 0, as in pictures that
    were saved anew with few colors, or by tools that make palettes anew.
    """
    if mask.pixels.ndim == 3:
        return packed(mask.pixels), True
    if mask.palette is not None:
        colors = packed(mask.palette)
        used = colors[np.unique(mask.pixels)]
        if colors[0] != 0 and 0 in used and (used >= 0).all() and len(np.unique(used)) == len(used):
            return colors[mask.pixels], True
    return mask.pixels, False


def check_objects(values: np.ndarray, are_objects: np.ndarray, are_none: np.ndarray, places: np.ndarray) -> None:
    """Raises a BadImageError if a mask of objects does not belong to a mask of classes.

    It does if each object has one class, and not that of no object.

    Args:
      values: [height, width], what tells objects apart.
      are_objects: [height, width] bool, where objects are.
      are_none: [height, width] bool, where no object is.
      places: [height, width] uint8, the place of each pixel's class in the table, 255 for "ignore".
    """
    are_objects = are_objects & (places != IGNORE_LABEL)
    if not are_none.any() or not are_objects.any():
        return
    found, numbers = np.unique(values[are_objects], return_inverse=True)
    counts = np.bincount(numbers.ravel() * 256 + places[are_objects], minlength=len(found) * 256).reshape(-1, 256)
    without = _pixels_by_class(places[are_none])
    # The first class is the background as a rule, so that objects which lie there are in doubt, however many.
    counts[:, class_of_none(are_objects, are_none, places) if without.argmax() else 0] = 0
    differ = 1 - counts.max(axis=1).sum() / np.count_nonzero(are_objects)
    if differ > _MOST_DIFFER:
        raise BadImageError(
            f"{differ:.0%} of the pixels of its objects are of another class than the rest of the object, or where the "
            "mask of the classes has none; is it of another image? Write both anew, or remove it to do without objects"
        )


def class_of_none(are_objects: np.ndarray, are_none: np.ndarray, places: np.ndarray) -> int:
    """What most pixels without an object are, which is no object's class; 255 if more pixels of objects have it.

    Args:
      are_objects: as in `check_objects`.
      are_none: likewise.
      places: likewise.
    """
    without, of_objects = _pixels_by_class(places[are_none]), _pixels_by_class(places[are_objects])
    found = int(without.argmax())
    return found if without[found] > of_objects[found] else IGNORE_LABEL


def _pixels_by_class(places: np.ndarray) -> np.ndarray:
    return np.bincount(places, minlength=256)[:IGNORE_LABEL]


def number_objects(values: np.ndarray, are_objects: np.ndarray, are_crowds: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Numbers the objects of an image.

    An object keeps its pixels of the class that most of them have: outlines that are drawn twice seldom agree.

    Args:
      values: [height, width], what tells objects apart.
      are_objects: [height, width] bool, where objects are.
      are_crowds: [height, width] bool, where there are several that nobody told apart.
      ids: [height, width] uint8 class ids.

    Returns:
      [height, width] uint16: 1, 2, … for objects, 0 where there is none, 65535 for crowds.

    Raises:
      BadImageError: if there are too many.
    """
    found, numbers = np.unique(values[are_objects], return_inverse=True)
    if len(found) >= CROWD:
        raise BadImageError(f"it has more than {CROWD - 1} objects")
    numbers, of_pixels = numbers.ravel(), ids[are_objects]
    counts = np.bincount(numbers * 256 + of_pixels, minlength=len(found) * 256).reshape(-1, 256)
    instances = np.zeros(values.shape, np.uint16)
    instances[are_objects] = np.where(of_pixels == counts.argmax(axis=1)[numbers], numbers + 1, 0)
    instances[are_crowds] = CROWD
    return instances
