"""The image files in a folder, under the names that they have in every place they are copied to."""

from __future__ import annotations

import dataclasses
import mimetypes
import os
import unicodedata
from collections.abc import Callable

from data.base.errors import UserError
from data.base.files import is_remote
from data.listing.walking import File, printable, walk

EXTENSIONS = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".tif", ".tiff", ".webp")
# What is not an image of the data set, whatever its extension.
LEFT_BY_TOOLS = ("__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information")


@dataclasses.dataclass(frozen=True)
class Item:
    """A file that holds an image or a mask.

    Attributes:
      name: its path below the folder without the extension, in Unicode's form NFC, its parts separated by `/`; what
        its naming adds is cut off.
      extension: what was cut off its name, such as `.jpg`.
      file: the file.
    """

    name: str
    extension: str
    file: File


@dataclasses.dataclass
class Items:
    """What a folder holds.

    Attributes:
      items: its images, sorted by name.
      unusable: paths that cannot be used, each with the reason.
      ignored: paths of other files, likewise.
      others: paths of files of other kinds, by the name that they would have as images.
    """

    items: list[Item] = dataclasses.field(default_factory=list)
    unusable: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    ignored: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    others: dict[str, str] = dataclasses.field(default_factory=dict)


def image_stem(path: str) -> str:
    """A path without its extension, in Unicode's form NFC; an empty string if it is not that of an image."""
    stem, extension = os.path.splitext(unicodedata.normalize("NFC", path))
    return stem if extension.lower() in EXTENSIONS else ""


def image_extension(path: str) -> str | None:
    """The extension of an image's path; None if it is not that of an image."""
    extension = os.path.splitext(path)[1]
    return extension if extension.lower() in EXTENSIONS else None


def find_items(
    folder: str, name: str, without: str = "", extension_of: Callable[[str], str | None] = image_extension
) -> Items:
    """The images below a folder.

    Args:
      folder: the folder; if there is none, nothing is found.
      name: what is put before their names, such as `train`, or an empty string.
      without: a folder whose files are left out if it is below this one.
      extension_of: the extension of a path, which may be empty; None if it is not one of what is looked for.

    Raises:
      UserError: if a link leads to nothing, and it cannot be told what should be there.
    """
    found = Items()
    walked = walk(folder)
    found.ignored += [(path, "a link to a folder that it is in") for path in walked.loops]
    start = len(folder.rstrip("/")) + 1
    nested = without.rstrip("/") + "/" if without.startswith(folder.rstrip("/") + "/") else ""
    for file in walked.files:
        if nested and file.path.startswith(nested):
            continue
        relative = file.path[start:]
        if not is_remote(folder):
            relative = relative.replace(os.sep, "/")
        below = f"{name}/{relative}" if name else relative
        normal, extension = unicodedata.normalize("NFC", below), extension_of(file.path)
        stem = os.path.splitext(normal)[0] if extension is None else normal[: len(normal) - len(extension)]
        path = printable(file.path)
        if any(part.startswith(".") or part in LEFT_BY_TOOLS for part in relative.split("/")):
            found.ignored.append((path, "hidden, or left by a tool"))
        elif file.missing and extension is None and not mimetypes.guess_type(relative)[0]:
            # A whole folder may be missing, on a disk that is not mounted.
            raise UserError(
                f"{file.path} is a link to {file.missing}, where nothing is; bring it back or delete the link"
            )
        elif extension is None:
            found.ignored.append((path, "not an image file"))
            found.others[stem] = path
        elif path != file.path:
            found.unusable.append((path, "its name is not UTF-8; rename it"))
        else:
            found.items.append(Item(stem, extension, file))
    found.items.sort(key=lambda item: (item.name.split("/"), item.extension, item.file.path))
    return found
