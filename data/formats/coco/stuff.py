"""COCO-Stuff's maps (Caesar et al., "COCO-Stuff: Thing and Stuff Classes in Context", CVPR 2018)."""

from __future__ import annotations

import collections
import dataclasses
import functools
import posixpath
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar, Literal

import numpy as np
import pydantic

from data.annotations.image_files import ImageFiles
from data.base.errors import UserError
from data.base.files import join, read_bytes
from data.contract import IGNORE_LABEL
from data.decoding.errors import BadImageError
from data.formats.base.annotated import name_of
from data.formats.base.dense import DenseReader, MaskClass
from data.formats.base.reader import LabeledImage, Listing, Recognition, SetAside, Source, set_aside_duplicates
from data.label_map_files import LabelMapFile, MaskLabels, load_labels
from data.listing.split_folders import placing, split_of_word
from data.listing.walking import relative_files
from data.masks.class_ids import read_mask

_Kind = Literal["stuffthingmaps", "pixelmaps"]
# Things in COCO's list that none of its images has, as numbers of labels.txt.
_NEVER = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91)
_FIRST_STUFF, _LAST_STUFF, _THINGS_AS_ONE = 92, 182, 183
# Nearly every map tells by itself what it is.
_MOST_LOOKS = 50


class CocoStuffReader(DenseReader):
    """COCO-Stuff's maps beside COCO's images: stuffthingmaps_trainval2017 or stuff_train2017_pixelmaps.

    The numbers in stuffthingmaps are one less than those in the authors' labels.txt, and 255 is unlabeled; those in
    pixelmaps are as in labels.txt, 0 is unlabeled and 183 is `other`, which are all things. What is unlabeled is
    ignored. Folders such as train2017 are the splits. The JSON files stuff_train2017.json are of the format coco.

    Attributes:
      folder: holds the images and the maps, in any subfolders; both have the same names.
      labels: the authors' labels.txt, with a number and a name on each line; by default the one in SOURCE.
      maps: which maps are read, where names of folders and the numbers in the maps do not tell or there are both.
    """

    labels: LabelMapFile | None = pydantic.Field(None, title="FILE")
    maps: Literal["auto", "stuffthingmaps", "pixelmaps"] = "auto"

    looks_for: ClassVar[str] = "COCO's images with stuffthingmaps or pixelmaps (COCO-Stuff)"
    gives_way_to: ClassVar[tuple[str, ...]] = ("coco",)

    @classmethod
    def recognize(cls, folder: str, files: list[str]) -> Recognition | None:
        images, maps = _images_and_maps(ImageFiles(folder, files).relative)
        paired = [file for stem in images.keys() & maps.keys() for file in maps[stem]]
        if named := next((kind for file in paired if (kind := _kind_of_folder(file))), None):
            return Recognition((f"it has COCO-Stuff's {named}",))
        # Without that name, as in the authors' instructions, the list of classes is needed as a sign.
        labels = next((file for file in files if posixpath.basename(file) == "labels.txt"), "")
        is_named = any(re.fullmatch(r"\d{12}", posixpath.splitext(posixpath.basename(file))[0]) for file in paired)
        if labels and is_named and re.search(rb"(?m)^182\W", read_bytes(join(folder, labels), 0, 10_000)):
            return Recognition((f"{labels} has COCO-Stuff's classes, and maps have the names of COCO's images",))
        return None

    def _files(self) -> dict[str, str]:
        return ImageFiles(self.folder).relative

    @functools.cached_property
    def kind(self) -> _Kind:
        """Which maps are read.

        Raises:
          UserError: if that is in doubt.
        """
        if self.maps != "auto":
            return self.maps
        files = self._files()
        images, maps = _images_and_maps(files)
        paired = sorted(file for stem in images.keys() & maps.keys() for file in maps[stem])
        named = {kind for file in paired if (kind := _kind_of_folder(file))}
        unnamed = [file for file in paired if not _kind_of_folder(file)]
        for file in unnamed[:: max(1, len(unnamed) // _MOST_LOOKS)]:
            if len(named) < 2 and (seen := self._look(files[file])):
                named.add(seen)
        if len(named) == 1:
            return named.pop()
        how = "has both kinds of maps" if named else "does not tell which kind of maps it has"
        raise UserError(
            f"{self.folder} {how}: give --maps stuffthingmaps if the numbers are one less than in labels.txt (0 is a "
            "person, 255 is unlabeled), and --maps pixelmaps if they are as in labels.txt (92 to 183, 0 is unlabeled)"
        )

    def _look(self, path: str) -> _Kind | None:
        """Which kind a map is, by what only one kind holds; None if it does not tell."""
        try:
            used = set(np.unique(read_mask(read_bytes(path), self.max_pixels).pixels).tolist())
        except (BadImageError, OSError):  # Which the conversion says.
            return None
        has_unlabeled, has_stuff_as_ids = IGNORE_LABEL in used, bool(used & {_LAST_STUFF, _THINGS_AS_ONE})
        things = used & {*range(1, _FIRST_STUFF - 1)}
        if never := used & {one - 1 for one in _NEVER} - {*_NEVER}:
            which = f"{min(never)}, which is a thing that no image of COCO has if it is one less than in labels.txt"
        elif has_stuff_as_ids and (things or has_unlabeled):
            which = f"{max(used - {IGNORE_LABEL})} as in labels.txt, and {min(things or [IGNORE_LABEL])}"
        else:
            return "stuffthingmaps" if has_unlabeled else "pixelmaps" if has_stuff_as_ids else None
        raise UserError(
            f"{path} holds {which}, so it is neither one of stuffthingmaps nor of pixelmaps; if all numbers are those "
            "of labels.txt, read the maps with --format mask-folder --labels labels.txt"
        )

    def table(self) -> Sequence[MaskClass]:
        labels = self.labels or self._found_labels()
        names = {
            value: (labels.label_map.names[class_id], labels.label_map.palette[class_id] if labels.has_colors else None)
            for value, class_id in sorted(labels.values.items())
            if class_id != IGNORE_LABEL and value > 0
        }
        names.setdefault(_THINGS_AS_ONE, ("other", None))
        if self.kind == "pixelmaps":
            unlabeled = 0
            classes = [MaskClass(*names[one], (one,)) for one in names if _FIRST_STUFF <= one <= _THINGS_AS_ONE]
        else:
            unlabeled = IGNORE_LABEL
            classes = [MaskClass(*names[one], (one - 1,)) for one in names if one <= _LAST_STUFF and one not in _NEVER]
        if not {_FIRST_STUFF, _LAST_STUFF} <= names.keys():
            raise UserError(
                f"the labels have no classes {_FIRST_STUFF} to {_LAST_STUFF}, as COCO-Stuff has; give the authors' "
                "labels.txt as --labels, or read other masks with --format mask-folder"
            )
        return [*classes, MaskClass("unlabeled", None, (unlabeled,))]

    def _found_labels(self) -> MaskLabels:
        found = [file for file in relative_files(self.folder) if posixpath.basename(file) == "labels.txt"]
        if not found:
            raise UserError(
                f"{self.folder} has no labels.txt with the names of the classes; get it from "
                "https://github.com/nightrome/cocostuff, and put it there or give it as --labels"
            )
        return load_labels(join(self.folder, found[0]))

    def listing(self) -> Listing:
        files = self._files()
        images, maps = _images_and_maps(files)
        wanted = {image: self._maps_of(image, maps.get(stem, ())) for stem, found in images.items() for image in found}
        labeled = {posixpath.dirname(image) for image, found in wanted.items() if found}
        listed, set_aside, ignored = [], [], []
        for image, found in sorted(wanted.items()):
            name, path = name_of(image), files[image]
            if len(found) == 1:
                listed.append(Source(name, "", path, files[found[0]], stated_split=placing(name).split))
            elif found:
                set_aside.append(SetAside(path, f"it has several maps: {', '.join(found)}"))
            elif posixpath.dirname(image) in labeled:
                set_aside.append(SetAside(path, f"it has no map {posixpath.basename(name)}.png"))
            else:
                ignored.append(SetAside(path, "no image in its folder has a map"))
        for stem in sorted(maps.keys() - images.keys()):
            set_aside += [SetAside(files[file], f"it has no image {stem}.jpg") for file in maps[stem]]
        sources, duplicates = set_aside_duplicates(listed)
        if not sources and not set_aside:
            raise UserError(f"{self.folder} has no images (.jpg) and maps (.png) of the same names")
        stay = self.stated_splits({source.source_id: source.image for source in sources})
        return Listing(self.deal(sources, stay, self.folder), [*set_aside, *duplicates], ignored)

    def _maps_of(self, image: str, maps: Sequence[str]) -> list[str]:
        """Those of the maps with an image's name that are of the kind that is read, and of its split."""
        split = _split_of(image)
        return [
            file
            for file in maps
            if _kind_of_folder(file) in (None, self.kind) and (not split or _split_of(file) in ("", split))
        ]

    def read(self, source: Source) -> LabeledImage:
        try:
            mask = read_mask(read_bytes(source.mask), self.max_pixels)
            # Colors of the palette are for the eye, and numbers are published.
            mask = dataclasses.replace(mask, palette=None)
            if self.kind == "pixelmaps" and mask.pixels.ndim == 2 and (mask.pixels == IGNORE_LABEL).any():
                raise BadImageError("it holds 255, as stuffthingmaps do and pixelmaps do not; --maps says what it is")
            ids = self.ids_of_places(self.places(mask))
        except BadImageError as error:
            raise BadImageError(f"its map {source.mask}, read as one of {self.kind}: {error}") from None
        return LabeledImage(self.read_image(read_bytes(source.image), ids, source.mask), ids)


def _images_and_maps(files: Iterable[str]) -> tuple[Mapping[str, list[str]], Mapping[str, list[str]]]:
    """Images, and PNGs that may be maps, by name without extension."""
    images: dict[str, list[str]] = collections.defaultdict(list)
    maps: dict[str, list[str]] = collections.defaultdict(list)
    for file in sorted(files):
        stem, extension = posixpath.splitext(posixpath.basename(file))
        if extension.lower() in (".jpg", ".jpeg"):
            images[stem].append(file)
        # Segments of the panoptic format have the same names, and what others make of the maps is named so.
        elif extension.lower() == ".png" and "panoptic" not in file and not stem.endswith("TrainIds"):
            maps[stem].append(file)
    return images, maps


def _kind_of_folder(file: str) -> _Kind | None:
    """What the name of a map's folder says."""
    folders = posixpath.dirname(file).lower()
    if "stuffthingmaps" in folders:
        return "stuffthingmaps"
    return "pixelmaps" if "pixelmaps" in folders else None


def _split_of(file: str) -> str:
    """The split that words in the folders of a file state, as in stuff_train2017_pixelmaps."""
    words = re.findall(r"[^\W_]+", posixpath.dirname(file).replace("trainval2017", ""))
    splits = [split for word in words if (split := split_of_word(word))]
    return splits[-1] if splits else ""
