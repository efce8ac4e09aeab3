"""The classes of COCO's files: ids with gaps, and names on which several files agree."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import msgspec

from data.annotations.classes import Category, is_background
from data.base.errors import UserError
from data.formats.coco.document import CategoryEntry, key_of, parse
from data.label_map import parse_color


@dataclasses.dataclass(frozen=True)
class FileCategory:
    """A class of a file.

    Attributes:
      name: its name.
      color: red, green and blue, if the file says.
      parent: the name that all classes above it have, or an empty string.
      is_thing: whether its objects can be counted.
    """

    name: str
    color: tuple[int, int, int] | None = None
    parent: str = ""
    is_thing: bool = True


def categories_of(path: str, raws: Sequence[msgspec.Raw]) -> dict[str, FileCategory]:
    """The classes of a file by their ids, in the file's order.

    Args:
      path: of the file, for messages.
      raws: its entries.

    Raises:
      UserError: if one has no id or no name, or an id has two names.
    """
    found: dict[str, FileCategory] = {}
    for index, raw in enumerate(raws):
        try:
            entry = parse(raw, CategoryEntry)
        except ValueError as error:
            raise UserError(f"{path}: categories[{index}]: {error}") from None
        key, name = key_of(entry.id), " ".join((key_of(entry.name) or "").split())
        if key is None or not name:
            raise UserError(f"{path}: categories[{index}] has no {'id' if key is None else 'name'}")
        parent = entry.supercategory if isinstance(entry.supercategory, str) else ""
        category = FileCategory(name, _color(entry.color), " ".join(parent.split()), entry.isthing != 0)
        if found.setdefault(key, category).name != name:
            raise UserError(f"{path}: the categories {found[key].name} and {name} have the same id, {key}")
    if not found:
        raise UserError(f"{path} has no categories")
    return found


def _color(value: Any) -> tuple[int, int, int] | None:
    color = parse_color(value)
    if (
        isinstance(color, (list, tuple))
        and len(color) == 3
        and all(type(one) is int and 0 <= one < 256 for one in color)
    ):
        return color[0], color[1], color[2]
    return None


def placeholder(categories: Mapping[str, FileCategory]) -> str | None:
    """The id of what looks like Roboflow's first entry: no class, but the name of the group that all others are in."""
    for key, category in categories.items():
        others = [other for other in categories.values() if other.name != category.name]
        if category.parent in ("none", "") and others and all(other.parent == category.name for other in others):
            return key
    return None


def check_counting(path: str, categories: Mapping[str, FileCategory], used: Collection[str]) -> None:
    """Raises a UserError if annotations seem to count the classes from another number on than their list does.

    Args:
      path: of the file, for the message.
      categories: its classes by their ids.
      used: the ids that annotations have.
    """
    numbers = sorted(int(key) for key in categories if key.isdecimal())
    unknown = [key for key in used if key not in categories]
    if len(unknown) != 1 or len(numbers) < len(categories) or numbers[-1] - numbers[0] >= len(numbers):
        return
    first, last = str(numbers[0]), str(numbers[-1])
    for beyond, other in ((numbers[-1] + 1, first), (numbers[0] - 1, last)):
        is_class = not is_background(categories[other].name) and placeholder(categories) != other
        if unknown[0] == str(beyond) and other not in used and is_class:
            raise UserError(
                f"{path}: annotations have the category_id {beyond}, which categories lacks, and none has {other} "
                f"({categories[other].name}); they seem to be counted from another number on, so correct either"
            )


def merged(
    of_files: Mapping[str, Mapping[str, FileCategory]], is_chosen: bool, is_used: Callable[[str, str], bool]
) -> list[Category]:
    """The classes of all files.

    Ids may differ between files. Some tools leave classes out of a file that has none of their objects, so the names
    of one file may be a part of another's.

    Args:
      of_files: the classes of each file by their ids.
      is_chosen: whether the user says which classes are meant.
      is_used: whether a file, the first argument, has an annotation of a category id, the second.

    Raises:
      UserError: if files have different names, and nobody says which of these are meant.
    """
    groups = {file: placeholder(categories) for file, categories in of_files.items()}
    unused = {of_files[file][key].name for file, key in groups.items() if key is not None}
    for file, categories in of_files.items():
        keys = [key for key, category in categories.items() if category.name in unused]
        unused -= {categories[key].name for key in keys if is_used(file, key)}
    names = {
        file: {one.name: Category(one.name, one.color) for one in categories.values() if one.name not in unused}
        for file, categories in of_files.items()
    }
    everything = {name: category for categories in names.values() for name, category in categories.items()}
    most = max(names, key=lambda file: len(names[file]))
    if len(names[most]) == len(everything):
        return list(names[most].values())
    if not is_chosen:
        lacking = next(name for name in everything if name not in names[most])
        other = next(file for file, categories in names.items() if lacking in categories)
        extra = [name for name in names[most] if name not in names[other]]
        raise UserError(
            f"the annotation files have different categories: {other} has {lacking} and {most} has "
            f"{', '.join(extra[:3])}, which the other lacks; say with --classes which are meant, and which names are "
            f"of one class, as in '{extra[0]}: [{extra[0]}, {lacking}]', or name the files to read with --annotations"
        )
    return list(everything.values())
