"""Names of classes in the files that tools leave beside masks."""

from __future__ import annotations

import dataclasses
import re

from data.base.errors import UserError
from data.base.files import FileInfo, read_bytes
from data.label_map import LabelMap

_NAMES = re.compile(r"label|class|categor|legend|colou?r_?map|palette|codes", re.IGNORECASE)
_EXTENSIONS = (".yaml", ".yml", ".csv", ".json", ".txt")
_MAX_BYTES = 1_000_000
# What labelme writes in place of a name for pixels that do not count.
_NO_CLASS = "__ignore__"


@dataclasses.dataclass(frozen=True)
class NameFile:
    """A file that names classes.

    Attributes:
      path: the file.
      label_map: what it says, if it says which value or color each name has.
      names: its names, in their order, if it says no more.
    """

    path: str
    label_map: LabelMap | None
    names: tuple[str, ...]


def find_name_files(files: list[FileInfo]) -> list[NameFile]:
    """Those of a data set's files that name classes; label maps come before mere names."""
    found = []
    for file in files:
        name = file.path.rpartition("/")[2]
        if name.lower().endswith(_EXTENSIONS) and _NAMES.search(name) and file.size <= _MAX_BYTES:
            try:
                found.append(NameFile(file.path, LabelMap.load(file.path), ()))
            except UserError:
                if names := _names(file.path):
                    found.append(NameFile(file.path, None, names))
    return sorted(found, key=lambda file: (file.label_map is None, file.path.count("/"), file.path))


def _names(path: str) -> tuple[str, ...]:
    """A name a line; nothing if it is anything else."""
    if not path.lower().endswith(".txt"):
        return ()
    try:
        lines = [line.strip() for line in read_bytes(path).decode("utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError):
        return ()
    names = [line for line in lines if line and not line.startswith("#") and line != _NO_CLASS]
    are_names = all(re.fullmatch(r"[^\W\d][\w .()/'-]{0,63}", name) for name in names)
    return tuple(names) if are_names and len(set(names)) == len(names) else ()
