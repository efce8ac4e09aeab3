"""The folders of a data set in the layout of Pascal VOC."""

from __future__ import annotations

import collections
import dataclasses
import posixpath
import re
import unicodedata
from collections.abc import Iterable

from data.listing.items import LEFT_BY_TOOLS, image_stem

IMAGES = "JPEGImages"
MASKS = "SegmentationClass"
# Where SegmentationClass is missing or has no images: labelme's older name, TensorFlow's, and the larger set of others.
_OTHER_MASKS = ("SegmentationClassPNG", "SegmentationClassRaw", "SegmentationClassAug")
_OBJECTS = ("SegmentationObject", "SegmentationObjectPNG")
_LISTS = ("ImageSets/Segmentation", "ImageSets/SegmentationAug", "ImageSets")
# Of masks that others made for more images.
_LISTS_OF_MORE = ("ImageSets/SegmentationAug", "ImageSets/Segmentation", "ImageSets")
_YEAR = re.compile(r"VOC\d{4}", re.IGNORECASE)
_NAME, _NAME_OF_2007 = re.compile(r"\d{4}_\d{6}"), re.compile(r"\d{6}")


@dataclasses.dataclass
class VocFolder:
    """A folder with JPEGImages and masks.

    Attributes:
      path: below the data set; an empty string for the data set's folder itself.
      images: paths of the images below the data set, by name; several if these differ in their extension only.
      masks: those of the masks, likewise.
      objects: those of the masks of objects, likewise.
      lists: paths of the lists, below the data set.
      masks_folder: the name of the folder with the masks.
    """

    path: str
    images: dict[str, list[str]]
    masks: dict[str, list[str]]
    objects: dict[str, list[str]]
    lists: list[str]
    masks_folder: str

    @property
    def is_year(self) -> bool:
        """Whether it is called as a year of VOC."""
        return bool(_YEAR.fullmatch(posixpath.basename(self.path)))

    @property
    def has_names_of_voc(self) -> bool:
        """Whether images are called as those of VOC, such as 2007_000032."""
        return all(map(_NAME.fullmatch, self.images))

    @property
    def may_be_voc2007(self) -> bool:
        """Whether images are called as those of that year, such as 000032, in a folder of a year."""
        return self.is_year and all(map(_NAME_OF_2007.fullmatch, self.images))


def find_voc_folders(files: Iterable[str], masks: str = MASKS) -> list[VocFolder]:
    """The folders that have images and masks, with upper and lower case as they like.

    Args:
      files: paths of all files of the data set, below it, with `/` between folders.
      masks: the name of the folders with masks.
    """
    kinds = (IMAGES, masks.partition("/")[0], MASKS, *_OTHER_MASKS, *_OBJECTS, "ImageSets")
    names = {name.casefold() for name in kinds}
    inside: dict[str, list[tuple[str, str]]] = collections.defaultdict(list)
    for file in files:
        parts = file.split("/")
        if any(part.startswith(".") or part in LEFT_BY_TOOLS for part in parts):
            continue
        known = [place for place, part in enumerate(parts[:-1]) if part.casefold() in names]
        if known:
            inside["/".join(parts[: known[0]])].append(("/".join(parts[known[0] :]), file))
    found = []
    for path, below in sorted(inside.items()):
        images = _images(below, IMAGES)
        usual = [masks, *_OTHER_MASKS] if masks == MASKS else [masks]
        folder, class_masks = next(((name, there) for name in usual if (there := _images(below, name))), (masks, {}))
        objects = next((there for name in _OBJECTS if (there := _images(below, name))), {})
        if images and class_masks:
            lists = _lists(below, _LISTS_OF_MORE if is_augmented(folder) else _LISTS)
            found.append(VocFolder(path, images, class_masks, objects, lists, folder))
    return found


def _images(below: Iterable[tuple[str, str]], folder: str) -> dict[str, list[str]]:
    start = f"{folder}/".casefold()
    images: dict[str, list[str]] = collections.defaultdict(list)
    for path, file in below:
        if path.casefold().startswith(start) and (name := image_stem(unicodedata.normalize("NFC", path[len(start) :]))):
            images[name].append(file)
    return dict(images)


def is_augmented(masks: str) -> bool:
    """Whether a folder has masks that others made for more images, by its name."""
    return masks.casefold().endswith("aug")


def _lists(below: Iterable[tuple[str, str]], folders: Iterable[str]) -> list[str]:
    lists = [(path.casefold(), file) for path, file in below if path.casefold().endswith(".txt")]
    for folder in folders:
        if found := [file for path, file in lists if posixpath.dirname(path) == folder.casefold()]:
            return found
    return []
