"""One binary mask for each object, in a folder of its image, as the Data Science Bowl of 2018 has it."""

from __future__ import annotations

import collections
import dataclasses
import json
import os
import unicodedata
from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np
import pydantic

from data.base.files import join, read_bytes
from data.contract import CROWD
from data.decoding.images import BadImageError
from data.decoding.notes import Notes, note
from data.formats.base.dealt import SplitOptions
from data.formats.base.reader import (
    LabeledImage,
    Listing,
    MaskedImagesReader,
    Recognition,
    SetAside,
    Source,
    set_aside_duplicates,
)
from data.label_map import ClassNames, LabelMap
from data.listing.items import LEFT_BY_TOOLS, image_stem
from data.listing.split_folders import placing
from data.listing.walking import printable, relative_files
from data.masks.class_ids import read_mask
from data.masks.files import Mask
from data.masks.meaning import packed

_IMAGES, _MASKS = "images", "masks"
_FEW_UNLABELED = 0.05
# From this level on, a mask whose compression changes values is white.
_WHITE = 128
_EMPTY = "masks of objects without a pixel"
_HIDDEN = "objects wholly below later ones, which are left out"
_OVERLAPPING = "pixels of several objects, which the last one has"


class ObjectMasksReader(SplitOptions, MaskedImagesReader):
    """One black and white mask for each object, in a folder of its image.

    Either each image has a folder with images/ and masks/, as ID/images/ID.png and ID/masks/*.png in the Data Science
    Bowl of 2018; or the masks of images/NAME.png are in masks/NAME/. Black is no object, and so is what is transparent.
    Where objects overlap, the one whose file comes later is above. An image without objects has one black mask.

    Attributes:
      folder: holds a folder for each image, or `images` and `masks`.
      classes: the names of what is around the objects, and of the objects.
      unlabeled: whether images without a mask count as unusable, of which --max-set-aside allows only a few, or are
        only left out.
    """

    looks_for: ClassVar[str] = (
        "folders ID/images/ and ID/masks/ for each image, or masks/NAME/ for images/NAME.png, with one mask for each "
        "object"
    )

    folder: str
    classes: ClassNames = ("background", "object")
    unlabeled: Literal["set-aside", "ignore"] = "set-aside"

    @pydantic.model_validator(mode="after")
    def _check_classes(self) -> ObjectMasksReader:
        if len(self.classes) != 2:
            raise ValueError(
                "--classes takes two names, what is around the objects and the objects, such as background,nucleus; "
                f"there are {len(self.classes)}"
            )
        return self

    @property
    def label_map(self) -> LabelMap:
        return LabelMap.from_names(self.classes)

    @classmethod
    def recognize(cls, folder: str, files: list[str]) -> Recognition | None:
        found = _find(files)
        labeled = [one for one in found.images if one.masks]
        masks, count = sum(len(one.masks) for one in labeled), len(found.images)
        # A mask of classes may be alone in its image's folder, too.
        is_sure = any(one.has_masks_of_its_own or one.has_masks_of_other_names for one in labeled)
        if not is_sure or 2 * masks <= found.mask_count:
            return None
        reason = f"{len(labeled)} of {count} images have a folder with a mask for each object, {masks} in all"
        if count - len(labeled) <= _FEW_UNLABELED * count:
            return Recognition((reason,))
        assumed = f"{count - len(labeled)} images have no mask, and are left out"
        return Recognition((reason,), {"unlabeled": "ignore"}, assumptions=(assumed,))

    def listing(self) -> Listing:
        files = relative_files(self.folder)
        found = _find([file for file in files if printable(file) == file])
        set_aside = [
            *((printable(file), "its name is not UTF-8; rename it") for file in files if printable(file) != file),
            *found.lost,
            *((one.path, one.doubt) for one in found.images if one.doubt),
        ]
        unlabeled = [one for one in found.images if not one.masks and not one.doubt]
        without = [(one.path, "no folder with masks of its objects") for one in unlabeled]
        is_error = self.unlabeled == "set-aside"
        sources, twice = set_aside_duplicates(
            [self._source(one.name, one.path, one.masks) for one in found.images if one.masks]
        )
        remedy = "--unlabeled ignore leaves out the images that have no mask" if unlabeled and is_error else ""
        return Listing(
            self._dealt(sources),
            [*self._left_out([*set_aside, *(without if is_error else [])]), *twice],
            self._left_out([*found.others, *([] if is_error else without)]),
            remedy,
        )

    def _source(self, name: str, image: str, masks: Sequence[str]) -> Source:
        paths = [join(self.folder, mask) for mask in masks]
        return Source(name, "", join(self.folder, image), os.path.dirname(paths[0]), labels=json.dumps(paths))

    def _left_out(self, entries: Sequence[tuple[str, str]]) -> list[SetAside]:
        return [SetAside(join(self.folder, path), reason) for path, reason in entries]

    def _dealt(self, sources: list[Source]) -> list[Source]:
        # What is above all images, such as stage1_train, leaves no doubt about splits.
        above = os.path.commonpath([os.path.dirname(source.source_id) for source in sources] or [""])
        above = "" if placing(f"{above}/").split else above
        below = {source.source_id: source.source_id.removeprefix(f"{above}/") for source in sources}
        stay = self.stated_splits({below[source.source_id]: source.image for source in sources})
        stated = [
            dataclasses.replace(source, stated_split=placing(below[source.source_id]).split) for source in sources
        ]
        return self.deal(stated, {name: stay[rest] for name, rest in below.items() if rest in stay}, self.folder)

    def read(self, source: Source) -> LabeledImage:
        paths = json.loads(source.labels)
        if len(paths) >= CROWD:
            raise BadImageError(f"it has {len(paths)} masks, and more than {CROWD - 1} objects cannot be numbered")
        numbers = np.zeros([0, 0], np.uint16)
        empty = overlapping = 0
        for index, path in enumerate(paths):
            try:
                is_object = _is_object(read_mask(read_bytes(path), self.max_pixels))
                if not index:
                    numbers = np.zeros(is_object.shape, np.uint16)
                elif is_object.shape != numbers.shape:
                    sizes = [f"{shape[1]}x{shape[0]}" for shape in (is_object.shape, numbers.shape)]
                    raise BadImageError(f"it has {sizes[0]} pixels, and {os.path.basename(paths[0])} {sizes[1]}")
            except BadImageError as error:
                raise BadImageError(f"the mask of an object {path}: {error}") from None
            empty += not is_object.any()
            overlapping += int(np.count_nonzero(numbers[is_object]))
            numbers[is_object] = index + 1
        seen, places = np.unique(np.append(numbers, np.uint16(0)), return_inverse=True)
        hidden = len(paths) - empty - (len(seen) - 1)
        # That is how an image without objects is stored.
        empty = 0 if len(paths) == 1 else empty
        for kind, amount in ((_EMPTY, empty), (_HIDDEN, hidden), (_OVERLAPPING, overlapping)):
            if amount:
                note(kind, amount)
        ids = (numbers > 0).astype(np.uint8)
        instances = places.ravel()[:-1].reshape(numbers.shape).astype(np.uint16)
        return LabeledImage(self.read_image(read_bytes(source.image), ids, source.mask), ids, instances)


