"""CVAT's exports: shapes in XML, for images or video, and masks with a label map."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import re
from collections.abc import Iterator, Sequence
from typing import ClassVar, Literal

import numpy as np

from data.annotations.classes import BACKGROUND, Category, ChosenClasses
from data.annotations.drawing import AnnotatedObject
from data.annotations.image_files import ImageFiles
from data.base.errors import UserError
from data.base.files import UnreachableError, join, read_bytes
from data.contract import IGNORE_LABEL
from data.decoding.errors import BadImageError
from data.formats.base.annotated import AnnotatedImagesReader, name_of, without_repeated_images
from data.formats.base.reader import (
    LabeledImage,
    Listing,
    Recognition,
    SetAside,
    Source,
    reasons_of,
    set_aside_duplicates,
)
from data.formats.cvat.mask_export import (
    LabelMapOfExport,
    Masks,
    ids_of_places,
    list_masks,
    read_label_map,
    read_objects,
    read_places,
)
from data.formats.cvat.objects import AREAS, BOX, ImageLabels, annotated_objects, kinds_of
from data.formats.cvat.places import LABEL_MAP, Exports, below, find_exports, recognize_exports
from data.formats.cvat.shapes_listing import ShapesListing, without_contradictions
from data.formats.cvat.xml_file import Head, Track, read_parts
from data.label_map import parse_color
from data.listing.split_folders import split_of_word
from data.masks.class_ids import read_mask

# Labels of these types are for shapes that cover no area.
_TYPES_WITHOUT_AREA = ("tag", "points", "polyline", "skeleton", "cuboid")
_BOX_TYPES = ("rectangle", "bbox")


class CvatReader(AnnotatedImagesReader):
    """CVAT's exports: "CVAT for images 1.1", "CVAT for video 1.1" and "Segmentation mask 1.1", unpacked.

    Shapes lie over each other by their z-order, then in the order of the file. Those of one group and label are one
    object, as is a track. Polylines, points, skeletons and cuboids cover no area and are not drawn. Subsets that are
    called Train, Validation or Test are splits. The frames of a video stay in one split.

    Attributes:
      folder: holds annotations.xml and images/, or labelmap.txt, SegmentationClass/ and JPEGImages/; or folders that
        do.
      boxes: whether boxes are filled, as CVAT does it when it exports masks, or left out, since they only say where an
        object is; by default they are filled, but doubtful ones are an error.
      unlabeled: whether images without a shape are background or left out. Until this is said, tasks in which nothing
        is annotated are left out, and images of a mask export that have no mask count as unusable, since CVAT writes
        none for images without a shape, but it may as well be missing.
    """

    boxes: Literal["auto", "draw", "leave-out"] = "auto"
    unlabeled: Literal["background", "ignore"] = "background"

    looks_for: ClassVar[str] = "CVAT's annotations.xml, or its labelmap.txt beside SegmentationClass/"

    @classmethod
    def recognize(cls, folder: str, files: list[str]) -> Recognition | None:
        try:
            exports = recognize_exports(folder, files)
        except UnreachableError:
            raise
        except OSError:
            return None
        reasons = [f"{file} is XML as CVAT exports it" for file in exports.xml[:1]]
        reasons += [f"{below(export, LABEL_MAP)} lies beside masks, as CVAT exports them" for export in exports.masks]
        return Recognition(tuple(reasons)) if reasons else None

    @functools.cached_property
    def exports(self) -> Exports:
        """What there is to read; travels to workers with the reader."""
        try:
            found = find_exports(self.folder, self.files)
        except UnreachableError:
            raise
        except OSError as error:
            raise UserError(f"{self.folder} cannot be read: {error}") from None
        if not found.xml and not found.masks:
            raise UserError(
                f"{self.folder} has neither XML of CVAT nor labelmap.txt beside SegmentationClass/; unpack what CVAT "
                "exports as CVAT for images 1.1, CVAT for video 1.1 or Segmentation mask 1.1"
            )
        if found.xml and found.masks:
            raise UserError(
                f"{self.folder} has {found.xml[0]}, and masks beside {below(found.masks[0], LABEL_MAP)}; give the "
                "folder of one of these exports"
            )
        return found

    @functools.cached_property
    def label_maps(self) -> dict[str, LabelMapOfExport]:
        """The label map of each mask export, by its folder; travels to workers with the reader."""
        return {export: read_label_map(self.folder, export) for export in self.exports.masks}

    @functools.cached_property
    def chosen(self) -> ChosenClasses:
        has_background = not self.exports.masks and self.uncovered == BACKGROUND
        return self.choose(self.categories(), has_background=has_background)

    def categories(self) -> Sequence[Category]:
        if self.exports.masks:
            return [category for label_map in self.label_maps.values() for category in label_map.categories]
        found = [category for file in self.exports.xml for category in self._categories_of(file)]
        if not found:
            raise UserError(f"{self.exports.xml[0]} lists no labels that cover an area, and no shape has one")
        colors: dict[str, tuple[int, int, int] | None] = {}
        for category in found:
            colors[category.name] = colors.get(category.name) or category.color
        return [Category(name, color) for name, color in colors.items()]

    def _categories_of(self, file: str) -> Iterator[Category]:
        """The labels that a file lists; if it lists none, those of its shapes."""
        left_out = BOX if self.boxes == "leave-out" else ""
        without_area = _TYPES_WITHOUT_AREA + (_BOX_TYPES if left_out else ())
        for part in read_parts(join(self.folder, file)):
            if isinstance(part, Head) and part.labels:
                for label in part.labels:
                    if label.name and not label.parent and label.type not in without_area:
                        color = parse_color(label.color)
                        yield Category(label.name, color if isinstance(color, tuple) else None)
                return
            if not isinstance(part, Head):
                with_area = [shape for shape in part.shapes if shape.kind in AREAS and shape.kind != left_out]
                of_objects = [part] if isinstance(part, Track) and with_area else with_area
                yield from (Category(name) for one in of_objects if (name := one.attributes.get("label", "")))

    def listing(self) -> Listing:
        chosen = self.chosen
        if self.exports.masks:
            return self._listing_of_masks(self.files)
        found = ShapesListing(
            ImageFiles(self.folder, self.files),
            chosen.ids,
            self.boxes == "leave-out",
            self._unlabeled,
            self.split,
        )
        for file, split in self._splits_of_names().items():
            found.add_file(file, split)
        self._check_shapes(found)
        sources, contradicting = without_contradictions(found.sources)
        used = {source.image for source in found.sources} | {one.input for one in (*found.ignored, *found.set_aside)}
        others = [
            SetAside(path, "no annotation file names it") for path in found.images.relative.values() if path not in used
        ]
        others += [SetAside(join(self.folder, file), "no XML of CVAT") for file in self.exports.others]
        return self._dealt(sources, [*found.set_aside, *contradicting], [*found.ignored, *others])

    @property
    def _unlabeled(self) -> str:
        """The option `unlabeled`; an empty string if nobody chose it."""
        return self.unlabeled if "unlabeled" in self.model_fields_set else ""

    def _splits_of_names(self) -> dict[str, str]:
        """The XML files, each with the split that its name or folder says, if all say one and they differ."""
        splits = {}
        for file in self.exports.xml:
            words = re.split(r"[\W_]+", name_of(file))
            found = {split for word in words if (split := split_of_word(word))}
            splits[file] = found.pop() if len(found) == 1 else ""
        is_said = all(splits.values()) and len(set(splits.values())) > 1
        return splits if is_said else dict.fromkeys(splits, "")

    def _check_shapes(self, found: ShapesListing) -> None:
        """Raises a UserError if what the files have cannot be meant as masks."""
        files = ", ".join(self.exports.xml[:3]) + (" and others" if len(self.exports.xml) > 3 else "")
        if not found.sources and found.set_aside:
            raise UserError(
                f"none of the images that {files} names is there; export the task with its images, or put them into "
                f"{below(os.path.dirname(self.exports.xml[0]), 'images')}{reasons_of(found.set_aside)}"
            )
        if not found.drawn and self._unlabeled != "background":
            not_drawn = kinds_of(found.not_drawn.elements())
            raise UserError(f"{files} has no shape that covers an area" + (f", only {not_drawn}" if not_drawn else ""))
        if set(found.drawn) == {BOX} and self.boxes == "auto":
            raise UserError(
                f"all shapes of {files} are boxes ({found.drawn[BOX]}), which may only say where objects are; "
                "--boxes draw fills them all the same"
            )

    def _listing_of_masks(self, files: Sequence[str]) -> Listing:
        every = Masks()
        for export in self.exports.masks:
            found = list_masks(self.folder, files, export, self.split)
            every.sources += found.sources
            every.unlabeled += found.unlabeled
            every.set_aside += found.set_aside
            every.ignored += found.ignored
        remedy = ""
        if not self._unlabeled and every.unlabeled:
            remedy = "--unlabeled background takes such images as background, --unlabeled ignore leaves them out"
            why = "it has no mask: CVAT writes none for images without shapes, but it may also be missing"
            every.set_aside += [SetAside(source.image, f"{why}; {remedy}") for source in every.unlabeled]
        elif self.unlabeled == "ignore":
            every.ignored += [SetAside(source.image, "it has no mask") for source in every.unlabeled]
        else:
            every.sources += every.unlabeled
        listing = self._dealt(every.sources, every.set_aside, every.ignored)
        return dataclasses.replace(listing, remedy=remedy)

    def _dealt(self, sources: Sequence[Source], set_aside: list[SetAside], ignored: list[SetAside]) -> Listing:
        once, repeated = without_repeated_images(sources)
        unique, duplicates = set_aside_duplicates(once)
        stated = {source.source_id: source.stated_split for source in unique if source.stated_split}
        stay = self.stated_splits({source.source_id: source.image for source in unique}, stated)
        return Listing(self.deal(unique, stay, self.folder), [*set_aside, *duplicates], [*ignored, *repeated])

    def fill_splits(self, sources: list[Source]) -> str:
        remedy = super().fill_splits(sources)
        if any(source.group for source in sources) and not (self.group_by or self.groups):
            remedy += (
                ". All frames of a video are in one split; --group-by '.+' deals each by itself, although frames that "
                "follow each other are much alike"
            )
        return remedy

    def stated_size(self, source: Source) -> tuple[int, int] | None:
        return ImageLabels.from_text(source.labels).size

    def says_size(self, source: Source) -> str:
        return f"{ImageLabels.from_text(source.labels).file} says"

    def objects(self, source: Source, height: int, width: int) -> list[AnnotatedObject]:
        labels = ImageLabels.from_text(source.labels)
        return annotated_objects(labels, height, width, self.boxes == "draw")

    def read(self, source: Source) -> LabeledImage:
        if not self.exports.masks:
            return super().read(source)
        export, path, tells_objects_apart = json.loads(source.labels)
        if not source.mask:
            image = self.read_image_of_size(read_bytes(source.image), None)
            ids = np.full((image.height, image.width), self.chosen.background, np.uint8)
            return LabeledImage(image, ids, np.zeros(ids.shape, np.uint16) if tells_objects_apart else None)
        try:
            mask = read_mask(read_bytes(source.mask), self.max_pixels)
            places = read_places(mask, self.label_maps[export])
            ids = ids_of_places(places, self.label_maps[export], self.chosen)
        except BadImageError as error:
            raise BadImageError(f"its mask {source.mask}, by {below(export, LABEL_MAP)}: {error}") from None
        instances = None
        try:
            if path:
                instances = read_objects(path, places, ids, self.chosen.background, self.max_pixels)
            elif tells_objects_apart and np.isin(ids, (self.chosen.background, IGNORE_LABEL)).all():
                instances = np.zeros(ids.shape, np.uint16)
        except BadImageError as error:
            raise BadImageError(f"its mask {path}: {error}") from None
        return LabeledImage(self.read_image(read_bytes(source.image), ids, source.mask), ids, instances)
