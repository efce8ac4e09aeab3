"""What a YOLO data set's data.yaml or classes.txt says: the classes, and where the images of each split are."""

from __future__ import annotations

import dataclasses
import posixpath
import re
import unicodedata
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import yaml

from data.base.errors import UserError
from data.base.files import join, read_bytes

CLASSES = "classes.txt"
# Keys of the file, and segpipe's splits.
_SPLITS = {"train": "train", "val": "eval", "validation": "eval", "test": "test"}
_USUAL = ("data.yaml", "dataset.yaml")
_MOST_FILES = 50
# Values that are none.
_NOTHING = ("", "null", "~")


@dataclasses.dataclass(frozen=True)
class Description:
    """What is said about a data set.

    Attributes:
      file: the file that says it, below the data set.
      names: the name of each class, by its number.
      places: for each split, what is said about where its images are: folders, or text files that list them.
      root: the folder of the data set, as the file says it.
    """

    file: str
    names: Mapping[int, str]
    places: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    root: str = ""

    def folders_of(self, place: str) -> Iterator[str]:
        """Where a place may be, as paths below the data set, the likeliest first.

        The description may have been written on another machine, in another folder (Roboflow's `../train/images` means
        `train/images`), so the place is looked for by as much of the end of its path as is needed, but for a relative
        one not by less than all of it.
        """
        place = unicodedata.normalize("NFC", place)
        parts = _parts(place)
        is_absolute = place.startswith("/") or "://" in place or bool(re.match(r"[A-Za-z]:", place))
        whole = parts if is_absolute else _parts(self.root) + parts
        fewest = min(1, len(parts)) if is_absolute else len(parts)
        for start in range(len(whole) - fewest + 1):
            for folder in dict.fromkeys((posixpath.dirname(self.file), "")):
                yield "/".join(filter(None, (folder, *whole[start:])))


def _parts(path: str) -> list[str]:
    path = posixpath.normpath(re.sub(r"^[A-Za-z]:", "", path.replace("\\", "/"))) if path else ""
    return [part for part in path.split("/") if part not in ("", ".", "..")]


def find_description(folder: str, files: Collection[str]) -> Description | None:
    """The description of a data set: a YAML file that names classes and images, or else `classes.txt`.

    Args:
      folder: the data set.
      files: paths of its files, relative.

    Raises:
      UserError: if it cannot be read, contradicts itself or another one, or describes something else than outlines.
    """
    candidates = sorted((file for file in files if file.lower().endswith((".yaml", ".yml"))), key=_depth)
    found = [
        (file, content)
        for file in candidates[:_MOST_FILES]
        if (content := _read_yaml(folder, file))
        and (content.get("names") not in (None, *_NOTHING) or {"nc", "train"} <= content.keys())
    ]
    if found:
        top = [one for one in found if _depth(one[0])[0] == _depth(found[0][0])[0]]
        usual = [one for name in _USUAL for one in top if posixpath.basename(one[0]).lower() == name]
        described = [_described(folder, *one) for one in (usual[:1] or top)]
        return _the_only(folder, described)
    named = [file for file in sorted(files, key=_depth) if posixpath.basename(file).lower() == CLASSES]
    return _the_only(folder, [_of_names(folder, file) for file in named[:_MOST_FILES]])


def _depth(file: str) -> tuple[int, str]:
    return file.count("/"), file


def _the_only(folder: str, described: list[Description]) -> Description | None:
    if not described:
        return None
    first = described[0]
    for other in described[1:]:
        if dataclasses.replace(other, file=first.file) != first:
            raise UserError(
                f"{join(folder, first.file)} and {join(folder, other.file)} describe different data sets; move away "
                f"the one that is not meant, or call the other one {_USUAL[0]}"
            )
    return first


def _read_yaml(folder: str, file: str) -> dict[Any, Any] | None:
    """The content of a YAML file, all values as text; None if it is no description.

    Raises:
      UserError: if it is called as one and cannot be read.
    """
    path = join(folder, file)
    try:
        content = yaml.load(read_bytes(path), yaml.BaseLoader)  # In which the class `no` is not False.
    except yaml.YAMLError as error:
        if posixpath.basename(file).lower() in _USUAL:
            raise UserError(f"{path} cannot be read as YAML: {' '.join(str(error).split())}") from None
        return None
    except (RecursionError, FileNotFoundError):  # As a link to nothing raises it.
        return None
    return content if isinstance(content, dict) else None


def _described(folder: str, file: str, content: Mapping[Any, Any]) -> Description:
    path = join(folder, file)
    if "kpt_shape" in content:
        raise UserError(f"{path} has kpt_shape: its labels are points of poses, and pixels need outlines")
    places: dict[str, tuple[str, ...]] = {}
    for key, split in _SPLITS.items():
        value = content.get(key) or ()
        entries = [value] if isinstance(value, str) else value
        if not isinstance(entries, (list, tuple)) or not all(isinstance(entry, str) for entry in entries):
            raise UserError(f"{path}: {key} takes a folder, a text file that lists images, or a list of these")
        if entries := [entry for entry in entries if entry not in _NOTHING]:
            places.setdefault(split, tuple(entries))
    root = content.get("path") or ""
    if not isinstance(root, str):
        raise UserError(f"{path}: path takes the folder of the data set")
    return Description(file, _names(path, content), places, "" if root in _NOTHING else root)


def _names(path: str, content: Mapping[Any, Any]) -> dict[int, str]:
    count = content.get("nc")
    if count is not None and not (isinstance(count, str) and re.fullmatch(r"\d{1,5}", count)):
        raise UserError(f"{path}: nc takes the number of classes")
    names = content.get("names")
    if names is None:
        return {number: f"class_{number}" for number in range(int(str(count)))}
    if isinstance(names, list):
        names = {str(number): name for number, name in enumerate(names)}
    if not (
        isinstance(names, dict)
        and names
        and all(isinstance(key, str) and re.fullmatch(r"\d{1,5}", key) for key in names)
        and all(isinstance(name, str) and name.strip() for name in names.values())
    ):
        raise UserError(
            f"{path}: names takes a list of class names, or a name for each number, as in {{0: cat, 1: dog}}"
        )
    if count is not None and int(count) != len(names):
        raise UserError(f"{path}: nc is {count}, but names has {len(names)} classes; correct the one that is wrong")
    return {int(key): name.strip() for key, name in names.items()}


def _of_names(folder: str, file: str) -> Description:
    path = join(folder, file)
    try:
        names = read_bytes(path).decode("utf-8-sig").rstrip().splitlines()
    except UnicodeDecodeError:
        raise UserError(f"{path} is not text in UTF-8") from None
    if blank := next((number for number, name in enumerate(names, 1) if not name.strip()), 0):
        raise UserError(f"{path}: line {blank} is blank; each line names a class, the first one number 0")
    if not names:
        raise UserError(f"{path} is empty; each of its lines names a class")
    return Description(file, {number: name.strip() for number, name in enumerate(names)})