def remarks(notes: Notes) -> list[str]:
    """What the user should know about masks of objects."""
    return [
        f"{kind}: {notes.counts[kind]}, the first in {notes.first[kind]}"
        for kind in (_EMPTY, _HIDDEN, _OVERLAPPING)
        if kind in notes.counts
    ]


def _is_object(mask: Mask) -> np.ndarray:
    """Where a mask is not black, [height, width] bool.

    Raises:
      BadImageError: if it is not of one object.
    """
    pixels = mask.pixels
    if mask.lossy:
        values = ((pixels if pixels.ndim == 2 else pixels.max(axis=-1)) >= _WHITE).astype(np.uint8)
    elif mask.palette is not None:
        values = packed(mask.palette)[pixels]
    else:
        values = packed(pixels) if pixels.ndim == 3 else pixels
    is_object = values != 0
    if mask.alpha is not None:
        is_object &= mask.alpha > 0
    if len(found := np.unique(values[is_object])) > 1:
        raise BadImageError(
            f"it has {len(found)} values beside black, and a mask of one object has one; make it black and white, or "
            "read masks in which several objects have numbers with --format mask-folder --objects"
        )
    return is_object


@dataclasses.dataclass(frozen=True)
class _Image:
    """An image in the data set.

    Attributes:
      name: of the example.
      path: relative to the data set.
      masks: paths of its masks, likewise, in their order.
      doubt: why it is not known which masks it has, or an empty string.
      has_masks_of_its_own: whether their folder is called like the image.
    """

    name: str
    path: str
    masks: Sequence[str]
    doubt: str = ""
    has_masks_of_its_own: bool = False

    @property
    def has_masks_of_other_names(self) -> bool:
        """Whether it has several masks, and none that may be of all of it."""
        stems = {image_stem(os.path.basename(mask)) for mask in self.masks}
        return len(self.masks) > 1 and image_stem(os.path.basename(self.path)) not in stems


