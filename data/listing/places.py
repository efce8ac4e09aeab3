"""The folders that hold images and masks."""

from __future__ import annotations

import dataclasses
import os
import posixpath
import re
import shlex
import unicodedata
from typing import Annotated

import pydantic

from data.base.errors import UserError
from data.base.files import is_folder, is_remote, join, list_names
from data.listing.items import find_items
from data.listing.naming import find_naming
from data.listing.split_folders import split_of_word

_OFTEN_IMAGES = ("images", "image", "imgs", "img", "jpegimages", "leftimg8bit", "photos", "frames", "x")
_OFTEN_MASKS = (
    "masks", "mask", "segmentationclassraw", "segmentationclass", "gtfine", "labelids", "labels", "label",
    "annotations", "annotation", "gt", "groundtruth", "ground_truth", "segmentations", "trimaps", "y",
)  # fmt: skip


def _check_folder(path: str) -> str:
    normal = posixpath.normpath(path or ".")
    if normal.startswith(("/", "..")):
        raise ValueError("names a folder below SOURCE, such as images, or . for SOURCE itself")
    return normal


# A folder below SOURCE, `.` for SOURCE itself.
FolderBelow = Annotated[str, pydantic.AfterValidator(_check_folder), pydantic.Field(title="DIR")]

_DEEPEST, _MOST_FOLDERS = 3, 20
_SPLIT_IN_NAME = re.compile("training|train|validation|valid|val|evaluation|eval|testing|test", re.IGNORECASE)
_MASKS_IN_NAME = re.compile("mask|label|annot|gt|seg|truth|target|^y$", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class Place:
    """A folder with images and one with their masks.

    Attributes:
      name: what is put before the names of the files: `train` for `train/images` and `train/masks`.
      images: path of a folder, which may not exist if `masks` does.
      masks: likewise.
    """

    name: str
    images: str
    masks: str


def find_places(source: str, images: str, masks: str) -> tuple[list[Place], list[str]]:
    """The folders with images and masks: those in SOURCE, or else those in the folders of SOURCE.

    Args:
      source: the data set.
      images: name of the folders with images, in upper or lower case; `.` for SOURCE itself.
      masks: name of those with masks.

    Returns:
      The places; and other folders in SOURCE, unless that is a bucket.

    Raises:
      UserError: if there are none, or two names differ only in case; names the folders that are there.
    """
    if place := _place(source, "", images, masks, needs_both=True):
        taken = {_plain(path.partition("/")[0]) for path in (images, masks)}
        folders = [] if is_remote(source) or "." in taken else _folders(source)
        return [place], [join(source, name) for name in folders if _plain(name) not in taken]
    if _place(source, "", images, masks, needs_both=False) is None:
        folders = _folders(source)
        inside = {name: _place(join(source, name), name, images, masks, needs_both=False) for name in folders}
        if any(_place(join(source, name), name, images, masks, needs_both=True) for name in folders):
            others = [join(source, name) for name, place in inside.items() if not place]
            return [place for place in inside.values() if place], others
    raise UserError(_nothing_found(source, images, masks))


def _folders(folder: str) -> list[str]:
    """Names of the folders in a folder, without hidden ones.

    Raises:
      UserError: if a link that may have been to a folder leads to nothing.
    """
    names = [name for name in list_names(folder) if not name.startswith(".")]
    for path in (join(folder, name) for name in names if not os.path.splitext(name)[1]):
        if os.path.islink(path) and not os.path.exists(path):
            raise UserError(
                f"{path} is a link to {os.readlink(path)}, where nothing is; bring it back or delete the link"
            )
    return [name for name in names if is_folder(join(folder, name))]


def _place(folder: str, name: str, images: str, masks: str, needs_both: bool) -> Place | None:
    found = [_folder(folder, path) for path in (images, masks)]
    if not all(found) if needs_both else not any(found):
        return None
    images_found, masks_found = (
        path or join(folder, wanted) for path, wanted in zip(found, (images, masks), strict=True)
    )
    return Place(unicodedata.normalize("NFC", name), images_found, masks_found)


def _folder(folder: str, path: str) -> str:
    """A folder below another by a path whose upper and lower case do not matter; an empty string if it is missing."""
    for part in path.split("/"):
        if part == "." or is_folder(join(folder, part)):
            folder = join(folder, part) if part != "." else folder
            continue
        names = [name for name in list_names(folder) if _plain(name) == _plain(part)]
        names = [name for name in names if is_folder(join(folder, name))]
        if len(names) > 1:
            raise UserError(f"{folder} has the folders {' and '.join(names)}; rename or remove one of them")
        if not names:
            return ""
        folder = join(folder, names[0])
    return folder if is_folder(folder) else ""


def _names(folder: str) -> list[str]:
    return [item.name for item in find_items(folder, "").items]


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _nothing_found(source: str, images: str, masks: str) -> str:
    folders = _folders(source)
    if not is_folder(source):
        return f"{source} is not a folder"
    missing = next(join(source, path) for path in (images, masks) if not _folder(source, path))
    start = f"{missing} is not a folder; looked for were {images}/ and {masks}/, in SOURCE or in its folders"
    there = ", ".join([f"{name}/" for name in folders[:20]] + ["…"] * (len(folders) > 20)) or "no folders"
    guesses = [_guess(folders, often) for often in (_OFTEN_IMAGES, _OFTEN_MASKS)]
    if all(guesses) and guesses[0] != guesses[1]:
        found = find_naming(*(_names(join(source, guess)) for guess in guesses))
        naming = f" {found.options()}" if found else ""
        options = f"--images {shlex.quote(guesses[0])} --masks {shlex.quote(guesses[1])}{naming}"
        return f"{start}. {source} has {there}: {options}"
    if links := _links(source, folders, images, masks):
        return f"{start}. {source} has {there}; links will do: {links}"
    if deeper := "" if is_remote(source) else _deeper(source, images, masks, _DEEPEST):
        return f"{start}. {deeper} has such folders: give that as SOURCE"
    beside = _names(source)
    if found := find_naming(beside, beside):
        return f"{start}. In {source} they are side by side: --images . --masks . {found.options()}"
    return f"{start}. {source} has {there}; say which hold images and masks with --images and --masks"


def _deeper(folder: str, images: str, masks: str, levels: int) -> str:
    """A folder below that would do as SOURCE, as archives often have one around all; or an empty string."""
    inside = [path for name in list_names(folder) if is_folder(path := join(folder, name))][:_MOST_FOLDERS]
    complete = [path for path in inside if _place(path, "", images, masks, needs_both=True)]
    if complete:
        is_whole = len(complete) == 1 and not split_of_word(complete[0].rpartition("/")[2])
        return complete[0] if is_whole else folder
    return next(filter(None, (_deeper(path, images, masks, levels - 1) for path in inside)), "") if levels else ""


def _guess(folders: list[str], often: tuple[str, ...]) -> str:
    by_name = {name.casefold(): name for name in folders}
    return next((by_name[name] for name in often if name in by_name), "")


def _links(source: str, folders: list[str], images: str, masks: str) -> str:
    """Commands for folders such as train and trainannot, or train_images and train_masks; empty for others."""
    by_kind: dict[str, dict[str, str]] = {}
    for name in folders:
        if found := _SPLIT_IN_NAME.search(name):
            kind = (name[: found.start()] + name[found.end() :]).strip("_-. ").casefold()
            by_kind.setdefault(kind, {})[found[0]] = name
    kinds = sorted(by_kind, key=lambda kind: bool(_MASKS_IN_NAME.search(kind)))
    if is_remote(source) or [bool(_MASKS_IN_NAME.search(kind)) for kind in kinds] != [False, True]:
        return ""
    commands = [f"cd {shlex.quote(source)}", f"mkdir {shlex.quote(images)} {shlex.quote(masks)}"]
    for kind, folder in zip(kinds, (images, masks), strict=True):
        for word, name in by_kind[kind].items():
            commands.append(f"ln -s {shlex.quote(f'../{name}')} {shlex.quote(f'{folder}/{word}')}")
    return " && ".join(commands)
