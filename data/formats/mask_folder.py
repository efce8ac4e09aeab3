"""Two folders, `images/` and `masks/`, whose files are paired by their path without the extension."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import pydantic

from data.base.files import join, read_bytes
from data.contract import CROWD, IGNORE_LABEL
from data.decoding.images import BadImageError, looks_flat
from data.formats.base.dealt import SplitOptions
from data.formats.base.dense import check_objects, class_of_none, number_objects, numbers_or_colors
from data.formats.base.paired import PairOptions
from data.formats.base.reader import LabeledImage, Listing, MaskedImagesReader, Recognition, SetAside, Source
from data.listing.finding import Found, find_pairs
from data.listing.items import Item, image_stem
from data.listing.layout import find_layout
from data.listing.pairing import without_repetitions
from data.listing.places import FolderBelow
from data.listing.split_folders import placing
from data.masks.class_ids import read_mask
from data.masks.meaning import MaskOptions

_OBJECT_FOLDERS = ("instances", "instance", "instance_masks", "objects")
_EXACT = (".png", ".tif", ".tiff")


class MaskFolderReader(PairOptions, SplitOptions, MaskOptions, MaskedImagesReader):
    """Folders images/ and masks/, with files of the same names and any subfolders.

    Masks hold class ids, or the colors of --labels. Links to files and folders are followed.

    Folders train, val and test, or other usual words for these, are the splits, below images/ and masks/ or above them
    (train/images and train/masks). Without such folders a stable hash of each name decides: an image stays in its split
    when others are added. A pair beside such folders is an error, as is a folder that may mean a split, such as fold1
    or train_old, since nothing says which split it belongs to.

    Attributes:
      objects: folder with masks that number the objects, named as the masks are; 0 is none, 65535 several that nobody
        told apart. If it is the folder of the masks too, there are no others, and each object is of the second of two
        classes.
    """

    looks_for: ClassVar[str] = (
        "folders images/ and masks/, whatever they are called, with files of the same names, or with names that differ "
        "in a suffix such as _mask; or images and masks side by side with such a suffix"
    )
    is_fallback: ClassVar[bool] = True

    objects: FolderBelow = ""

    @pydantic.model_validator(mode="after")
    def _check_objects(self) -> MaskFolderReader:
        if self.objects == self.masks and len(self.label_map) != 2:
            raise ValueError(
                f"--objects {self.objects} without other masks is for two classes, the second of which has objects; "
                f"there are {len(self.label_map)}"
            )
        return self

    @classmethod
    def recognize(cls, folder: str, files: list[str]) -> Recognition | None:
        layout = find_layout(files, lambda file: looks_flat(read_bytes(join(folder, file))))
        if layout is None:
            return None
        options, reasons = layout.options, layout.reasons
        if objects := _objects_beside(files, layout.masks):
            options, reasons = {**options, "objects": objects}, (*reasons, f"{objects}/ numbers the objects")
        return Recognition(reasons, options, needs_labels=True, assumptions=layout.assumptions)

    def listing(self) -> Listing:
        found = find_pairs(self.folder, self.images, self.masks, self.naming)
        stay = self.stated_splits({image.name: image.file.path for image, _ in found.pairs})
        pairs, same, other = without_repetitions(found.pairs, stay)
        numbered, unnumbered, others_of_objects = self._masks_of_objects(pairs, found)
        listed = [
            Source(
                image.name,
                "",
                image.file.path,
                mask.file.path,
                stated_split=placing(image.name).split,
                labels=numbered.get(image.file.path, ""),
            )
            for image, mask in pairs
            if not self.objects or image.file.path in numbered
        ]
        sources = self.deal(listed, stay, self.folder)
        is_error = self.unlabeled == "set-aside"
        set_aside = [*found.unusable, *unnumbered, *other, *(found.unlabeled if is_error else [])]
        others = [entry for entry in found.ignored if not self.objects or not entry[0].endswith(f"/{self.objects}")]
        ignored = [
            *others,
            *others_of_objects,
            *same,
            *((path, "no mask") for path, _ in found.unlabeled if not is_error),
        ]
        remedy = "--unlabeled ignore leaves out the images that have no mask" if found.unlabeled and is_error else ""
        return Listing(sources, [SetAside(*one) for one in set_aside], [SetAside(*one) for one in ignored], remedy)

    def _masks_of_objects(
        self, pairs: Sequence[tuple[Item, Item]], of_masks: Found
    ) -> tuple[dict[str, str], list[tuple[str, str]], list[tuple[str, str]]]:
        """Paths of the masks of objects by that of their image.

        And what cannot be used: images that have none, and such masks without an image; and other files there.

        Args:
          pairs: the images with masks that are read.
          of_masks: all that was found of images and masks, which is not told again.
        """
        if not self.objects:
            return {}, [], []
        if self.objects == self.masks:
            return {image.file.path: mask.file.path for image, mask in pairs}, [], []
        found = find_pairs(self.folder, self.images, self.objects, self.naming)
        numbered = {image.file.path: mask.file.path for image, mask in found.pairs}
        unusable = [entry for entry in found.unusable if entry not in of_masks.unusable]
        known = {path for path, _ in unusable}
        missing = [path for image, _ in pairs if (path := image.file.path) not in numbered and path not in known]
        unusable += [(path, f"no mask of its objects in {self.objects}") for path in missing]
        ignored = [entry for entry in found.ignored if entry not in of_masks.ignored]
        return numbered, unusable, [entry for entry in ignored if not entry[0].endswith(f"/{self.masks}")]

    def read(self, source: Source) -> LabeledImage:
        if not source.labels:
            ids = self.read_class_ids(source.mask, self.meaning)
            return LabeledImage(self.read_image(read_bytes(source.image), ids), ids)
        values, are_none, are_crowds = self._values_of_objects(source.labels)
        if source.labels == source.mask:
            ids = np.where(are_none, 0, 1).astype(np.uint8)
        else:
            ids = self.read_class_ids(source.mask, self.meaning)
            if ids.shape != values.shape:
                raise BadImageError(
                    f"the mask of its objects has {values.shape[1]}x{values.shape[0]} pixels, its mask "
                    f"{ids.shape[1]}x{ids.shape[0]}"
                )
            check_objects(values, ~are_none & ~are_crowds, are_none, ids)
        are_objects = ~are_none & ~are_crowds & (ids != IGNORE_LABEL)
        are_objects &= ids != class_of_none(are_objects, are_none, ids)
        instances = number_objects(values, are_objects, are_crowds, ids)
        return LabeledImage(self.read_image(read_bytes(source.image), ids), ids, instances)

    def _values_of_objects(self, path: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """[height, width] numbers, or colors as numbers; and bool, where no object is, and where crowds are."""
        try:
            mask = read_mask(read_bytes(path), self.max_pixels)
            if mask.lossy:
                raise BadImageError("its compression changes values, so it cannot tell objects apart; take PNG")
            if mask.pixels.min(initial=0) < 0:
                raise BadImageError("it has negative numbers; objects have those from 1 on, and 0 is none")
        except BadImageError as error:
            raise BadImageError(f"the mask of its objects: {error}") from None
        values, are_colors = numbers_or_colors(mask)
        are_none = values == 0
        if mask.alpha is not None:
            are_none |= mask.alpha == 0
        return values, are_none, np.zeros(values.shape, bool) if are_colors else values == CROWD


def _objects_beside(files: Sequence[str], masks: str) -> str:
    """The folder, by its name, that has an exact image for each mask and is called as that of objects is, or ""."""
    stems = {image_stem(file) for file in files if file.lower().endswith(_EXACT)} - {""}
    of_masks = [folders for stem in stems if masks in (folders := stem.split("/"))[:-1]]
    names = {folder for stem in stems for folder in stem.split("/")[:-1] if folder.casefold() in _OBJECT_FOLDERS}
    for name in sorted(names):
        if of_masks and all("/".join(name if part == masks else part for part in parts) in stems for parts in of_masks):
            return name
    return ""
