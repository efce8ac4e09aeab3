"""COCO's panoptic format: PNGs whose colors are the ids of segments, and a JSON that says what these are."""

from __future__ import annotations

import functools
import os
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar, Literal

import msgspec
import numpy as np

from data.annotations.classes import ChosenClasses, ClassOptions
from data.annotations.image_files import ImageFiles
from data.base.errors import UserError
from data.base.files import join, read_bytes
from data.contract import IGNORE_LABEL
from data.decoding.errors import BadImageError
from data.formats.base.annotated import name_of, without_repeated_images
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
from data.formats.coco.panoptic_json import Content, Entry, Labels, read_categories, read_content
from data.label_map import LabelMap
from data.listing.split_folders import placing, split_of_word
from data.listing.walking import relative_files
from data.masks.class_ids import read_mask
from data.masks.colors_as_ids import ids_of_colors

_KEY = b'"segments_info"'
# In a small data set the key is within as many bytes; in a large one the name of the file tells.
_HEAD, _MOST_HEADS = 200_000, 3


class CocoPanopticReader(SplitOptions, ClassOptions, MaskedImagesReader):
    """COCO's panoptic format: a JSON of segments beside a folder of PNGs that has its name.

    All JSON files with `panoptic` in their name are read, or else all that have segments; one named
    panoptic_train2017.json is of the split train. Segments that are a crowd and pixels of no segment (void, id 0) are
    ignored. Cityscapes, ADE20K and Mapillary Vistas have tools that write this format.

    Attributes:
      folder: holds the JSON files, the PNGs and the images, in any subfolders.
      classes: the categories to learn, in the order of their ids, by name; names in brackets become one class, as in
        'person, vehicle: [car, truck, bus]'. By default all of them.
      others: what becomes of the categories that --classes leaves out.
    """

    folder: str
    others: Literal["background", "ignore"] = "ignore"

    looks_for: ClassVar[str] = "a JSON of panoptic segments with a folder of PNGs (COCO panoptic)"
    gives_way_to: ClassVar[tuple[str, ...]] = ("coco", "cityscapes", "ade20k")

    @classmethod
    def recognize(cls, folder: str, files: list[str]) -> Recognition | None:
        named, others = _json_files(files)
        folders = {posixpath.dirname(file) for file in files if file.lower().endswith(".png")}
        for file in named:
            stem, beside = os.path.splitext(file)[0], posixpath.dirname(file)
            stems = {posixpath.basename(one) for one in folders}
            if posixpath.basename(stem) in stems or beside in folders or f"{stem}.zip" in files:
                return Recognition((f"{file} has the name of COCO's panoptic segments",))
        for file in others[:_MOST_HEADS] if folders else []:
            if _KEY in read_bytes(join(folder, file), 0, _HEAD):
                return Recognition((f"{file} has segments_info, as COCO's panoptic format does",))
        return None

    @functools.cached_property
    def _annotation_files(self) -> tuple[str, ...]:
        """The JSON files of this format, relative."""
        named, others = _json_files(relative_files(self.folder))
        found = tuple(named or (file for file in others if _KEY in read_bytes(join(self.folder, file))))
        if not found:
            raise UserError(
                f"{self.folder} has no JSON with panoptic segments (segments_info), such as panoptic_train2017.json"
            )
        return found

    @functools.cached_property
    def chosen(self) -> ChosenClasses:
        """The classes that are learned."""
        categories = [one for file in self._annotation_files for one in read_categories(join(self.folder, file))]
        return self.choose(categories, has_background=False)

    @property
    def label_map(self) -> LabelMap:
        return self.chosen.label_map

    def listing(self) -> Listing:
        files = relative_files(self.folder)
        learned = [label.id for label in self.label_map.root if label.id not in (self.chosen.background, IGNORE_LABEL)]
        contents = {
            file: read_content(join(self.folder, file), file, self.chosen.ids, learned)
            for file in self._annotation_files
        }
        set_aside = [SetAside(*one) for content in contents.values() for one in content.broken]
        masks: dict[str, list[tuple[Entry, str]]] = {}
        for file, content in contents.items():
            masks[file], missing = self._find_masks(file, content, files)
            set_aside += missing
        taken = {mask for found in masks.values() for _, mask in found}
        images = ImageFiles(self.folder, [file for file in files if file not in taken])
        sources: list[Source] = []
        splits: dict[str, str] = {}
        ignored: dict[str, str] = {}
        for file, found in masks.items():
            folders = _folders_like(file, images.relative, taken)
            lost: list[SetAside] = []
            for entry, mask in found:
                try:
                    image = _find_image(images, entry.image, posixpath.dirname(file), folders)
                except BadImageError as error:
                    lost.append(SetAside(entry.name, str(error)))
                    continue
                name = name_of(image)
                split = splits[name] = _split_of(file) or placing(name).split
                labels = msgspec.json.encode(entry.labels).decode()
                path = join(self.folder, mask)
                sources.append(Source(name, "", images.relative[image], path, stated_split=split, labels=labels))
            if lost and len(lost) == len(found) and len(masks) > 1:
                raise UserError(
                    f"{file}: none of its {len(lost)} images is in {self.folder} ({lost[0].reason}); put them there, "
                    "or take the file away"
                )
            set_aside += lost
            for name in contents[file].unlabeled:
                try:
                    image = _find_image(images, name, posixpath.dirname(file), folders)
                    ignored[images.relative[image]] = f"{file} has no annotation of it"
                except BadImageError:
                    continue
        sources, repeated = without_repeated_images(sources)
        sources, duplicates = set_aside_duplicates(sources)
        listed = {source.image for source in sources}
        for path in images.relative.values():
            ignored.setdefault(path, "no annotation names it")
        stay = self.stated_splits({one.source_id: one.image for one in sources}, splits)
        return Listing(
            self.deal(sources, stay, self.folder),
            [*set_aside, *repeated, *duplicates],
            [SetAside(path, reason) for path, reason in ignored.items() if path not in listed],
        )

    def _find_masks(
        self, file: str, content: Content, files: Sequence[str]
    ) -> tuple[list[tuple[Entry, str]], list[SetAside]]:
        """The PNG of each annotation of a JSON, as a path below the folder; and the annotations without one."""
        stem = posixpath.splitext(posixpath.basename(file))[0]
        inside = [one for one in files if f"/{stem}/" in f"/{one}"]
        pngs = ImageFiles(self.folder, inside or files)
        folders = sorted({posixpath.dirname(one) for one in inside})
        found, missing = [], []
        for entry in content.entries:
            try:
                found.append((entry, pngs.find(entry.mask, posixpath.dirname(file), folders)))
            except BadImageError as error:
                missing.append(SetAside(entry.name, f"its PNG of segments: {error}"))
        if missing and not found:
            archive = f"{os.path.splitext(file)[0]}.zip"
            remedy = f"unpack {archive}" if archive in files else f"put them into a folder {stem} beside it"
            raise UserError(
                f"{self.folder} has none of the {len(missing)} PNG files that {file} names, such as "
                f"{content.entries[0].mask}; {remedy}"
            )
        return found, missing

    def read(self, source: Source) -> LabeledImage:
        labels = msgspec.json.decode(source.labels, type=Labels)
        try:
            ids = ids_of_colors(read_mask(read_bytes(source.mask), self.max_pixels))
        except BadImageError as error:
            raise BadImageError(f"its PNG of segments {source.mask}: {error}") from None
        meaning = {0: (IGNORE_LABEL, 0)} | {one: (class_id, number) for one, class_id, number in labels.segments}
        used, places = np.unique(ids.ravel(), return_inverse=True)
        unknown = [int(one) for one in used if int(one) not in meaning]
        if unknown:
            row, column = np.argwhere(ids == unknown[0])[0]
            others = f", nor are {len(unknown) - 1} others" if len(unknown) > 1 else ""
            raise BadImageError(
                f"{labels.file}: the segment {unknown[0]}, at row {row} and column {column} of {source.mask}, is not "
                f"among its segments_info{others}; ids are R + 256 G + 65536 B of the colors"
            )
        classes, numbers = np.array([meaning[int(one)] for one in used]).T
        image = self.read_image(read_bytes(source.image), ids, source.mask)
        return LabeledImage(
            image,
            classes.astype(np.uint8)[places].reshape(ids.shape),
            numbers.astype(np.uint16)[places].reshape(ids.shape),
        )


