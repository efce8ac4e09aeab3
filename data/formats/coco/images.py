"""What an instances file says about each of its images."""

from __future__ import annotations

import dataclasses
import posixpath
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec

from data.base.errors import UserError
from data.formats.coco.categories import FileCategory, categories_of, check_counting
from data.formats.coco.document import AnnotationEntry, Document, ImageEntry, Model, key_of, load, parse
from data.formats.coco.labels import has_shape, object_text

# Of an image's sides, in pixels.
_LARGEST = 1 << 31


@dataclasses.dataclass(slots=True)
class ImageLabels:
    """An image in an instances file.

    Attributes:
      entry: what messages call it.
      file_name: the image, as the file has it.
      width: in pixels; 0 if the file does not say.
      height: likewise.
      objects: its annotations, as `labels.object_text` makes them.
      broken: why it cannot be used, or an empty string.
    """

    entry: str
    file_name: str
    width: int
    height: int
    objects: list[str] = dataclasses.field(default_factory=list)
    broken: str = ""


@dataclasses.dataclass(frozen=True)
class Content:
    """What is in an instances file.

    Attributes:
      images: in the file's order.
      broken: entries that belong to no image, each with the reason.
      is_empty: whether it has no annotation at all.
    """

    images: list[ImageLabels]
    broken: list[tuple[str, str]]
    is_empty: bool


def read_content(path: str, file: str, class_ids: Mapping[str, int]) -> Content:
    """Reads an instances file.

    Args:
      path: of the file.
      file: the same, relative, for messages about its entries.
      class_ids: the class id of each category, by its name.

    Raises:
      UserError: if it is no such file, or its annotations are boxes without shapes.
      OSError: if it cannot be read.
    """
    document = load(path, Document)
    categories = categories_of(path, document.categories)
    broken: list[tuple[str, str]] = []
    images = _images(document, file, broken)
    is_stuff = posixpath.basename(file).startswith("stuff_")
    lost: dict[str, list[str]] = {}
    used: set[str] = set()
    boxes = 0
    for name, entry in _entries(document.annotations, AnnotationEntry, "annotations", file, broken):
        name = name if (key := key_of(entry.id)) is None else f"annotation {key}"
        image = images.get(image_key := key_of(entry.image_id) or "")
        if image is None:
            lost.setdefault(image_key, []).append(name)
            continue
        try:
            if not has_shape(entry):
                boxes += 1
                raise ValueError(
                    "it has no segmentation, so nothing says which pixels are the object's; draw its outline"
                )
            used.add(key_of(entry.category_id) or "")
            category = _category(entry, categories, class_ids)
            is_thing = category.is_thing and not is_stuff
            image.objects.append(object_text(entry, name, class_ids[category.name], is_thing))
        except ValueError as error:
            image.broken = image.broken or f"{file}: {name}: {error}"
    if boxes and boxes == len(document.annotations):
        raise UserError(
            f"{path} has boxes only: none of its {boxes} annotations has a segmentation, so nothing says which pixels "
            "are the objects'; export polygons or masks"
        )
    check_counting(path, categories, used)
    for image_key, names in lost.items():
        which = f"{names[0]} and {len(names) - 1} more" if len(names) > 1 else names[0]
        broken.append((f"{file}: {which}", f"there is no image with the id {image_key or 'that it has'}"))
    return Content(list(images.values()), broken, not document.annotations)


def _entries(
    raws: Sequence[msgspec.Raw], model: type[Model], key: str, file: str, broken: list[tuple[str, str]]
) -> Iterator[tuple[str, Model]]:
    """The entries of a list with what messages call them; those that cannot be read are added to `broken`."""
    for index, raw in enumerate(raws):
        name = f"{key}[{index}]"
        try:
            entry = parse(raw, model)
        except ValueError as error:
            broken.append((f"{file}: {name}", str(error)))
        else:
            yield name, entry


def _images(document: Document, file: str, broken: list[tuple[str, str]]) -> dict[str, ImageLabels]:
    """The images by their ids."""
    images: dict[str, ImageLabels] = {}
    for name, entry in _entries(document.images, ImageEntry, "images", file, broken):
        key = key_of(entry.id)
        if key is None:
            broken.append((f"{file}: {name}", "it has no id"))
            continue
        image = ImageLabels(f"image {key}", _file_name(entry), 0, 0)
        try:
            image.width, image.height = _pixels(entry.width, "width"), _pixels(entry.height, "height")
        except ValueError as error:
            image.broken = f"{file}: image {key}: {error}"
        if key in images:
            first = images[key]
            if (image.file_name, image.width, image.height) == (first.file_name, first.width, first.height):
                continue  # Repeated as it is.
            first.broken = (
                f"{file}: image {key}: {first.file_name} and {image.file_name} have the same id; give each its own, "
                "in annotations too"
            )
            broken.append((f"{file}: {name}", f"its id {key} is that of {first.file_name} too"))
            continue
        images[key] = image
    return images


def _file_name(entry: ImageEntry) -> str:
    """The path in `file_name`, which may be a URL, or in `coco_url`, where LVIS has it; an empty string if none."""
    name = next((one for one in (entry.file_name, entry.coco_url) if isinstance(one, str) and one.strip()), "")
    if "://" not in name:
        return name
    try:
        return unquote(urlsplit(name).path).lstrip("/")
    except ValueError:  # For what is no URL after all.
        return name


def _pixels(value: Any, name: str) -> int:
    """A size; 0 for null, which tools write that do not know it."""
    if value is None:
        return 0
    if type(value) not in (int, float) or not 0 <= value < _LARGEST or value != int(value):
        raise ValueError(f"its {name} is {reprlib.repr(value)}")
    return int(value)


def _category(
    entry: AnnotationEntry, categories: Mapping[str, FileCategory], class_ids: Mapping[str, int]
) -> FileCategory:
    category = categories.get(key_of(entry.category_id) or "")
    if category is None or category.name not in class_ids:
        raise ValueError(f"its category_id {reprlib.repr(entry.category_id)} is not in categories")
    return category
