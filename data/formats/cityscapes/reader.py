"""Cityscapes' layout, as published and as CVAT writes it (https://www.cityscapes-dataset.com)."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np

from data.base.errors import UserError
from data.base.files import join, read_bytes
from data.contract import CROWD, IGNORE_LABEL
from data.decoding.errors import BadImageError
from data.formats.base.annotated import name_of
from data.formats.base.dense import DenseReader, MaskClass, number_objects
from data.formats.base.reader import LabeledImage, Listing, Recognition, SetAside, Source
from data.formats.cityscapes.classes import LABELS, parse_labels
from data.formats.cityscapes.files import (
    IMAGES,
    INSTANCE_IDS,
    LABEL_IDS,
    POLYGONS,
    CityscapesFiles,
    city_of,
    find_files,
    image_folders,
    main_file,
    part_of,
    split_of_part,
)
from data.formats.cityscapes.polygons import PolygonFile, draw_polygons
from data.listing.places import FolderBelow
from data.listing.split_folders import placing
from data.masks.class_ids import read_mask
from data.masks.files import Mask
from data.masks.used_values import UsedValues
from data.splits import share_text

# CVAT's export has its own labels.
_COLORS_FILE = "label_colors.txt"
# From here on, values of instanceIds are 1000 times the class, and a number.
_FIRST_OBJECT = 1000
# Of tests, so many are looked at.
_LOOKED_AT = 12
_LAST_TRAIN_ID = max(label.train_id for label in LABELS if label.train_id != IGNORE_LABEL)
_EMPTY = "nobody labeled it: it holds only unlabeled pixels and borders"


class CityscapesReader(DenseReader):
    """Folders leftImg8bit/ and gtFine/, as Cityscapes has them.

    Classes are read from files _labelIds.png, objects from _instanceIds.png; groups such as cargroup keep their class,
    and count as a crowd. Where there are only _polygons.json, these are drawn in their order. Files _color.png and
    _labelTrainIds.png are passed over. CVAT's label_colors.txt beside gtFine/ says which other labels there are.

    Folders train, train_extra, val and test are the splits. Labels that are not public are left out, as those of test
    are, so that --split has to divide train. The city is the slice, and also the group, unless the data set itself
    has a city in several splits.

    Attributes:
      folder: holds leftImg8bit and gtFine, or folders that do.
      images: folder with the images, such as leftImg8bit_foggy; also what their names end in, before a suffix such as
        _beta_0.01, of which one scene may have several.
      masks: folder with the labels.
      label_set: the classes without --classes: the 19 of the benchmark, or all 30. --classes may name any of them.
    """

    looks_for: ClassVar[str] = f"folders {IMAGES} and gtFine (Cityscapes)"

    images: FolderBelow = IMAGES
    masks: Literal["gtFine", "gtCoarse"] = "gtFine"
    label_set: Literal["train", "all"] = "train"

    @classmethod
    def recognize(cls, folder: str, files: list[str]) -> Recognition | None:
        for masks, images in itertools.product(("gtFine", "gtCoarse"), image_folders(files)):
            found = find_files(files, masks, images)
            if set(found.images) & set(found.labels):
                options = {} if images == IMAGES else {"images": images}
                options |= {} if masks == "gtFine" else {"masks": masks}
                return Recognition((f"it has {images} and {masks}, as Cityscapes has them",), options)
        return None

    @functools.cached_property
    def _own_labels(self) -> list[MaskClass]:
        """The labels if they are not those of Cityscapes."""
        files, _ = self.relative_files()
        tops = {file[:place] for file in files if (place := f"/{file}".find(f"/{self.masks}/")) >= 0}
        path = next((file for file in files if file.removesuffix(_COLORS_FILE) in {*tops, ""}), "")
        if not path:
            return []
        path = join(self.folder, path)
        own = parse_labels(read_bytes(path).decode("utf-8-sig", "backslashreplace"), path)
        return [MaskClass(name, color, (value,)) for value, (name, color) in enumerate(own)]

    def table(self) -> Sequence[MaskClass]:
        if self._own_labels:
            return self._own_labels
        return [
            MaskClass(label.name, label.color, (label.id,), label.shows_something) for label in LABELS if label.id >= 0
        ]

    def usual_classes(self) -> Sequence[str]:
        if self._own_labels:
            return ()
        is_benchmark = self.label_set == "train"
        return [
            label.name
            for label in LABELS
            if label.id >= 0 and (not label.ignore_in_eval if is_benchmark else label.shows_something)
        ]

    @functools.cached_property
    def _things(self) -> frozenset[str]:
        """Names of the labels whose objects are told apart."""
        if self._own_labels:
            return frozenset(one.name for one in self.classes_of_masks[1:])
        return frozenset(label.name for label in LABELS if label.has_instances)

    def listing(self) -> Listing:
        files, unusable = self.relative_files()
        found = find_files(files, self.masks, self.images)
        if not set(found.images) & set(found.labels):
            raise UserError(self._nothing_found(found))
        sources, set_aside, ignored = self._pairs(found)
        sources, unpublished = self._published(sources)
        others = [
            SetAside(join(self.folder, name), f"other images, which --images {name} takes instead")
            for name in image_folders(files)
            if name != self.images and find_files(files, self.masks, name).images
        ]
        sources = sources and self._with_splits(sources)
        return Listing(sources, unusable + set_aside, [*ignored, *unpublished, *others])

    def _pairs(self, found: CityscapesFiles) -> tuple[list[Source], list[SetAside], list[SetAside]]:
        """The examples, their splits as the data set states them; what is set aside; and what is left out."""
        sources: list[Source] = []
        set_aside: list[SetAside] = []
        ignored: list[SetAside] = []
        # Whole parts may lack one or the other, as people load down only what they need.
        labeled = {part_of(scene) for scene in found.images if scene in found.labels}
        every = [(scene, images) for scene, variants in sorted(found.images.items()) for images in variants.values()]
        for scene, images in every:
            image, kinds = join(self.folder, images[0]), found.labels.get(scene)
            if kinds is None:
                if part_of(scene) in labeled:
                    set_aside.append(SetAside(image, f"there is no {scene}_{self.masks}{LABEL_IDS}"))
                else:
                    whole = f"{self.masks} has no labels of images of {part_of(scene) or self.images}"
                    ignored.append(SetAside(image, whole))
                continue
            masks = main_file(kinds)
            if len(images) > 1 or len(masks) > 1:
                several = " and ".join(images if len(images) > 1 else masks)
                set_aside.append(SetAside(image, f"{scene} may be {several}; remove one"))
                continue
            instances = kinds.get(INSTANCE_IDS, [])
            labels = join(self.folder, instances[0]) if instances else ""
            split, mask = split_of_part(part_of(scene)), join(self.folder, masks[0])
            name, city = name_of(images[0]), city_of(scene)
            sources.append(Source(name, "", image, mask, slice=city, group=city, stated_split=split, labels=labels))
        for scene, kinds in sorted(found.labels.items()):
            if scene not in found.images:
                entry = SetAside(join(self.folder, main_file(kinds)[0]), f"there is no image {scene}_{self.images}")
                (set_aside if part_of(scene) in labeled else ignored).append(entry)
        return sources, set_aside, ignored

    def _published(self, sources: Sequence[Source]) -> tuple[list[Source], list[SetAside]]:
        """The examples without those of tests whose labels are not public, and these."""
        tests = [source for source in sources if source.stated_split == "test"]
        looked_at = tests[:: -(-len(tests) // _LOOKED_AT) or 1]
        empty = {source.image for source in looked_at if not self._shows_something(source)}
        if tests and len(empty) == len(looked_at):
            empty = {source.image for source in tests}
        kept = [source for source in sources if source.image not in empty]
        reason = f"labels of tests are not public; {_EMPTY}"
        if len(looked_at) < len(tests):
            reason += f" ({len(looked_at)} of {len(tests)} were looked at)"
        return kept, [SetAside(one.image, reason) for one in tests if one.image in empty]

    def _shows_something(self, source: Source) -> bool:
        try:
            if source.mask.endswith(POLYGONS):
                return self._has_objects(self._polygons(source.mask))
            return self._is_shown(self.places(self._mask(source.mask)))
        except (BadImageError, OSError):
            return True  # Reading it says what is wrong.

    def _has_objects(self, file: PolygonFile) -> bool:
        shown = {one.name for one in self.classes_of_masks if one.shows_something}
        return any(name in shown for _, name, _, _ in file.drawn(self.chosen.ids))

    def _is_shown(self, places: np.ndarray) -> bool:
        shown = [place for place, one in enumerate(self.classes_of_masks) if one.shows_something]
        return bool(np.isin(places, shown).any())

    def _with_splits(self, sources: Sequence[Source]) -> list[Source]:
        stay = self.stated_splits(
            {source.source_id: source.image for source in sources},
            {source.source_id: source.stated_split for source in sources},
        )
        splits: dict[str, set[str]] = {}
        for source in sources:
            splits.setdefault(source.group, set()).add(stay.get(source.source_id, ""))
        if any(city and len(found) > 1 for city, found in splits.items()):
            sources = [dataclasses.replace(source, group=scene) for source, scene in self._scenes(sources)]
        return self.deal(sources, stay, self.folder)

    def _scenes(self, sources: Sequence[Source]) -> list[tuple[Source, str]]:
        """The images with their scenes; with empty strings if there is one image of each."""
        if len({source.mask for source in sources}) == len(sources):
            return [(source, "") for source in sources]
        return [(source, source.source_id.rpartition(f"_{self.images}")[0]) for source in sources]

    def fill_splits(self, sources: list[Source]) -> str:
        with contextlib.suppress(ValueError):
            self.working_split(sources)
            return super().fill_splits(sources)
        scenes = self._scenes(sources)
        pattern = f"'(.+)_{self.images}'" if any(scene for _, scene in scenes) else ".+"
        apart = [dataclasses.replace(source, group=placing(scene or source.source_id).rest) for source, scene in scenes]
        with contextlib.suppress(ValueError):
            shares = share_text(self.working_split(apart))
            return (
                f"a city stays whole, and there are too few; --group-by {pattern} --split {shares} deals image by image"
            )
        return super().fill_splits(sources)

    def _nothing_found(self, found: CityscapesFiles) -> str:
        wanted = f"…_{self.images}.png below {self.images}/ with …_{self.masks}{LABEL_IDS} below {self.masks}/"
        start = f"{self.folder} has no image {wanted}"
        if found.has_train_ids and not found.labels:
            return (
                f"{start}, but …_{self.masks}_labelTrainIds.png; make {LABEL_IDS[1:]} of the {POLYGONS[1:]}, or read "
                f"these with --format mask-folder --images {self.images} --masks {self.masks} "
                f"--image-suffix _{self.images} --mask-suffix _{self.masks}_labelTrainIds --classes …"
            )
        if not found.images:
            return f"{start}: there are no images"
        return f"{start}" + (": they have other names" if found.labels else ": there are no labels")

    def _mask(self, path: str) -> Mask:
        """The classes' values."""
        mask = read_mask(read_bytes(path), self.max_pixels)
        if not path.endswith(INSTANCE_IDS):
            if not self._own_labels and _holds_train_ids(mask):
                raise BadImageError(
                    f"it holds 255 and nothing else above {_LAST_TRAIN_ID}, as labelTrainIds do and labelIds, which "
                    "have other numbers, never; take the files as published, or read these with --format mask-folder"
                )
            return mask
        if mask.pixels.ndim == 3:
            raise BadImageError("it holds colors, and instanceIds hold numbers")
        pixels = mask.pixels.astype(np.int64)
        return Mask(np.where(pixels >= _FIRST_OBJECT, pixels // _FIRST_OBJECT, pixels))

    def _polygons(self, path: str) -> PolygonFile:
        try:
            return PolygonFile.parse(read_bytes(path))
        except BadImageError as error:
            raise BadImageError(f"{path}: {error}") from None

    def read(self, source: Source) -> LabeledImage:
        if source.mask.endswith(POLYGONS):
            return self._read_polygons(source)
        try:
            places = self.places(self._mask(source.mask))
        except BadImageError as error:
            raise BadImageError(f"its mask {source.mask}: {error}") from None
        if not self._is_shown(places):
            raise BadImageError(f"its mask {source.mask}: {_EMPTY}")
        image = self.read_image(read_bytes(source.image), places, source.mask)
        instances = self._objects(source.labels, places) if source.labels else None
        return LabeledImage(image, self.ids_of_places(places), instances)

    def _objects(self, path: str, places: np.ndarray) -> np.ndarray:
        """Numbers of objects: [height, width] uint16."""
        try:
            mask = read_mask(read_bytes(path), self.max_pixels)
            if mask.pixels.ndim == 3:
                raise BadImageError("it holds colors, and instanceIds hold numbers")
            if mask.pixels.shape != places.shape:
                sizes = [f"{shape[1]}x{shape[0]}" for shape in (mask.pixels.shape, places.shape)]
                raise BadImageError(f"it has {sizes[0]} pixels, and the mask of the classes {sizes[1]}")
            values = mask.pixels.astype(np.int64)
            is_object = values >= _FIRST_OBJECT
            # The place of a class in the table is its id.
            differs = is_object & (values // _FIRST_OBJECT != places)
            if differs.any():
                row, column = np.argwhere(differs)[0]
                value = values[row, column]
                raise BadImageError(
                    f"{value} at row {row}, column {column} is an object of class {value // _FIRST_OBJECT}, and "
                    f"labelIds have {places[row, column]} there; write both anew, or remove this file to do without "
                    "objects"
                )
            things = [place for place, one in enumerate(self.classes_of_masks) if one.name in self._things]
            ids = self.ids_of_places(places)
            return number_objects(values, is_object & self.is_learned(ids), ~is_object & np.isin(places, things), ids)
        except BadImageError as error:
            raise BadImageError(f"{path}: {error}") from None

    def _read_polygons(self, source: Source) -> LabeledImage:
        file = self._polygons(source.mask)
        image = self.read_image_of_size(read_bytes(source.image), (file.width, file.height), f"{source.mask} says")
        try:
            if not self._has_objects(file):
                raise BadImageError(_EMPTY)
            unlabeled = self.chosen.ids[self.classes_of_masks[0].name]
            class_ids, instances = draw_polygons(file, self.chosen.ids, self._things, unlabeled)
            is_number = (instances > 0) & (instances != CROWD)
            is_object = is_number & self.is_learned(class_ids)
            instances = number_objects(instances, is_object, instances == CROWD, class_ids)
        except BadImageError as error:
            raise BadImageError(f"{source.mask}: {error}") from None
        return LabeledImage(image, class_ids, instances)


def _holds_train_ids(mask: Mask) -> bool:
    """Whether values look like those that are trained on, which are other classes than the same numbers in labelIds."""
    if mask.pixels.ndim == 3:
        return False
    values = UsedValues.of(mask.pixels).values
    return IGNORE_LABEL in values and not ((values > _LAST_TRAIN_ID) & (values != IGNORE_LABEL)).any()
