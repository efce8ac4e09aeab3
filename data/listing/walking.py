"""The files of a data set, through links, which data sets are often made of.

What is copied or deleted is listed by `data.base.files.find_below`, which follows no link to a folder.
"""

from __future__ import annotations

import collections
import dataclasses
import os
import stat
from collections.abc import Iterator

from data.base.errors import UserError
from data.base.files import find_below, is_remote

# Where links lead back and forth between folders, each folder may have very many paths.
_MOST_PATHS = 1000


@dataclasses.dataclass(frozen=True)
class File:
    """A file of a data set.

    Attributes:
      path: where it was found.
      identity: device and number of the file, the same under each of its names; None in a bucket.
      is_linked: whether its path leads through a link.
      missing: where the link leads if nothing is there; otherwise an empty string.
    """

    path: str
    identity: tuple[int, int] | None = None
    is_linked: bool = False
    missing: str = ""

    def is_same(self, other: File) -> bool:
        """Whether both are one file under two names."""
        # Some file systems number their files anew after a while, so that an equal number alone proves nothing.
        return self.identity is not None and self.identity == other.identity and os.path.samefile(self.path, other.path)


@dataclasses.dataclass(frozen=True)
class Walk:
    """What is below a folder.

    Attributes:
      files: sorted by path.
      loops: links to folders that they are in; all files there have been found already.
    """

    files: list[File]
    loops: list[str]


def walk(folder: str) -> Walk:
    """All files below a folder, those that links lead to included.

    Raises:
      UserError: if it is a file, a folder cannot be read, or links lead to one folder in too many ways.
      UnreachableError: if a bucket cannot be reached.
    """
    if is_remote(folder):
        return Walk([File(file.path) for file in find_below(folder)], [])
    if os.path.isfile(folder):
        raise UserError(
            f"{folder} is a file; name the folder that holds it and the images, such as "
            f"{os.path.dirname(folder) or os.curdir}"
        )
    if not os.path.isdir(folder):
        return Walk([], [])
    loops: list[str] = []
    files = sorted(_files(folder, loops), key=lambda file: file.path.split(os.sep))
    return Walk(files, sorted(loops))


def relative_files(folder: str) -> list[str]:
    """The paths of all files below a folder as `walk` finds them, relative to it, with `/` between folders."""
    start = len(folder.rstrip("/")) + 1
    return [file.path[start:].replace(os.sep, "/") for file in walk(folder).files]


def printable(path: str) -> str:
    """A path as text that can be stored: bytes that are not UTF-8 are escaped."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _files(folder: str, loops: list[str]) -> Iterator[File]:
    entered: collections.Counter[tuple[int, int]] = collections.Counter()
    # Folders still to be read, each with those that it is in: a link to one of them would lead back here.
    waiting = [(folder, _with_parents(folder), os.path.islink(folder))]
    while waiting:
        current, above, is_linked = waiting.pop()
        try:
            with os.scandir(current) as scanned:
                entries = list(scanned)
        except OSError as error:
            raise UserError(f"{current} cannot be read: {error.strerror}") from None
        for entry in entries:
            through_link = is_linked or entry.is_symlink()
            try:
                status = os.stat(entry.path)
            except OSError:  # A link to nothing, or to itself; or the file has been removed since.
                if entry.is_symlink():
                    yield File(entry.path, None, True, os.readlink(entry.path))
                continue
            identity = status.st_dev, status.st_ino
            if stat.S_ISREG(status.st_mode):
                yield File(entry.path, identity, through_link)
            elif stat.S_ISDIR(status.st_mode) and entry.is_symlink() and identity in above:
                loops.append(entry.path)
            elif stat.S_ISDIR(status.st_mode):
                entered[identity] += 1
                if entered[identity] > _MOST_PATHS:
                    raise UserError(
                        f"links lead to {os.path.realpath(entry.path)} in more than {_MOST_PATHS} ways, "
                        f"one of them {entry.path}; delete links until each image has one path"
                    )
                waiting.append((entry.path, above | {identity}, through_link))


def _with_parents(folder: str) -> frozenset[tuple[int, int]]:
    path, found = os.path.realpath(folder), set()
    while True:
        status = os.stat(path)
        found.add((status.st_dev, status.st_ino))
        if path == (parent := os.path.dirname(path)):
            return frozenset(found)
        path = parent
