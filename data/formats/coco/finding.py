"""Which JSON files of a folder are COCO's, of what kind, and which images and split each is about."""

from __future__ import annotations

import dataclasses
import glob
import posixpath
import re
from collections.abc import Iterable, Sequence
from typing import Literal

from data.base.errors import UserError
from data.base.files import find, join, read_bytes
from data.listing.items import LEFT_BY_TOOLS
from data.listing.split_folders import placing, split_of_word

Kind = Literal["instances", "keypoints", "panoptic", "captions", "images", ""]

# As COCO, CVAT and others name their files, and as Roboflow does.
_TELLING = re.compile(r"instances.*\.json|.*annotations\.coco.*\.json", re.IGNORECASE)
# Of files with other names: a format with a JSON for each image has more.
_MOST_OTHERS = 10
# Parts of a file that are looked at: its two ends, and some between them.
_END, _MIDDLE, _MIDDLES = 1 << 18, 1 << 16, 4
_KEY = re.compile(rb'"([a-z_]+)"\s*:')
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


def kind_of(path: str) -> Kind:
    """What a JSON file of COCO's holds, by parts of it.

    Raises:
      OSError: if it cannot be read.
    """
    size = sum(file.size for file in find(glob.escape(path)))
    content = read_bytes(path, 0, _END)
    if size > _END:
        starts = [size * part // (_MIDDLES + 1) for part in range(1, _MIDDLES + 1)]
        parts = [read_bytes(path, start, _MIDDLE) for start in starts]
        content = b"\n".join([content, *parts, read_bytes(path, max(size - _END, _END))])
    content = content.replace(b"\0", b"")  # Which is what UTF-16 adds to keys.
    if not re.match(rb"[^\[{\"]{0,8}\{", content):
        return ""
    keys = {key.decode() for key in _KEY.findall(content)}
    if "segments_info" in keys:
        return "panoptic"
    if {"image_id", "category_id"} <= keys:
        return "keypoints" if "keypoints" in keys else "instances"
    if "caption" in keys:
        return "captions"
    return "images" if {"images", "file_name"} <= keys else ""


def candidates(files: Iterable[str]) -> list[str]:
    """The JSON files that may be instances: those with telling names, or all if they are few."""
    jsons = [file for file in files if file.lower().endswith(".json") and not _is_left(file)]
    telling = [file for file in jsons if _TELLING.fullmatch(posixpath.basename(file))]
    return telling or (jsons if len(jsons) <= _MOST_OTHERS else [])


def _is_left(file: str) -> bool:
    return any(part.startswith(".") or part in LEFT_BY_TOOLS for part in file.split("/"))


def find_annotations(folder: str, files: Sequence[str], takes_empty: bool) -> Found:
    """The annotation files of a folder, if nobody names them.

    Args:
      folder: the data set.
      files: paths of its files, relative.
      takes_empty: whether files are read that have images and no annotation at all.

    Raises:
      UserError: if there is none.
    """
    kinds = {file: kind_of(join(folder, file)) for file in candidates(files)}
    for kind in ("instances", "keypoints"):  # Files with keypoints have the shapes of persons too.
        if kind in kinds.values():
            taken = [file for file, of in kinds.items() if of == kind or (takes_empty and of == "images")]
            others = [file for file in files if file.lower().endswith(".json") and file not in taken]
            return Found(tuple(taken), tuple((file, _why_not(kinds.get(file))) for file in others))
    seen = "".join(f"\n  {file}: {_KINDS[kind]}" for file, kind in kinds.items())
    raise UserError(
        f"{folder} has no JSON that is known for COCO's instances, such as annotations/instances_train2017.json; "
        f"name it with --annotations FILE{seen}"
    )


def _why_not(kind: Kind | None) -> str:
    reason = "files are read whose names say more" if kind is None else _KINDS.get(kind, "others are read")
    return f"{reason}; --annotations names the files to read"


def split_of_file(file: str) -> str:
    """The split that the name of an annotation file states, such as `eval` for instances_val2017.json, or ""."""
    words = re.split(r"[\W_]+", posixpath.basename(file).rpartition(".")[0])
    splits = {split_of_word(word) for word in words} - {""}
    return splits.pop() if len(splits) == 1 else ""


def split_of_image(name: str, file: str) -> str:
    """The split that is stated for an image, or an empty string.

    Args:
      name: of the image, its path.
      file: the annotation file that names it.
    """
    place = placing(name)
    # Folders that leave the split in doubt are reported where all images are dealt.
    beside = "" if place.split or place.doubtful else placing(file).split
    return split_of_file(file) or beside


def folders_of_images(file: str) -> list[str]:
    """Where the images of an annotation file are likely to be: `train2017` for annotations/instances_train2017.json."""
    parent, name = posixpath.split(file)
    base = posixpath.dirname(parent) if posixpath.basename(parent).casefold() in _FOLDERS_OF_LABELS else parent
    subset = re.sub(r"^([a-z]+_)?(instances|keypoints|stuff)_", "", name.rpartition(".")[0])
    below = ("", "images") if base == parent else ("images", "")
    return [
        posixpath.join(base, *parts) for part in below for parts in ((part, subset), (part,)) if any((base, *parts))
    ]