@dataclasses.dataclass(frozen=True)
class _Found:
    """What a data set holds.

    Attributes:
      images: sorted by path.
      lost: folders of masks without an image, each with the reason.
      others: files that are neither, likewise.
      mask_count: files in folders of masks.
    """

    images: list[_Image]
    lost: list[tuple[str, str]]
    others: list[tuple[str, str]]
    mask_count: int


def _find(files: Sequence[str]) -> _Found:
    """Which masks belong to which image, by their paths relative to the data set."""
    # By the folder above images/ and masks/; those of masks also by the folder below.
    images: dict[str, list[tuple[str, str]]] = collections.defaultdict(list)
    masks: dict[tuple[str, str], list[str]] = collections.defaultdict(list)
    others = []
    for file in files:
        *folders, _ = parts = unicodedata.normalize("NFC", file).split("/")
        roles = [place for place, folder in enumerate(folders) if folder.casefold() in (_IMAGES, _MASKS)]
        if any(part.startswith(".") or part in LEFT_BY_TOOLS for part in parts):
            others.append((file, "hidden, or left by a tool"))
        elif not (stem := image_stem(file)):
            others.append((file, "not an image file"))
        elif not roles:
            others.append((file, f"in no folder {_IMAGES} or {_MASKS}"))
        else:
            above, role, below = "/".join(parts[: roles[-1]]), parts[roles[-1]], "/".join(parts[roles[-1] + 1 :])
            if role.casefold() == _IMAGES:
                images[above].append((stem.removeprefix(f"{above}/{role}/".lstrip("/")), file))
            else:
                masks[above, os.path.dirname(below)].append(file)
    found, taken = [], set()
    for above, entries in images.items():
        beside = masks.get((above, ""), [])
        for stem, file in entries:
            key = (above, stem) if (above, stem) in masks else (above, "")
            taken.add(key)
            if key[1]:
                found.append(_Image(f"{above}/{stem}".lstrip("/"), file, masks[key], has_masks_of_its_own=True))
            elif beside and len(entries) > 1:
                place = os.path.dirname(beside[0])
                doubt = f"{len(entries)} images share the masks in {place}; put those of this one into {place}/{stem}"
                found.append(_Image(file, file, [], doubt))
            else:
                found.append(_Image(above or stem, file, beside))
    lost = [(os.path.dirname(of_key[0]), "masks without an image") for key, of_key in masks.items() if key not in taken]
    found.sort(key=lambda one: one.path.split("/"))
    return _Found(found, sorted(lost), others, sum(map(len, masks.values())))
