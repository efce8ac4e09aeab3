"""The image files that annotations name: by path, or by as much of its end as is needed to find them."""

from __future__ import annotations

import collections
import os
import unicodedata
from collections.abc import Sequence

from data.base.files import join
from data.decoding.errors import BadImageError
from data.listing.items import EXTENSIONS, LEFT_BY_TOOLS
from data.listing.walking import relative_files


class ImageFiles:
    """The images of a data set.

    Attributes:
      folder: of the data set.
      relative: path below it of each image, in Unicode's form NFC with `/` between folders, and the path of the file.
    """

    def __init__(self, folder: str, files: Sequence[str] | None = None):
        """Finds the images.

        Args:
          folder: the data set; links are followed.
          files: paths of its files, relative, if they are known.
        """
        self.folder = folder.rstrip("/") or folder
        if files is None:
            files = relative_files(self.folder)
        self.relative = {
            unicodedata.normalize("NFC", file.replace(os.sep, "/")): join(self.folder, file)
            for file in files
            if os.path.splitext(file)[1].lower() in EXTENSIONS
            and not any(part.startswith(".") or part in LEFT_BY_TOOLS for part in file.split("/"))
        }
        self._by_name: dict[str, list[str]] = collections.defaultdict(list)
        for path in self.relative:
            self._by_name[path.rpartition("/")[2]].append(path)

    def find(self, name: str, beside: str = "", folders: Sequence[str] = ()) -> str:
        """The image that an annotation file means, as a path below the folder.

        What the name says is taken literally, beside the annotation file, in likely folders and in the data set itself.
        If nothing is there (as paths of the machine on which the labels were made are not), the image whose path ends
        in the same way is taken, if there is exactly one.

        Args:
          name: as the annotation file has it; a path or a URL may be before it.
          beside: folder of the annotation file, relative, or an empty string for the data set's own.
          folders: other folders to look in first, likewise.

        Raises:
          BadImageError: if there is no such image, several are meant, or it lies outside of the data set.
        """
        wanted = unicodedata.normalize("NFC", name.replace("\\", "/")).strip()
        if not wanted or wanted.endswith("/"):
            raise BadImageError("it names no image")
        outside = False
        for folder in dict.fromkeys([*folders, beside, ""]):
            path = os.path.normpath(f"{folder}/{wanted}" if folder else wanted)
            outside = outside or path.startswith("../")
            if path in self.relative:
                return path
        parts = [part for part in wanted.split("/") if part not in ("", ".", "..")]
        candidates = self._by_name.get(parts[-1], []) if parts else []
        for depth in range(len(parts), 0, -1):
            tail = "/".join(parts[-depth:])
            found = [path for path in candidates if path == tail or path.endswith(f"/{tail}")]
            if len(found) == 1 and not outside:
                return found[0]
            if len(found) > 1:
                raise BadImageError(f"{name} may be {' or '.join(sorted(found)[:3])}; name the folder too")
        if outside:
            raise BadImageError(f"{name} leads out of the data set; put the image into {self.folder}")
        raise BadImageError(f"there is no image {name} in {self.folder}")
