"""The folders that hold images and masks."""

from __future__ import annotations

import dataclasses
import posixpath
from typing import Annotated

import pydantic

from data.base.errors import UserError
from data.base.files import is_folder, join, list_names
from data.listing.items import image_stem
from data.listing.naming import find_naming

_OFTEN_IMAGES = ("images", "image", "imgs", "img", "jpegimages", "leftimg8bit", "photos", "frames", "x")
_OFTEN_MASKS = (
    "masks", "mask", "labels", "label", "annotations", "annotation", "segmentationclass", "segmentationclassraw",
    "gtfine", "gt", "groundtruth", "ground_truth", "labelids", "segmentations", "trimaps", "y",
)  # fmt: skip


def _check_folder(path: str) -> str:
    normal = posixpath.normpath(path or ".")
    if normal.startswith(("/", "..")):
        raise ValueError("names a folder below SOURCE, such as images, or . for SOURCE itself")
    return normal


# A folder below SOURCE, `.` for SOURCE itself.
FolderBelow = Annotated[str, pydantic.AfterValidator(_check_folder), pydantic.Field(title="DIR")]


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


def find_places(source: str, images: str, masks: str) -> list[Place]:
    """The folders with images and masks: those in SOURCE, or else those in the folders of SOURCE.

    Args:
      source: the data set.
      images: name of the folders with images, in upper or lower case; `.` for SOURCE itself.
      masks: name of those with masks.

    Raises:
      UserError: if there are none, or two names differ only in case; names the folders that are there.
    """
    if place := _place(source, "", images, masks, needs_both=True):
        return [place]
    if _place(source, "", images, masks, needs_both=False) is None:
        folders = [name for name in list_names(source) if not name.startswith(".") and is_folder(join(source, name))]
        inside = {name: _place(join(source, name), name, images, masks, needs_both=False) for name in folders}
        if any(_place(join(source, name), name, images, masks, needs_both=True) for name in folders):
            return [place for place in inside.values() if place]
    raise UserError(_nothing_found(source, images, masks))


def _place(folder: str, name: str, images: str, masks: str, needs_both: bool) -> Place | None:
    found = [_folder(folder, path) for path in (images, masks)]
    if not all(found) if needs_both else not any(found):
        return None
    images_found, masks_found = (
        path or join(folder, wanted) for path, wanted in zip(found, (images, masks), strict=True)
    )
    return Place(name, images_found, masks_found)


def _folder(folder: str, path: str) -> str:
    """A folder below another by a path whose upper and lower case do not matter; an empty string if it is missing."""
    for part in path.split("/"):
        if part == "." or is_folder(join(folder, part)):
            folder = join(folder, part) if part != "." else folder
            continue
        names = [name for name in list_names(folder) if name.casefold() == part.casefold()]
        names = [name for name in names if is_folder(join(folder, name))]
        if len(names) > 1:
            raise UserError(f"{folder} has the folders {' and '.join(names)}; rename or remove one of them")
        if not names:
            return ""
        folder = join(folder, names[0])
    return folder if is_folder(folder) else ""


def _nothing_found(source: str, images: str, masks: str) -> str:
    names = [name for name in list_names(source) if not name.startswith(".")]
    folders = [name for name in names if is_folder(join(source, name))]
    if not names and not is_folder(source):
        return f"{source} is not a folder"
    missing = next(join(source, path) for path in (images, masks) if not _folder(source, path))
    start = f"{missing} is not a folder; the format mask-folder has {images}/ and {masks}/, in SOURCE or in its folders"
    there = ", ".join([f"{name}/" for name in folders[:20]] + ["…"] * (len(folders) > 20)) or "no folders"
    guesses = [_guess(folders, often) for often in (_OFTEN_IMAGES, _OFTEN_MASKS)]
    if all(guesses) and guesses[0] != guesses[1]:
        return f"{start}. {source} has {there}: --images {guesses[0]} --masks {guesses[1]}"
    inner = next((join(source, name) for name in folders if _place_or_none(join(source, name), images, masks)), "")
    if inner:
        return f"{start}. {inner} has folders with them: name that as SOURCE"
    stems = [stem for name in names if (stem := image_stem(name))]
    if stems and (found := find_naming(stems, stems)):
        return f"{start}. In {source} they are side by side: --images . --masks . {found.options()}"
    return f"{start}. {source} has {there}; say which hold images and masks with --images and --masks"


def _place_or_none(folder: str, images: str, masks: str) -> bool:
    folders = [name for name in list_names(folder) if is_folder(join(folder, name))]
    return any(_place(join(folder, name), name, images, masks, needs_both=True) for name in folders)


def _guess(folders: list[str], often: tuple[str, ...]) -> str:
    by_name = {name.casefold(): name for name in folders}
    return next((by_name[name] for name in often if name in by_name), "")
