"""The labeling configuration of a project: its labels with their colors, and which data its image tags show."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from xml.etree import ElementTree

from PIL import ImageColor

from data.annotations.classes import Category
from data.base.errors import UserError
from data.base.files import join, read_bytes
from data.formats.base.heads import xml_elements

# Tags whose labels regions have; those of key points are no classes of pixels.
_LABELS = (
    "labels",
    "brushlabels",
    "polygonlabels",
    "rectanglelabels",
    "ellipselabels",
    "bitmasklabels",
    "vectorlabels",
)
# Of the files that may be a configuration, no more are opened.
_MOST_FILES = 50


@dataclasses.dataclass(frozen=True)
class LabelConfig:
    """What a configuration says.

    Attributes:
      categories: the labels in their order, with their colors.
      images: the key of the data that each image tag shows, by the tag's name.
      labeled: the keys of those images that labels are for.
      file: path of the file that lists all labels that regions may have, relative; empty if none does.
    """

    categories: tuple[Category, ...]
    images: Mapping[str, str]
    labeled: frozenset[str]
    file: str = ""


def find_config(folder: str, files: Iterable[str], beside: Iterable[str]) -> LabelConfig:
    """What the configurations in a data set say together.

    Args:
      folder: the data set.
      files: paths of its files, relative.
      beside: the folders, relative, in which a configuration may be.

    Raises:
      UserError: if one is broken.
    """
    folders = set(beside)
    candidates = [file for file in files if file.lower().endswith(".xml") and file.rpartition("/")[0] in folders]
    categories: dict[str, Category] = {}
    images: dict[str, str] = {}
    labeled: set[str] = set()
    listing, are_in_data = "", False
    for file in candidates[:_MOST_FILES]:
        if [name.lower() for name in xml_elements(folder, file)[:1]] != ["view"]:
            continue
        path = join(folder, file)
        try:
            root = ElementTree.fromstring(read_bytes(path))
        except (ElementTree.ParseError, ValueError, LookupError) as error:
            raise UserError(f"{path} is not a labeling configuration: {error}; save it anew, or remove it") from None
        for tag in root.iter():
            if tag.tag.lower() in _LABELS:
                labeled |= {name.strip() for name in tag.get("toName", "").split(",")}
                listing = listing or file
                are_in_data |= tag.get("value", "").startswith("$")  # So that tasks have further labels.
                for category in map(_category, tag.iter()):
                    if category is not None:
                        categories.setdefault(category.name, category)
            shown = tag.get("valueList") or tag.get("value") or ""
            if tag.tag.lower() == "image" and shown.startswith("$"):
                images[tag.get("name", "")] = shown[1:]
    keys = frozenset(images[name] for name in labeled if name in images)
    is_complete = bool(categories) and not are_in_data
    return LabelConfig(tuple(categories.values()), images, keys, listing if is_complete else "")


def _category(tag: ElementTree.Element) -> Category | None:
    name = " ".join((tag.get("alias") or tag.get("value") or "").split())
    if tag.tag.lower() != "label" or not name:
        return None
    try:
        color = ImageColor.getrgb(tag.get("background", ""))[:3]
    except ValueError:
        return Category(name)
    return Category(name, (color[0], color[1], color[2]))
