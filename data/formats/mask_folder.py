"""Two folders, `images/` and `masks/`, whose files are paired by their path without the extension."""

from __future__ import annotations

import functools
import os

import numpy as np
import pydantic

from data.base.errors import UserError
from data.base.files import join, list_files, read_bytes
from data.decoding.images import EncodedImage
from data.decoding.masks import class_ids, read_mask
from data.formats.reader import (
    Listing,
    MaskedImagesReader,
    SetAside,
    Source,
    set_aside_duplicates,
)
from data.label_map import ClassNames, LabelMap, LabelMapFile
from data.splits import Shares, split_of

DEFAULT_SHARES = {"train": 0.8, "eval": 0.1, "test": 0.1}
_EXTENSIONS = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".tif", ".tiff", ".webp")
_SPLIT_FOLDERS = {"train": "train", "eval": "eval", "val": "eval", "validation": "eval", "test": "test"}


class MaskFolderReader(MaskedImagesReader):
    """Folders images/ and masks/, with files of the same names and any subfolders.

    Masks hold class ids, or the colors of --labels. Subfolders train, eval (or val, validation) and test are the
    splits; without them, or with --split, a stable hash of each name decides. A pair beside such subfolders is an
    error, since nothing says which split it belongs to.

    Attributes:
      folder: holds `images` and `masks`.
      classes: class names, in the order of the ids in the masks.
      labels: a labels.yaml with names and colors, instead of --classes.
      split: share of each split, by a stable hash of each name, such as train=0.8,eval=0.1,test=0.1; by default these
        shares, or the subfolders train, eval and test where there are any.
    """

    folder: str
    classes: ClassNames = ()
    labels: LabelMapFile | None = pydantic.Field(None, title="FILE")
    split: Shares | None = pydantic.Field(None, title="SHARES")

    @pydantic.model_validator(mode="after")
    def _check_classes(self) -> MaskFolderReader:
        if bool(self.classes) == bool(self.labels):
            raise ValueError("needs --classes with the names of the classes, or --labels with a labels.yaml")
        _ = self.label_map  # Which says what is wrong with the names.
        return self

    @functools.cached_property
    def label_map(self) -> LabelMap:
        return self.labels or LabelMap.from_names(self.classes)

    def listing(self) -> Listing:
        images, masks = join(self.folder, "images"), join(self.folder, "masks")
        set_aside: list[SetAside] = []
        image_paths, mask_paths = _files(images, set_aside), _files(masks, set_aside)
        mask_by_name: dict[str, str] = {}
        for path in mask_paths:
            name = _name(path, masks)
            if name in mask_by_name:
                set_aside.append(SetAside(path, f"duplicate name {name}: already taken by {mask_by_name[name]}"))
            mask_by_name.setdefault(name, path)

        inside: list[Source] = []
        outside: list[Source] = []
        for path in image_paths:
            name = _name(path, images)
            if name not in mask_by_name:
                set_aside.append(SetAside(path, f"no mask {join(masks, name)}.*"))
                continue
            split = _SPLIT_FOLDERS.get(name.partition("/")[0]) if self.split is None and "/" in name else None
            (inside if split else outside).append(
                Source(name, split or split_of(name, self.split or DEFAULT_SHARES), path, mask_by_name[name])
            )
        if inside and outside:
            raise UserError(
                f"{outside[0].image} lies outside the split folders, and {inside[0].image} in one; move it and its "
                "mask into train, eval or test, or give shares with --split, so that a hash of each name decides"
            )
        image_names = {_name(path, images) for path in image_paths}
        set_aside += [
            SetAside(path, f"no image {join(images, name)}.*")
            for name, path in mask_by_name.items()
            if name not in image_names
        ]
        sources, duplicates = set_aside_duplicates(inside + outside)
        return Listing(sources, set_aside + duplicates)

    def read(self, source: Source) -> tuple[EncodedImage, np.ndarray]:
        ids = class_ids(read_mask(read_bytes(source.mask), self.max_pixels), self.label_map)
        return self.read_image(read_bytes(source.image), ids), ids


def _files(folder: str, set_aside: list[SetAside]) -> list[str]:
    """The image files in a folder; those whose names are not UTF-8, as TFRecords need it, are set aside."""
    found = list_files(folder)
    if not found and not os.path.isdir(folder):
        raise UserError(f"{folder} is not a folder; the format mask-folder has images/ and masks/")
    files = []
    for path in found:
        if path.lower().endswith(_EXTENSIONS) and not path.rpartition("/")[2].startswith("."):
            printable = os.fsencode(path).decode("utf-8", "backslashreplace")
            if printable == path:
                files.append(path)
            else:
                set_aside.append(SetAside(printable, "its name is not UTF-8; rename it"))
    return files


def _name(path: str, folder: str) -> str:
    return os.path.splitext(path[len(folder.rstrip("/")) + 1 :])[0]
