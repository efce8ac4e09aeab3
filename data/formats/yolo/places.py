"""Where the images of each split of a YOLO data set are: in the folders and lists that its data.yaml names."""

from __future__ import annotations

import dataclasses
import posixpath
import unicodedata
from collections.abc import Collection, Container, Iterator

from data.annotations.image_files import ImageFiles
from data.base.errors import UserError
from data.base.files import join, read_bytes
from data.decoding.errors import BadImageError
from data.formats.base.reader import SetAside
from data.formats.yolo.description import Description


@dataclasses.dataclass
class Placed:
    """What was found.

    Attributes:
      splits: the split of each image, by its path below the data set.
      set_aside: images that a list names and that cannot be found.
      ignored: places that name nothing.
    """

    splits: dict[str, str] = dataclasses.field(default_factory=dict)
    set_aside: list[SetAside] = dataclasses.field(default_factory=list)
    ignored: list[SetAside] = dataclasses.field(default_factory=list)


def find_images(
    folder: str, description: Description, images: ImageFiles, files: Collection[str], dealt_anew: Container[str]
) -> Placed:
    """The images of each split.

    Args:
      folder: the data set.
      description: what is said about it.
      images: its images.
      files: paths of all of its files, relative.
      dealt_anew: the splits whose images are dealt anew, so that an image may be in several of them.

    Raises:
      UserError: if what is said about train or eval is not there, or an image is in two splits.
    """
    placed = Placed()
    path = join(folder, description.file)
    stored = {unicodedata.normalize("NFC", file): file for file in files}
    known = {posixpath.dirname(file) for file in stored}
    folders = known | {parent for one in known for parent in _parents(one)}
    of_split: dict[str, set[str]] = {}
    for split, places in description.places.items():
        found: dict[str, None] = {}
        for place in places:
            where = next((one for one in description.folders_of(place) if one in folders or one in stored), None)
            if where is None:
                reason = f"there is no {place} in {folder}, which it names as {split}"
                if split != "test":
                    raise UserError(f"{path}: {reason}; put the images there, or correct the file")
                placed.ignored.append(SetAside(path, reason))  # Roboflow names it in any case.
            elif where in folders:
                found |= dict.fromkeys(image for image in images.relative if not where or image.startswith(f"{where}/"))
            elif where.lower().endswith(".txt"):
                found |= dict.fromkeys(_listed(folder, stored[where], description, images, placed))
            else:
                raise UserError(f"{path}: {split} is {place}, which is neither a folder nor a text file")
        if same := next((other for other, content in of_split.items() if found and content == found.keys()), ""):
            placed.ignored.append(SetAside(path, f"{split} has the same images as {same}; they count as {same}"))
            continue
        of_split[split] = set(found)
        for image in found:
            other = placed.splits.setdefault(image, split)
            if other != split and not (split in dealt_anew and other in dealt_anew):
                raise UserError(
                    f"{path}: {image} is in {other} and in {split}; take it out of one, or deal all images anew by "
                    "a hash with --split train=0.8,eval=0.1,test=0.1"
                )
    return placed


def _parents(folder: str) -> Iterator[str]:
    while folder:
        folder = posixpath.dirname(folder)
        yield folder


def _listed(folder: str, file: str, description: Description, images: ImageFiles, placed: Placed) -> Iterator[str]:
    """The images that a text file lists, one a line."""
    path = join(folder, file)
    try:
        lines = read_bytes(path).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise UserError(f"{path} is not text in UTF-8") from None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            yield images.find(line, posixpath.dirname(file), [posixpath.dirname(description.file)])
        except BadImageError as error:
            placed.set_aside.append(SetAside(f"{path}: line {number}", str(error)))
