"""Where the files of CVAT's exports are: XML, masks, and the images that they belong to."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Mapping, Sequence

from data.annotations.image_files import ImageFiles
from data.base.errors import UserError
from data.base.files import join
from data.decoding.errors import BadImageError
from data.formats.base.heads import is_empty
from data.formats.cvat.xml_file import FILE_NAME, is_cvat_xml
from data.listing.items import EXTENSIONS, LEFT_BY_TOOLS
from data.listing.split_folders import looks_like_split, split_of_word
from data.splits import DEFAULT_SHARES, Shares, share_text

LABEL_MAP = "labelmap.txt"
CLASSES, OBJECTS = "SegmentationClass", "SegmentationObject"
# As CVAT names the frames of a video.
_FRAME = re.compile(r"frame_(\d{6,})")
# What CVAT calls a subset that has no name.
_NO_SUBSET = ("", "default")
# So many XML files are opened to recognize a folder.
_MOST_OPENED = 5


@dataclasses.dataclass(frozen=True)
class Exports:
    """What CVAT has exported into a folder; paths are relative to it.

    Attributes:
      xml: files with annotations.
      masks: folders that hold a label map and masks; an empty string for the folder itself.
      others: XML files that are not CVAT's.
    """

    xml: tuple[str, ...]
    masks: tuple[str, ...]
    others: tuple[str, ...] = ()


def find_exports(folder: str, files: Sequence[str], most_opened: int | None = None) -> Exports:
    """The exports among the files of a folder.

    Args:
      folder: the folder.
      files: paths below it, with `/` between folders.
      most_opened: how many XML files may be opened; None for all.

    Raises:
      OSError: if a file cannot be read.
    """
    labeled = {os.path.dirname(file) for file in files if os.path.basename(file) == LABEL_MAP}
    with_masks = {os.path.dirname(file).partition(CLASSES)[0].rstrip("/") for file in files if _is_mask(file)}
    named = [file for file in files if file.lower().endswith(".xml") and not _is_left_by_tools(file)]
    named.sort(key=lambda file: (os.path.basename(file) != FILE_NAME, file))
    xml = [file for file in named[:most_opened] if is_cvat_xml(join(folder, file))]
    if xml:  # Reading says what is wrong with one that may have been another part.
        xml += [file for file in named[:most_opened] if file not in xml and is_empty(folder, file)]
    others = sorted(set(named[:most_opened]) - set(xml))
    return Exports(tuple(sorted(xml)), tuple(sorted(labeled & with_masks)), tuple(others))


def recognize_exports(folder: str, files: Sequence[str]) -> Exports:
    """As `find_exports`, of which a few opened files are enough."""
    return find_exports(folder, files, _MOST_OPENED)


def _is_mask(file: str) -> bool:
    return CLASSES in file.split("/")[:-1] and file.lower().endswith(".png")


def _is_left_by_tools(file: str) -> bool:
    return any(part.startswith(".") or part in LEFT_BY_TOOLS for part in file.split("/"))


def below(folder: str, *names: str) -> str:
    """A relative path below a relative folder, of which each may be an empty string."""
    return "/".join(part for part in (folder, *names) if part)


def find_image(images: ImageFiles, name: str, beside: str, folders: Sequence[str]) -> str:
    """The image that an export names, as a path below the data set; frames of a video have no extension there.

    Args:
      images: those of the data set.
      name: as the export has it.
      beside: folder of the export, relative.
      folders: folders of images to look in first, likewise.

    Raises:
      BadImageError: if there is no such image, or several are meant.
    """
    try:
        return images.find(name, beside, folders)
    except BadImageError:
        if os.path.splitext(name)[1].lower() in EXTENSIONS:
            raise
        return _find_without_extension(images, name, beside, folders)


def _find_without_extension(images: ImageFiles, name: str, beside: str, folders: Sequence[str]) -> str:
    found, errors = [], []
    for extension in sorted({os.path.splitext(path)[1] for path in images.relative}):
        try:
            found.append(images.find(name + extension, beside, folders))
        except BadImageError as error:
            errors.append(error)
    if len(found) > 1:
        raise BadImageError(f"{name} may be {' or '.join(found)}; keep one of them")
    if not found:
        raise errors[0] if errors else BadImageError(f"there is no image {name} in {images.folder}")
    return found[0]


def frame_folders(images: ImageFiles) -> dict[str, dict[int, str]]:
    """The frames of videos in each folder: their paths, by number."""
    folders: dict[str, dict[int, str]] = {}
    for path in images.relative:
        folder, _, name = path.rpartition("/")
        if match := _FRAME.fullmatch(os.path.splitext(name)[0]):
            folders.setdefault(folder, {}).setdefault(int(match[1]), path)
    return folders


def frames_of(folders: Mapping[str, dict[int, str]], file: str, subset: str) -> dict[int, str]:
    """The frames that the annotations of a video belong to: their paths, by number; none if they are not there.

    Args:
      folders: what `frame_folders` found.
      file: the file with the annotations, relative.
      subset: the subset of the video, or an empty string.
    """
    beside, stem = os.path.dirname(file), os.path.splitext(os.path.basename(file))[0]
    likely = [below(beside, "images", stem), below(beside, stem), below(beside, "images"), beside]
    if subset:
        likely.insert(0, below(beside, "images", subset))
    for folder in likely:
        if folder in folders:
            return folders[folder]
    inside = [folder for folder in folders if not beside or folder.startswith(f"{beside}/")]
    return folders[inside[0]] if len(inside) == 1 else {}


def split_of_subset(subset: str, where: str, shares: Shares | None) -> str:
    """The split that a subset of CVAT is; an empty string if it is none, and a hash decides.

    Raises:
      UserError: if it may be one, but nobody knows which, and no shares are given.
    """
    if subset in _NO_SUBSET:
        return ""
    split = split_of_word(subset)
    if not split and looks_like_split(subset) and not shares:
        raise UserError(
            f"{where}: the subset {subset} may stand for a split: call it Train, Validation or Test, or deal all "
            f"images by a hash of each name with --split {share_text(DEFAULT_SHARES)}"
        )
    return split
