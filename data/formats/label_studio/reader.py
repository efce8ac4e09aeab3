"""Label Studio's projects: tasks about images, with regions that one or several annotators have drawn."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Sequence
from typing import ClassVar, Literal

import msgspec

from data.annotations.classes import Category
from data.annotations.drawing import AnnotatedObject, draw
from data.annotations.image_files import ImageFiles
from data.annotations.shapes import Polygon
from data.base.errors import UserError
from data.contract import IGNORE_LABEL
from data.decoding.errors import BadImageError
from data.formats.base.annotated import AnnotatedImagesReader, name_of
from data.formats.base.heads import json_keys
from data.formats.base.reader import LabeledImage, Listing, Recognition, SetAside, Source, set_aside_duplicates
from data.formats.label_studio.labeled import Export, annotations_of, find_images, read_export, stated_split
from data.formats.label_studio.regions import Region, shape_of
from data.formats.label_studio.tasks import is_tasks, may_hold_tasks
from data.listing.split_folders import placing

# So many files of the kind are looked at before a folder is taken for another format.
_MOST_HEADS = 8


class _Drawn(msgspec.Struct, array_like=True):
    """A region as workers get it: its name, its class, and its shape in JSON."""

    name: str
    class_id: int
    kind: str
    value: msgspec.Raw


class _Labels(msgspec.Struct, array_like=True):
    """All that workers need: the size that the image has, and each annotation, with its place and its regions."""

    size: tuple[int, int] | None
    annotations: list[tuple[str, list[_Drawn]]]


class LabelStudioReader(AnnotatedImagesReader):
    """Label Studio's JSON exports, or the JSON files in a storage that it exports to, and images.

    Regions are brushes, polygons, rectangles, ellipses, bitmasks and closed vectors without curves; each is an object.
    Later ones lie over earlier ones. Label Studio gives places in percent of the image as it is shown, whose first
    pixel begins at 0, and saves a brush for each pixel: what is painted at all, however thinly, counts. Points,
    choices, texts and predictions are passed over. Images are found by their names, wherever in SOURCE they are;
    uploads may have the names that Label Studio gave them, or those that they had before. A labeling configuration, an
    XML file beside the JSON files, gives the order of the labels and their colors, and an image with another label is
    set aside; without it the order is that of the alphabet.

    Attributes:
      folder: holds the JSON files and the images. Files such as train.json and val.json are splits.
      annotators: what counts if several have labeled an image; the newest annotation, or all of them, with those pixels
        ignored on which they do not agree. Where annotations are marked as ground truth, only these count.
      unlabeled: whether images of tasks that nobody has submitted are left out, or are background.
    """

    annotators: Literal["newest", "agreement"] = "newest"
    unlabeled: Literal["ignore", "background"] = "ignore"

    looks_for: ClassVar[str] = "a JSON whose tasks have data and annotations with results (Label Studio)"
    stays_here: ClassVar[frozenset[str]] = AnnotatedImagesReader.stays_here | {"export"}

    @classmethod
    def recognize(cls, folder: str, files: list[str]) -> Recognition | None:
        candidates = sorted((file for file in files if may_hold_tasks(file)), key=lambda file: (file.count("/"), file))
        for file in candidates[:_MOST_HEADS]:
            if is_tasks(json_keys(folder, file)):
                return Recognition((f"{file} holds tasks with annotations, as Label Studio exports them",))
        return None

    @functools.cached_property
    def export(self) -> Export:
        """What was read of the data set, in the main process."""
        return read_export(self.folder, self.files)

    def categories(self) -> Sequence[Category]:
        if not self.export.categories:
            raise UserError(
                f"no task in {self.folder} has a region with an area and a label, such as a polygon or brush"
            )
        return [one for one in self.export.categories if one.name not in self.export.unlisted - self._wanted]

    @property
    def _wanted(self) -> set[str]:
        """The labels that --classes names."""
        return {name for _, merged in self.classes for name in merged}

    def listing(self) -> Listing:
        images, export = ImageFiles(self.folder, self.files), self.export
        found = find_images(export.images, images)
        set_aside, ignored = list(export.set_aside), list(export.ignored)
        for image, reason in found.lost:
            is_needed = image.annotations or self.unlabeled == "background"
            (set_aside if is_needed else ignored).append(SetAside(image.place, reason))
        listed, stated = [], {}
        for path, tasks in found.images.items():
            file, name = images.relative[path], name_of(path)
            try:
                annotations = annotations_of(tasks)
                if not annotations and self.unlabeled == "ignore":
                    place = tasks[0].place
                    reason = f"nobody submitted an annotation of {place}; --unlabeled background takes it as background"
                    ignored.append(SetAside(file, reason))
                    continue
                labels = self._labels(annotations)
            except BadImageError as error:
                set_aside.append(SetAside(file, str(error)))
                continue
            stated[name] = stated_split(tasks, export.splits)
            split = stated[name] or placing(name).split
            listed.append(Source(name, "", file, "", stated_split=split, labels=labels))
        claimed = found.doubtful.union(found.images)
        ignored += [
            SetAside(file, "no task is about it") for path, file in images.relative.items() if path not in claimed
        ]
        sources, duplicates = set_aside_duplicates(listed)
        stay = self.stated_splits({source.source_id: source.image for source in sources}, stated)
        return Listing(self.deal(sources, stay, self.folder), [*set_aside, *duplicates], ignored)

    def _labels(self, annotations: Sequence[tuple[str, list[Region]]]) -> str:
        """What workers need of an image's annotations.

        Raises:
          BadImageError: if a region has no class, or the size of the image is doubtful.
        """
        counted = annotations[:1] if self.annotators == "newest" else annotations
        sizes = {region.size: f"{place}: {region.name}" for place, regions in counted for region in regions}
        sizes.pop(None, None)
        if len(sizes) > 1:
            said = ", ".join(f"{size[0]}x{size[1]} in {place}" for size, place in sizes.items() if size)
            raise BadImageError(f"its annotations say different sizes of the image: {said}")
        drawn = [(place, [self._drawn(place, region) for region in regions]) for place, regions in counted]
        return msgspec.json.encode(_Labels(next(iter(sizes), None), drawn)).decode()

    def _drawn(self, place: str, region: Region) -> _Drawn:
        ids = self.chosen.ids
        # Of several labels those count that were chosen, as others may say something else, such as a color.
        labels = [label for label in region.labels if label in self._wanted] or region.labels
        if unlisted := next((label for label in labels if label not in ids), ""):
            close = difflib.get_close_matches(unlisted, ids, n=1)
            remedy = f"is it {close[0]}? Correct it," if close else "correct it,"
            raise BadImageError(
                f"{place}: {region.name} has the label {unlisted}, which is not in {self.export.config}; {remedy} add "
                "it there, or name it in --classes"
            )
        classes = {ids[label] for label in labels}
        if not classes:
            raise BadImageError(f"{place}: {region.name} has no label; give it one, or delete it")
        if len(classes) > 1:
            raise BadImageError(
                f"{place}: {region.name} has the labels {' and '.join(labels)}, of different classes; leave one, or "
                "choose those that count with --classes"
            )
        value = msgspec.json.encode(region.value)
        return _Drawn(region.name, classes.pop(), region.kind, msgspec.Raw(value))

    def stated_size(self, source: Source) -> tuple[int, int] | None:
        return msgspec.json.decode(source.labels, type=_Labels).size

    def says_size(self, source: Source) -> str:
        annotations = msgspec.json.decode(source.labels, type=_Labels).annotations
        return f"{annotations[0][0]} says" if annotations else super().says_size(source)

    def objects(self, source: Source, height: int, width: int) -> Sequence[AnnotatedObject]:
        annotations = msgspec.json.decode(source.labels, type=_Labels).annotations
        return _objects(*annotations[0], height, width) if annotations else []

    def read(self, source: Source) -> LabeledImage:
        labeled = super().read(source)
        height, width = labeled.class_ids.shape
        for place, regions in msgspec.json.decode(source.labels, type=_Labels).annotations[1:]:
            others, _ = draw(_objects(place, regions, height, width), height, width, self.chosen.background)
            doubtful = labeled.class_ids != others
            labeled.class_ids[doubtful] = IGNORE_LABEL
            if labeled.instances is not None:
                labeled.instances[doubtful] = 0
        return labeled


def _objects(place: str, regions: Sequence[_Drawn], height: int, width: int) -> list[AnnotatedObject]:
    """The regions of an annotation as objects.

    Raises:
      BadImageError: if one is broken, or all of them seem to be in parts of the image instead of percent.
    """
    objects = []
    for region in regions:
        name = f"{place}: {region.name}"
        try:
            shape = shape_of(region.kind, region.value, height, width)
        except BadImageError as error:
            raise BadImageError(f"{name}: {error}") from None
        objects.append(AnnotatedObject(name, region.class_id, shape))
    outlines = [one.shape.rings[0] for one in objects if isinstance(one.shape, Polygon)]
    if outlines and len(outlines) == len(objects):
        farthest_x, farthest_y = (max(max(ring[start::2]) for ring in outlines) for start in (0, 1))
        if 0 < farthest_x * 100 <= width and 0 < farthest_y * 100 <= height:
            raise BadImageError(
                f"{place}: all that is annotated lies between 0 and 1 percent of the image's size; are these parts of "
                "the image (0 to 1) instead of percent? Multiply them by 100"
            )
    return objects
