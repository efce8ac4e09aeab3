"""The lists of ImageSets/Segmentation: which images are of which split."""

from __future__ import annotations

import dataclasses
import os
import posixpath
import re
import unicodedata
from collections.abc import Collection, Mapping, Sequence

from data.base.errors import UserError
from data.base.files import read_bytes
from data.formats.base.reader import SetAside
from data.listing.items import EXTENSIONS
from data.listing.split_folders import split_of_word

_BOTH = "train and eval"
_AUGMENTED = re.compile(r"[-_ ]?aug$")
# An image, and after it the mask of the same name.
_PAIR = re.compile(r"(?:.*/)?JPEGImages/(.+?)\.\w+(?:\s+(?:.*/)?(?:Segmentation\w*)/\1\.\w+)?", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class Listed:
    """An image that a list names.

    Attributes:
      split: the split, or an empty string if no list says it.
      place: the list and the line, for messages.
      list: the path of the list.
    """

    split: str
    place: str
    list: str


@dataclasses.dataclass
class Lists:
    """What the lists say.

    Attributes:
      listed: the images, by their names.
      set_aside: lines that cannot be used.
      ignored: lists that are not read.
    """

    listed: dict[str, Listed] = dataclasses.field(default_factory=dict)
    set_aside: list[SetAside] = dataclasses.field(default_factory=list)
    ignored: list[SetAside] = dataclasses.field(default_factory=list)


def read_lists(paths: Sequence[str], names: Collection[str], is_augmented: bool, dealt: Collection[str]) -> Lists:
    """Reads lists, whose lines are names of images.

    `train` and `val` are splits, and so is what else stands for one; `trainval` is both. Where only one of them is
    there, the rest of `trainval` is the other. Other lists, such as parts of these, are read only if there is none of
    these.

    Args:
      paths: of the lists.
      names: of the images that there are, below their folder and without extension.
      is_augmented: whether lists such as trainaug count, which are for masks that others made for more images.
      dealt: splits that are dealt anew, so that an image may be in several of their lists.

    Raises:
      UserError: if an image is in the lists of two splits.
    """
    found = Lists()
    roles = {path: _role(path, is_augmented) for path in paths}
    if not any(roles.values()):
        roles = dict.fromkeys(paths, _BOTH)
    by_role: dict[str, dict[str, Listed]] = {}
    for path, role in roles.items():
        if not role:
            found.ignored.append(SetAside(path, _why_not_read(path)))
            continue
        for line, text in enumerate(read_bytes(path).decode("utf-8-sig", "backslashreplace").splitlines(), 1):
            place = f"{path}:{line}"
            if not text.strip():
                continue
            if name := _name(text.strip(), names):
                by_role.setdefault(role, {}).setdefault(name, Listed(role, place, path))
            else:
                found.set_aside.append(SetAside(place, _why_none(text.strip())))
    both = by_role.pop(_BOTH, {})
    for split, images in by_role.items():
        for name, one in images.items():
            other = found.listed.setdefault(name, one)
            if other.split != split and not {split, other.split} <= set(dealt):
                raise UserError(
                    f"{name} is in the lists of two splits, {other.place} and {one.place}; take it out of one of them, "
                    "or deal all images anew, such as with --split train=0.8,eval=0.1,test=0.1"
                )
    rest = {name: one for name, one in both.items() if name not in found.listed}
    _place_rest(rest, by_role, found)
    return found


def _place_rest(rest: Mapping[str, Listed], by_role: Collection[str], found: Lists) -> None:
    """What is only in trainval."""
    if "train" in by_role and "eval" in by_role:
        reason = "it is in neither the train list nor the val list"
        found.set_aside += [SetAside(one.place, f"{name}: {reason}") for name, one in rest.items()]
        return
    if "train" in by_role:
        split = "eval"
    elif by_role:  # Of the images that are not for tests, --split can divide those of train.
        split = "train"
    else:
        split = ""
    found.listed.update({name: dataclasses.replace(one, split=split) for name, one in rest.items()})


def _role(path: str, is_augmented: bool) -> str:
    stem = posixpath.splitext(path.replace(os.sep, "/").rpartition("/")[2])[0].casefold()
    if is_augmented:
        stem = _AUGMENTED.sub("", stem)
    if re.sub("[-_ ]", "", stem) == "trainval":
        return _BOTH
    return split_of_word(stem)


def _why_not_read(path: str) -> str:
    if _role(path, is_augmented=True):
        return "it is a list for masks of more images; --masks SegmentationClassAug reads these"
    return "it is not one of the lists train, val, trainval and test"


def _name(text: str, names: Collection[str]) -> str:
    """The image that a line names, or an empty string.

    VOC's lists of one class have a number after the name, and those of larger sets of masks have the paths of both.
    """
    text = unicodedata.normalize("NFC", text).replace("\\", "/").removeprefix("./")
    stem, extension = posixpath.splitext(text)
    pair = _PAIR.fullmatch(text)
    tries = [text, stem if extension.lower() in EXTENSIONS else "", re.sub(r"\s+-?[01]$", "", text)]
    tries.append(pair[1] if pair and ".." not in text.split("/") else "")
    return next((name for name in tries if name and name in names), "")


def _why_none(text: str) -> str:
    if text.startswith("/") or ".." in text.replace("\\", "/").split("/"):
        return f"{text} leads out of JPEGImages; lists have names of images in it"
    return f"there is no image {text} in JPEGImages"
