"""The JSON of COCO's panoptic format: the segments of each image, and what they are."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from data.annotations.classes import Category
from data.base.errors import UserError
from data.contract import CROWD, IGNORE_LABEL
from data.decoding.errors import BadImageError
from data.formats.coco.document import key_of, load, plain

_LARGEST_ID = 256**3 - 1


class _Category(msgspec.Struct):
    id: int
    name: Any
    isthing: int | bool | None = None
    color: Any = None


class _Image(msgspec.Struct):
    id: Any
    file_name: str


class _Segment(msgspec.Struct):
    id: int
    category_id: int
    iscrowd: int | bool | None = None


class _Annotation(msgspec.Struct):
    image_id: Any
    file_name: str
    segments_info: list[_Segment]


class _Categories(msgspec.Struct):
    categories: list[msgspec.Raw]


class _File(msgspec.Struct):
    # Entries are read one by one, so that a broken one costs one image.
    categories: list[msgspec.Raw]
    images: list[msgspec.Raw]
    annotations: list[msgspec.Raw]


class Labels(msgspec.Struct):
    """What a worker needs to read the segments of an image.

    Attributes:
      file: the JSON that they are from, for messages.
      segments: of each its id in the PNG, its class id, and the number of its object: 0 for none, 65535 for a crowd.
    """

    file: str
    segments: list[tuple[int, int, int]]


@dataclasses.dataclass(frozen=True)
class Entry:
    """An annotation, which is of one image.

    Attributes:
      name: what messages call it.
      image: the name of the image's file.
      mask: the name of the PNG with the ids of its segments.
      labels: what the segments are.
    """

    name: str
    image: str
    mask: str
    labels: Labels


@dataclasses.dataclass(frozen=True)
class Content:
    """What a file says.

    Attributes:
      entries: its annotations.
      broken: those that cannot be used: what messages call them, and what is wrong.
      unlabeled: the files of images without an annotation.
    """

    entries: list[Entry]
    broken: list[tuple[str, str]]
    unlabeled: list[str]


def read_categories(path: str) -> list[Category]:
    """The classes that a file names, in their order.

    Raises:
      UserError: if it cannot be read.
    """
    return [Category(_name(one), _color(one.color)) for one in _categories(path, load(path, _Categories).categories)]


def read_content(path: str, name: str, ids: Mapping[str, int], learned: Sequence[int]) -> Content:
    """The annotations of a file.

    Args:
      path: the file.
      name: what messages call it.
      ids: the class id of each category, by name; 255 for "ignore".
      learned: the class ids whose segments may be objects; those of what is left out are none.

    Raises:
      UserError: if it cannot be read.
    """
    file = load(path, _File)
    categories = {one.id: one for one in _categories(path, file.categories)}
    # Some tools write numbers as texts.
    read_image = msgspec.json.Decoder(_Image, strict=False).decode
    read_annotation = msgspec.json.Decoder(_Annotation, strict=False).decode
    broken: list[tuple[str, str]] = []
    images: dict[str, str] = {}
    doubtful: set[str] = set()
    for index, raw in enumerate(file.images):
        try:
            image = read_image(raw)
            if (key := key_of(image.id)) is None:
                raise BadImageError("it has no id")
            if images.setdefault(key, image.file_name) != image.file_name:
                doubtful.add(key)
        except (msgspec.MsgspecError, UnicodeDecodeError, BadImageError) as error:
            broken.append((f"{name}: images[{index}]", plain(error)))
    label = functools.partial(_labels, name, categories, ids, learned)
    entries: list[Entry] = []
    labeled = set()
    for index, raw in enumerate(file.annotations):
        called = f"{name}: annotations[{index}]"
        try:
            annotation = read_annotation(raw)
            called = f"{called} ({annotation.file_name})"
            key = key_of(annotation.image_id) or ""
            labeled.add(key)
            if key not in images:
                raise BadImageError(f"its image_id {annotation.image_id} is not among the images")
            if key in doubtful:
                raise BadImageError(
                    f"several images have the id {annotation.image_id}, so it is doubtful which it is of"
                )
            entries.append(Entry(called, images[key], annotation.file_name, label(annotation)))
        except (msgspec.MsgspecError, UnicodeDecodeError, BadImageError) as error:
            broken.append((called, plain(error)))
    return Content(entries, broken, [file_name for id_, file_name in images.items() if id_ not in labeled])


def _categories(path: str, raws: Sequence[msgspec.Raw]) -> list[_Category]:
    """The categories of a file.

    Raises:
      UserError: if there are none, or one has no name or the id of another.
    """
    if not raws:
        raise UserError(f"{path} has no categories, which say what its segments are")
    first: dict[int, _Category] = {}
    for index, raw in enumerate(raws):
        try:
            category = msgspec.json.decode(raw, type=_Category, strict=False)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise UserError(f"{path}: categories[{index}]: {plain(error)}") from None
        if not _name(category):
            raise UserError(f"{path}: the category {category.id} has no name")
        if (other := first.setdefault(category.id, category)) is not category:
            raise UserError(f"{path}: the categories {other.name} and {category.name} have the same id, {category.id}")
    return list(first.values())


def _name(category: _Category) -> str:
    return " ".join((key_of(category.name) or "").split())


def _color(value: Any) -> tuple[int, int, int] | None:
    if not (isinstance(value, list) and len(value) == 3 and all(type(one) is int and 0 <= one <= 255 for one in value)):
        return None
    return value[0], value[1], value[2]


def _labels(
    file: str,
    categories: Mapping[int, _Category],
    ids: Mapping[str, int],
    learned: Sequence[int],
    annotation: _Annotation,
) -> Labels:
    segments: dict[int, tuple[int, int, int]] = {}
    objects = 0
    for one in annotation.segments_info:
        if not 1 <= one.id <= _LARGEST_ID:
            raise BadImageError(f"the segment id {one.id} is not between 1 and {_LARGEST_ID}")
        if one.id in segments:
            raise BadImageError(f"two of its segments have the id {one.id}")
        if (category := categories.get(one.category_id)) is None:
            raise BadImageError(f"segment {one.id}: its category_id {one.category_id} is not among the categories")
        class_id = ids[_name(category)]
        if one.iscrowd:
            segments[one.id] = (one.id, IGNORE_LABEL, CROWD)
            continue
        # Whoever does not say what is a thing numbers all segments.
        is_object = class_id in learned and category.isthing in (None, 1)
        objects += is_object
        segments[one.id] = (one.id, class_id, objects if is_object else 0)
    if objects >= CROWD:
        raise BadImageError(f"it has more than {CROWD - 1} objects")
    return Labels(file, list(segments.values()))
