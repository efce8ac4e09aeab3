"""The Oxford-IIIT Pet data set in its published layout (Parkhi et al., "Cats and Dogs", CVPR 2012)."""

from __future__ import annotations

import os
from typing import ClassVar, Literal

import pydantic

from data.base.errors import UserError
from data.base.files import join, read_bytes
from data.contract import IGNORE_LABEL
from data.formats.base.reader import (
    LabeledImage,
    Listing,
    MaskedImagesReader,
    Recognition,
    SetAside,
    Source,
    set_aside_duplicates,
)
from data.label_map import LabelMap
from data.listing.walking import walk
from data.masks.meaning import Meaning
from data.splits import Shares, share_text, split_of, working_shares

DEFAULT_SHARES = {"train": 0.9, "eval": 0.1}


class OxfordPetsReader(MaskedImagesReader):
    """The Oxford-IIIT Pet data set as published, with images/ and annotations/.

    The authors' test.txt is the test split; a stable part of their trainval.txt is the eval split. The breed is the
    slice.

    Attributes:
      folder: holds `images` and `annotations`.
      border: whether the trimap's unclassified border becomes a class or is ignored (label 255).
      split: how trainval.txt is divided into train and eval, by a stable hash of each name.
    """

    looks_for: ClassVar[str] = (
        "images/, annotations/trimaps/, annotations/trainval.txt and annotations/test.txt, as the Oxford-IIIT Pet data "
        "set was published"
    )

    folder: str
    border: Literal["class", "ignore"] = "class"
    split: Shares = DEFAULT_SHARES

    @pydantic.field_validator("split")
    @classmethod
    def _check_split(cls, split: dict[str, float]) -> dict[str, float]:
        if "test" in split:
            raise ValueError("the data set has its own test list; give shares of train and eval only")
        return split

    @property
    def label_map(self) -> LabelMap:
        return LabelMap.from_names(["pet", "background"] + (["border"] if self.border == "class" else []))

    @classmethod
    def recognize(cls, folder: str, files: list[str]) -> Recognition | None:
        lists = ("annotations/trainval.txt", "annotations/test.txt")
        if not set(lists) <= set(files) or not any(file.startswith("annotations/trimaps/") for file in files):
            return None
        return Recognition((f"it has {', '.join(lists)} and annotations/trimaps/, as the data set was published",))

    def listing(self) -> Listing:
        images, annotations = join(self.folder, "images"), join(self.folder, "annotations")
        found = [file.path for file in walk(images).files]
        if not found and not os.path.isdir(images):
            raise UserError(f"{images} is missing; {self.folder} is not the Oxford-IIIT Pet data set as published")
        lists = {}
        for list_name in ("trainval.txt", "test.txt"):
            path = join(annotations, list_name)
            try:
                # A name that is not UTF-8 is escaped; no file has the escaped name, so reading it sets it aside.
                lists[list_name] = read_bytes(path).decode("utf-8", "backslashreplace")
            except OSError:
                raise UserError(
                    f"{path} is missing; {self.folder} is not the Oxford-IIIT Pet data set as published"
                ) from None
        listed, outside = [], []
        for list_name, listing in lists.items():
            for line in listing.splitlines():
                if not line.strip() or line.startswith("#"):
                    continue
                name = line.split()[0]
                if "/" in name:
                    outside.append(SetAside(name, f"{list_name}: a path instead of a name"))
                    continue
                split = "test" if list_name == "test.txt" else split_of(name, self.split)
                listed.append(
                    Source(
                        name,
                        split,
                        join(images, f"{name}.jpg"),
                        join(annotations, "trimaps", f"{name}.png"),
                        slice=name.rpartition("_")[0],
                    )
                )
        sources, set_aside = set_aside_duplicates(listed)
        names = {source.source_id for source in sources}
        ignored = [
            SetAside(path, "in neither trainval.txt nor test.txt")
            for path in found
            if path.endswith(".jpg")
            and not (name := path[len(images) + 1 :]).startswith("._")
            and name.removesuffix(".jpg") not in names
        ]
        return Listing(sources, outside + set_aside, ignored)

    def fill_splits(self, sources: list[Source]) -> str:
        dealt = [source.source_id for source in sources if source.split != "test"]
        try:
            working = share_text(working_shares(dealt, ("train", "eval")))
        except ValueError as error:
            return f"{error}; add images"
        return f"--split {working} divides trainval.txt so that neither train nor eval is empty"

    def read(self, source: Source) -> LabeledImage:
        border = IGNORE_LABEL if self.border == "ignore" else 2
        values = {1: 0, 2: 1, 3: border, IGNORE_LABEL: IGNORE_LABEL}
        meaning = Meaning(self.label_map, values, has_colors=False, kind="ids")
        ids = self.read_class_ids(source.mask, meaning)
        return LabeledImage(self.read_image(read_bytes(source.image), ids), ids)
