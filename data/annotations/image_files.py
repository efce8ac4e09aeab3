"""The image files that annotations name: by path, or by as much of its end as is needed to find them."""

from __future__ import annotations

import collections
import os
import re
import unicodedata
from collections.abc import Callable, Sequence

from data.base.files import join
from data.decoding.errors import BadImageError
from data.listing.items import EXTENSIONS, LEFT_BY_TOOLS
from data.listing.split_folders import placing, split_of_word
from data.listing.walking import relative_files

# Folders of masks, whose files have the names of images, and are none.
_OF_LABELS = re.compile(r"mask|label|annotation|segment|panoptic|pixelmap|stuffthing|gtfine|truth", re.IGNORECASE)


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
        # By name in any case, as Windows and macOS do not tell cases apart, and by name without extension.
        self._by_name: dict[str, list[str]] = collections.defaultdict(list)
        self._by_stem: dict[str, list[str]] = collections.defaultdict(list)
        for path in self.relative:
            name = path.rpartition("/")[2].casefold()
            self._by_name[name].append(path)
            self._by_stem[os.path.splitext(name)[0]].append(path)

    def find(self, name: str, beside: str = "", folders: Sequence[str] = ()) -> str:
        """The image that an annotation file means, as a path below the folder.

        What the name says is taken literally, beside the annotation file, in likely folders and in the data set itself.
        If nothing is there (as paths of the machine on which the labels were made are not), the image whose path ends
        in the same way is taken, if there is exactly one; in other capital letters only if there is none in these. An
        image of train is never taken for one of test.

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
        places = [
            os.path.normpath(f"{folder}/{wanted}" if folder else wanted)
            for folder in dict.fromkeys([*folders, beside, ""])
        ]
        parts = [part for part in wanted.split("/") if part not in ("", ".", "..")]
        similar = self._by_name.get(parts[-1].casefold(), []) if parts else []
        for path in places:
            if path in self.relative:
                return path
        # Seen from the annotation file, not from the likely folders.
        leads_out = os.path.normpath(f"{beside}/{wanted}" if beside else wanted).startswith("../")
        found = _ending_alike(parts, similar, str) or _same(places, similar) or _ending_alike(parts, similar, _no_case)
        if len(found) > 1:
            raise BadImageError(f"{name} may be {' or '.join(sorted(found)[:3])}; name the folder too")
        if leads_out:
            hint = (
                f"if {found[0]} is meant, name that"
                if found
                else (f"name the folder above {self.folder} that has both labels and images, or put the image into it")
            )
            raise BadImageError(f"{name} leads out of the data set; {hint}")
        is_other = found and (_is_of_other_split(parts, found[0]) or _are_of_two_splits(beside, found[0]))
        if found and not is_other:
            return found[0]
        stem = os.path.splitext(parts[-1])[0].casefold() if parts else ""
        others = found or [one for one in self._by_stem.get(stem, []) if not _OF_LABELS.search(os.path.dirname(one))]
        hint = f"; if {others[0]} is meant, name that" if len(others) == 1 else ""
        raise BadImageError(f"there is no image {name} in {self.folder}{hint}")


def _no_case(text: str) -> str:
    return text.casefold()


def _same(places: Sequence[str], paths: Sequence[str]) -> list[str]:
    """The paths that differ from the first of some places that has any in their case alone."""
    for place in map(_no_case, places):
        if found := [path for path in paths if _no_case(path) == place]:
            return found
    return []


def _ending_alike(parts: Sequence[str], paths: Sequence[str], spelled: Callable[[str], str]) -> list[str]:
    """The paths that end in as many of the parts of a name as possible.

    Args:
      parts: folders and the name of a file.
      paths: those to choose from.
      spelled: what is compared of a text.
    """
    for start in range(len(parts)):
        tail = spelled("/".join(parts[start:]))
        if found := [path for path in paths if f"/{spelled(path)}".endswith(f"/{tail}")]:
            return found
    return []


def _are_of_two_splits(beside: str, path: str) -> bool:
    """Whether the folder of an annotation file and the path of an image say different splits."""
    splits = {placing(f"{beside}/").split, placing(path).split} - {""}
    return len(splits) > 1


def _is_of_other_split(parts: Sequence[str], path: str) -> bool:
    """Whether the folder in which a name and a path begin to differ stands for a split in both, but not for one."""
    pairs = zip(reversed(parts), reversed(path.split("/")), strict=False)
    differing = next(((ours, theirs) for ours, theirs in pairs if _no_case(ours) != _no_case(theirs)), ("", ""))
    splits = {split_of_word(word) for word in differing} - {""}
    return len(splits) > 1
