"""Pascal VOC's layout, as published and as labelme and others write it (http://host.robots.ox.ac.uk/pascal/VOC/)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import pydantic

from data.annotations.classes import is_background
from data.base.errors import UserError
from data.base.files import join, read_bytes
from data.contract import IGNORE_LABEL
from data.decoding.errors import BadImageError
from data.formats.base.annotated import name_of
from data.formats.base.dense import DenseReader, MaskClass, check_objects, number_objects, numbers_or_colors
from data.formats.base.reader import LabeledImage, Listing, Recognition, SetAside, Source
from data.formats.voc.classes import VOC_CLASSES, VOID, color
from data.formats.voc.folders import IMAGES, MASKS, VocFolder, find_voc_folders, is_augmented
from data.formats.voc.lists import Listed, Lists, read_lists
from data.label_map_files import LabelMapFile
from data.listing.places import FolderBelow
from data.listing.split_folders import placing
from data.masks.class_ids import read_mask
from data.masks.meaning import Meaning, packed

_NAMES_FILE = "class_names.txt"
_CVAT_FILE = "labelmap.txt"


class VocReader(DenseReader):
    """Folders JPEGImages/, SegmentationClass/ and ImageSets/Segmentation/, as Pascal VOC has them.

    Masks hold indices of classes, or the colors of VOC's palette; 255 is ignored. The classes are those of
    class_names.txt, as labelme writes it, or else the 21 of VOC. Files in SegmentationObject/ number the objects; what
    is 255 there counts as a crowd.

    The lists train.txt and val.txt are the splits; where test.txt has no masks, as VOC's own, --split divides what is
    in train. Images that no list names are left out. Without lists, folders and a hash of each name decide on the
    split, and images without a mask are left out.

    Attributes:
      folder: holds JPEGImages, or a folder that does, such as VOCdevkit/VOC2012.
      masks: folder beside JPEGImages with the masks, such as SegmentationClassAug, whose lists are train_aug.txt or
        trainaug.txt.
      labels: a file with the names of the classes in the masks, if they are not VOC's and there is no class_names.txt.
      transparent: the class of transparent pixels, or "ignore"; without it such masks are set aside.
    """

    ignored_color: ClassVar[tuple[int, int, int] | None] = VOID
    looks_for: ClassVar[str] = "folders JPEGImages and SegmentationClass (Pascal VOC)"

    masks: FolderBelow = MASKS
    labels: LabelMapFile | None = pydantic.Field(None, title="FILE")
    transparent: str | None = pydantic.Field(None, title="CLASS")

    @classmethod
    def recognize(cls, folder: str, files: list[str]) -> Recognition | None:
        found = find_voc_folders(files)
        if not found or _cvat_file(found, files):
            return None
        masks = found[0].masks_folder
        reasons = [f"it has {IMAGES} and {masks}" + (", and lists in ImageSets" if found[0].lists else "")]
        if names := _names_file(found, files):
            return Recognition((*reasons, f"{names} names the classes"))
        if all(one.has_names_of_voc for one in found):
            return Recognition((*reasons, "its images have names as those of Pascal VOC, whose 21 classes these are"))
        if all(one.may_be_voc2007 for one in found):
            assumed = f"the classes are the 21 of Pascal VOC; if not, a file {_NAMES_FILE} or --labels names them"
            return Recognition(tuple(reasons), assumptions=(assumed,))
        return Recognition(tuple(reasons), needs_labels=True)

    def table(self) -> Sequence[MaskClass]:
        if self.labels:
            has_colors = self.labels.has_colors
            values: dict[int, list[int]] = {}
            for value, class_id in self.labels.values.items():
                values.setdefault(class_id, []).append(value)
            return [
                MaskClass(
                    label.name, label.color if has_colors else None, tuple(values.get(label.id, ())), kind=label.kind
                )
                for label in self.labels.label_map.classes
            ]
        files, _ = self.relative_files()
        found = find_voc_folders(files, self.masks)
        if path := _cvat_file(found, files):
            raise UserError(
                f"{join(self.folder, path)} names the classes and colors of these masks, as CVAT writes it; read them "
                "with --format cvat, or give that file as --labels"
            )
        if path := _names_file(found, files):
            return _classes_of(join(self.folder, path))
        return VOC_CLASSES

    @property
    def grays_are_values(self) -> bool:
        return self.labels is None

    def meaning_of_masks(self) -> Meaning:
        meaning = super().meaning_of_masks()
        if self.labels:
            meaning = Meaning(self.labels.label_map, self.labels.values, self.labels.has_colors)
        names = meaning.label_map.names
        if self.transparent not in (None, "ignore", *names):
            raise UserError(f"--transparent takes ignore, or a class: {', '.join(names)}")
        transparent = None
        if self.transparent is not None:
            transparent = IGNORE_LABEL if self.transparent == "ignore" else names.index(self.transparent)
        return dataclasses.replace(meaning, transparent=transparent)

    def listing(self) -> Listing:
        files, unusable = self.relative_files()
        found = find_voc_folders(files, self.masks)
        if not found:
            raise UserError(
                f"{self.folder} has no folder with {IMAGES} and {self.masks} that hold images; --masks names another "
                f"folder beside {IMAGES}"
            )
        years = [one.path for one in found if one.is_year]
        if len(years) > 1:
            raise UserError(
                f"{self.folder} holds {' and '.join(years)}, and later years of VOC hold images of earlier ones, under "
                f"other names and in other splits; give one of them, such as {join(self.folder, years[-1])}"
            )
        sources: list[Source] = []
        set_aside: list[SetAside] = unusable
        ignored: list[SetAside] = []
        for one in found:
            paths = [join(self.folder, path) for path in one.lists]
            lists = read_lists(paths, one.images, is_augmented(one.masks_folder), self.split or ())
            set_aside += lists.set_aside
            ignored += lists.ignored
            self._pair(one, lists, sources, set_aside, ignored)
        # What is above the only folder with images says nothing about splits.
        above = f"{found[0].path}/" if len(found) == 1 and found[0].path else ""
        listed = {source.source_id.removeprefix(above): source for source in sources}
        stay = self.stated_splits(
            {name: source.image for name, source in listed.items()},
            {name: source.stated_split for name, source in listed.items()},
        )
        sources = [
            dataclasses.replace(source, stated_split=source.stated_split or placing(name).split)
            for name, source in listed.items()
        ]
        stay = {listed[name].source_id: split for name, split in stay.items()}
        return Listing(self.deal(sources, stay, self.folder), set_aside, ignored)

    def _pair(
        self,
        found: VocFolder,
        lists: Lists,
        sources: list[Source],
        set_aside: list[SetAside],
        ignored: list[SetAside],
    ) -> None:
        published = {one.list for name, one in lists.listed.items() if name in found.masks}
        listed = lists.listed if found.lists else {name: Listed("", "", "") for name in found.images}
        for name, images in found.images.items():
            image = join(self.folder, images[0])
            if name not in listed:
                ignored.append(SetAside(image, "no list names it"))
                continue
            one, masks = listed[name], found.masks.get(name, [])
            place = f"{one.place}: " if one.place else ""
            if not masks and not found.lists:
                ignored.append(SetAside(image, "no mask"))
            elif not masks and one.split == "test" and one.list not in published:
                ignored.append(SetAside(image, f"{one.list} names it, and no image of that list has a mask"))
            elif not masks:
                set_aside.append(SetAside(image, f"{place}{name} has no mask in {found.masks_folder}"))
            elif len(images) > 1 or len(masks) > 1:
                several = " and ".join(images if len(images) > 1 else masks)
                set_aside.append(SetAside(image, f"{place}{name} may be {several}; remove one"))
            else:
                objects = found.objects.get(name, [])
                labels = join(self.folder, objects[0]) if objects else ""
                mask = join(self.folder, masks[0])
                sources.append(Source(name_of(images[0]), "", image, mask, stated_split=one.split, labels=labels))
        for name, masks in found.masks.items():
            if name not in found.images:
                entry = SetAside(join(self.folder, masks[0]), f"there is no image {name} in {IMAGES}")
                (ignored if found.lists else set_aside).append(entry)

    def read(self, source: Source) -> LabeledImage:
        places = self.places_at(source.mask)
        ids = self.ids_of_places(places)
        image = self.read_image(read_bytes(source.image), ids, source.mask)
        return LabeledImage(image, ids, self._objects(source.labels, places) if source.labels else None)

    def _objects(self, path: str, places: np.ndarray) -> np.ndarray:
        """Numbers of objects: [height, width] uint16."""
        try:
            mask = read_mask(read_bytes(path), self.max_pixels)
            values, are_colors = numbers_or_colors(mask)
            is_void = values == (packed(np.array(VOID)) if are_colors else IGNORE_LABEL)
            if values.shape != places.shape:
                sizes = [f"{shape[1]}x{shape[0]}" for shape in (values.shape, places.shape)]
                raise BadImageError(f"it has {sizes[0]} pixels, and the mask of the classes {sizes[1]}")
            are_objects = (values != 0) & ~is_void
            check_objects(values, are_objects, values == 0, places)
            ids = self.ids_of_places(places)
            return number_objects(values, are_objects & self.is_learned(ids), is_void, ids)
        except BadImageError as error:
            raise BadImageError(f"{path}: {error}") from None


def _beside(found: Sequence[VocFolder], files: Sequence[str], name: str) -> str:
    """A file of a name beside the folders with images, or in the data set's folder itself; else an empty string."""
    there = set(files)
    paths = [f"{one.path}/{name}" if one.path else name for one in found]
    return next((path for path in (*paths, name) if path in there), "")


def _names_file(found: Sequence[VocFolder], files: Sequence[str]) -> str:
    return _beside(found, files, _NAMES_FILE)


def _cvat_file(found: Sequence[VocFolder], files: Sequence[str]) -> str:
    return _beside(found, files, _CVAT_FILE)


def _classes_of(path: str) -> list[MaskClass]:
    """The classes of a class_names.txt: a name on each line, that of value 0 first."""
    text = read_bytes(path).decode("utf-8-sig", "backslashreplace")
    names = [line.strip() for line in text.splitlines() if line.strip()]
    names = [name for name in names if name != "__ignore__"]  # For which labelme's masks have 255.
    if not names or not is_background(names[0]):
        raise UserError(
            f"{path} begins with {names[0] if names else 'nothing'}, and the first line names what the value 0 is in "
            "the masks: _background_. If 0 is a class here, give the file as --labels"
        )
    if twice := next((name for name in names if names.count(name) > 1), ""):
        raise UserError(f"{path} names {twice} twice; each line names another class")
    if len(names) > IGNORE_LABEL:
        raise UserError(f"{path} has {len(names)} names, and there may be {IGNORE_LABEL}")
    return [MaskClass(name, color(index), (index,)) for index, name in enumerate(names)]
