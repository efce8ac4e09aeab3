"""Which JSON files of a folder are COCO's, of what kind, and which images and split each is about."""

from __future__ import annotations

import dataclasses
import posixpath
import re
from collections.abc import Iterable, Sequence
from typing import Literal

from data.base.errors import UserError
from data.formats.base.heads import is_empty, json_keys
from data.listing.split_folders import Placing, placing, split_of_word

Kind = Literal["instances", "keypoints", "panoptic", "captions", "images", ""]

# As COCO, CVAT and others name their files, and as Roboflow does.
_TELLING = re.compile(r"instances.*\.json|.*annotations\.coco.*\.json", re.IGNORECASE)
# Of the files that are none of these, a message names so many.
_MOST_SHOWN = 5
_FOLDERS_OF_LABELS = ("annotations", "annotation", "labels", "label", "json")
_KINDS = {
    "keypoints": "it has keypoints",
    "panoptic": "it has panoptic segments, which are another format",
    "captions": "it has captions",
    "images": "it has images without any annotation",
    "": "it is not COCO's",
}


@dataclasses.dataclass(frozen=True)
class Found:
    """The annotation files of a folder.

    Attributes:
      files: those to read, relative.
      others: other JSON files that may be taken for it, each with the reason why it is not read.
    """

    files: tuple[str, ...]
    others: tuple[tuple[str, str], ...] = ()


def kind_of(folder: str, file: str) -> Kind:
    """What a JSON file of COCO's holds, by its beginning and its end."""
    keys = json_keys(folder, file)
    if keys.is_list or not keys.outermost & {"images", "annotations", "categories"}:
        return ""
    if "segments_info" in keys.all:
        return "panoptic"
    if {"image_id", "category_id"} <= keys.all:
        return "keypoints" if "keypoints" in keys.all else "instances"
    if "caption" in keys.all:
        return "captions"
    return "images" if "file_name" in keys.all else ""


def is_telling(file: str) -> bool:
    """Whether a file has a name that tools give to COCO's instances."""
    return bool(_TELLING.fullmatch(posixpath.basename(file)))


def candidates(files: Iterable[str]) -> list[str]:
    """The JSON files that may be instances: those with telling names, or else all."""
    jsons = [file for file in files if file.lower().endswith(".json")]
    return [file for file in jsons if is_telling(file)] or jsons


def find_annotations(folder: str, files: Sequence[str], takes_empty: bool) -> Found:
    """The annotation files of a folder, if nobody names them.

    Args:
      folder: the data set.
      files: paths of its files, relative.
      takes_empty: whether files are read that have images and no annotation at all.

    Raises:
      UserError: if there is none.
    """
    kinds = {file: kind_of(folder, file) for file in candidates(files)}
    # What is wrong with a file of that name is said when it is read, and some tools add keypoints that no object has.
    kinds |= {file: "instances" for file, kind in kinds.items() if kind in ("", "keypoints") and is_telling(file)}
    if "instances" in kinds.values():  # An empty file may have been another split.
        kinds |= {file: "instances" for file, kind in kinds.items() if not kind and is_empty(folder, file)}
    for kind in ("instances", "keypoints"):  # Files with keypoints have the shapes of persons too.
        if kind in kinds.values():
            taken = [file for file, of in kinds.items() if of == kind or (takes_empty and of == "images")]
            others = [file for file in files if file.lower().endswith(".json") and file not in taken]
            return Found(tuple(taken), tuple((file, _why_not(kinds.get(file), taken[0])) for file in others))
    seen = "".join(f"\n  {file}: {_KINDS[kind]}" for file, kind in [*kinds.items()][:_MOST_SHOWN])
    raise UserError(
        f"{folder} has no JSON that looks like COCO's instances, such as annotations/instances_train2017.json; "
        f"name it with --annotations FILE{seen}"
    )


def _why_not(kind: Kind | None, taken: str) -> str:
    reason = f"{taken} is read, whose name says what it is" if kind is None else _KINDS.get(kind, f"{taken} is read")
    return f"{reason}; --annotations names the files to read"


def split_of_file(file: str) -> str:
    """The split that the name of an annotation file states, such as `eval` for instances_val2017.json, or ""."""
    words = re.split(r"[\W_]+", posixpath.basename(file).rpartition(".")[0])
    splits = {split_of_word(word) for word in words} - {""}
    return splits.pop() if len(splits) == 1 else ""


def split_of_image(place: Placing, file: str) -> str:
    """The split that an annotation file states for an image, or an empty string.

    Args:
      place: what the image's own folders say, which count more than the file's.
      file: the annotation file that names it.
    """
    return split_of_file(file) or ("" if place.split or place.doubtful else placing(file).split)


def folders_of_images(file: str) -> list[str]:
    """Where the images of an annotation file are likely to be: `train2017` for annotations/instances_train2017.json."""
    parent, name = posixpath.split(file)
    base = posixpath.dirname(parent) if posixpath.basename(parent).casefold() in _FOLDERS_OF_LABELS else parent
    subset = re.sub(r"^([a-z]+_)?(instances|keypoints|stuff)_", "", name.rpartition(".")[0])
    below = ("", "images") if base == parent else ("images", "")
    return [
        posixpath.join(base, *parts) for part in below for parts in ((part, subset), (part,)) if any((base, *parts))
    ]