def _json_files(files: Sequence[str]) -> tuple[list[str], list[str]]:
    """JSON files with `panoptic` in their names, and others."""
    found = [
        file
        for file in sorted(files)
        if file.lower().endswith(".json") and not any(part.startswith(".") for part in file.split("/"))
    ]
    named = [file for file in found if "panoptic" in posixpath.basename(file).lower()]
    return named, [file for file in found if file not in named]


def _words(file: str) -> list[str]:
    return re.findall(r"[^\W_]+", posixpath.splitext(posixpath.basename(file))[0])


def _split_of(file: str) -> str:
    """The split that the name of a JSON states, or else its folder; an empty string if neither does."""
    stated = {split for word in _words(file) if (split := split_of_word(word))}
    return stated.pop() if len(stated) == 1 else placing(file).split


def _folders_like(file: str, images: Mapping[str, str], masks: set[str]) -> list[str]:
    """Folders of images, or of folders of these, with a name that is in a JSON's, such as train2017."""
    words = set(_words(file))
    folders = {folder for image in images for folder in _folders_above(image)}
    folders -= {posixpath.dirname(mask) for mask in masks}
    return sorted(folder for folder in folders if posixpath.basename(folder) in words)


def _folders_above(path: str) -> Iterator[str]:
    while path := posixpath.dirname(path):
        yield path


def _find_image(images: ImageFiles, name: str, beside: str, folders: Sequence[str]) -> str:
    try:
        return images.find(name, beside, folders)
    except BadImageError:
        # What cityscapesScripts writes has a word too many.
        other = name.replace("_gtFine_leftImg8bit.", "_leftImg8bit.")
        if other == name:
            raise
        return images.find(other, beside, folders)
