"""Two folders, `images/` and `masks/`, whose files are paired by their path without the extension."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pydantic

from data.base.files import join, read_bytes
from data.decoding.images import EncodedImage, looks_flat
from data.formats.reader import Listing, MaskedImagesReader, Recognition, SetAside, Source
from data.listing.dealing import check_groups, shares_that_work, splits_by_folder, working_split
from data.listing.finding import find_pairs
from data.listing.groups import Pattern, groups_by_pattern, groups_of_table
from data.listing.layout import find_layout
from data.listing.naming import Affix, Affixes, Naming
from data.listing.pairing import without_repetitions
from data.listing.places import FolderBelow
from data.listing.split_folders import placing
from data.masks.meaning import MaskOptions
from data.splits import DEFAULT_SHARES, Shares, split_of


class MaskFolderReader(MaskOptions, MaskedImagesReader):
    """Folders images/ and masks/, with files of the same names and any subfolders.

    Masks hold class ids, or the colors of --labels. Links to files and folders are followed.

    Folders train, val and test, or other usual words for these, are the splits, below images/ and masks/ or above them
    (train/images and train/masks). Without such folders a stable hash of each name decides: an image stays in its split
    when others are added. A pair beside such folders is an error, as is a folder that may mean a split, such as fold1
    or train_old, since nothing says which split it belongs to.

    Attributes:
      folder: holds `images` and `masks`, or folders that do.
      images: folder with the images, below SOURCE or below its folders; `.` for SOURCE itself.
      masks: folder with the masks, likewise; it may be the same one if prefixes or suffixes tell them apart.
      image_prefix: what the images' names begin with and the masks' do not; other files are left out.
      image_suffix: what they end in, before the extension, such as _leftImg8bit.
      mask_prefix: what the masks' names begin with, such as mask_; other files are left out.
      mask_suffix: what they end in, before the extension, such as _mask or _gtFine_labelIds.
      unlabeled: whether images without a mask count as unusable, of which --max-set-aside allows only a few, or are
        only left out.
      split: share of each split, by a stable hash of each name or group, such as train=0.8,eval=0.1,test=0.1, which is
        the default where there are no folders of splits. Where there are, the images of the splits that are named here
        are dealt anew, and other folders stay: train=0.9,eval=0.1 divides the folder train and leaves test as it is.
      group_by: a regular expression; images in whose names (with subfolders, without those of splits) its first
        parentheses, or else all of it, match the same text are of one group, such as a patient, and in one split.
      groups: a CSV file and its column that has the group of each image; another column names the images.
    """

    folder: str
    images: FolderBelow = "images"
    masks: FolderBelow = "masks"
    image_prefix: Affix = ""
    image_suffix: Affix = ""
    mask_prefix: Affix = ""
    mask_suffix: Affix = ""
    unlabeled: Literal["set-aside", "ignore"] = "set-aside"
    split: Shares | None = pydantic.Field(None, title="SHARES")
    group_by: Pattern = pydantic.Field("", title="REGEX")
    groups: str = pydantic.Field("", title="FILE:COLUMN")

    @pydantic.model_validator(mode="after")
    def _check_listing(self) -> MaskFolderReader:
        if self.group_by and self.groups:
            raise ValueError("takes --group-by or --groups, not both")
        if self.groups and not all(self.groups.rpartition(":")):
            raise ValueError(f"--groups {self.groups}: name the column too, as in --groups patients.csv:patient")
        return self

    @classmethod
    def recognize(cls, folder: str, files: list[str]) -> Recognition | None:
        layout = find_layout(files, lambda file: looks_flat(read_bytes(join(folder, file))))
        if layout is None:
            return None
        return Recognition(layout.reasons, layout.options, needs_labels=True, assumptions=layout.assumptions)

    def listing(self) -> Listing:
        naming = Naming(Affixes(self.image_prefix, self.image_suffix), Affixes(self.mask_prefix, self.mask_suffix))
        found = find_pairs(self.folder, self.images, self.masks, naming)
        stay = splits_by_folder({image.name: image.file.path for image, _ in found.pairs}, self.split)
        pairs, same, other = without_repetitions(found.pairs, stay)
        paths = {image.name: image.file.path for image, _ in pairs}
        groups = self._groups(paths)
        splits = {
            name: stay.get(name) or split_of(groups.get(name, name), self.split or DEFAULT_SHARES) for name in paths
        }
        check_groups(splits, groups, paths)
        sources = [
            Source(image.name, splits[image.name], image.file.path, mask.file.path, group=groups.get(image.name, ""))
            for image, mask in pairs
        ]
        is_error = self.unlabeled == "set-aside"
        set_aside = [*found.unusable, *other, *(found.unlabeled if is_error else [])]
        ignored = [*found.ignored, *same, *((path, "no mask") for path, _ in found.unlabeled if not is_error)]
        remedy = "--unlabeled ignore leaves out the images that have no mask" if found.unlabeled and is_error else ""
        return Listing(sources, [SetAside(*one) for one in set_aside], [SetAside(*one) for one in ignored], remedy)

    def fill_splits(self, sources: list[Source]) -> str:
        return shares_that_work(_keys(sources), self.split)

    def working_split(self, sources: list[Source]) -> dict[str, float]:
        return working_split(_keys(sources), self.split)

    def _groups(self, paths: dict[str, str]) -> dict[str, str]:
        if self.group_by:
            return groups_by_pattern(self.group_by, {name: placing(name).rest for name in paths})
        if self.groups:
            start = len(self.folder.rstrip("/")) + 1
            return groups_of_table(self.groups, {name: path[start:] for name, path in paths.items()})
        return {}

    def read(self, source: Source) -> tuple[EncodedImage, np.ndarray]:
        ids = self.read_class_ids(source.mask, self.meaning)
        return self.read_image(read_bytes(source.image), ids), ids


def _keys(sources: list[Source]) -> dict[str, str]:
    return {source.source_id: source.group or source.source_id for source in sources}
