"""How are Ultralytics' data sets for segmentation read: a text file for each image, with outlines in parts of it?

The format: https://docs.ultralytics.com/datasets/segment/. Coordinates are parts of the width and the height of the
image as it is shown, so that 0 and 1 are its edges.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from data.annotations.classes import Category
from data.annotations.drawing import AnnotatedObject
from data.annotations.image_files import ImageFiles
from data.annotations.shapes import Polygon
from data.base.errors import UserError
from data.base.files import join, read_bytes
from data.decoding.errors import BadImageError
from data.formats.base.annotated import AnnotatedImagesReader, name_of, without_hidden
from data.formats.base.reader import Listing, Recognition, SetAside, Source, set_aside_duplicates
from data.formats.yolo.description import CLASSES, Description, find_description
from data.formats.yolo.labels import (
    BOX_NUMBERS,
    label_file,
    lines_of,
    looks_like_labels,
    read_line,
    texts_by_path,
)
from data.formats.yolo.places import Placed, find_images
from data.listing.split_folders import placing

# Of the label files so many are looked at before a data set is refused that has nothing but boxes.
_MOST_BOX_FILES = 1000
_LOOKED_AT, _HEAD = 5, 1 << 14


class YoloReader(AnnotatedImagesReader):
    """YOLO's format for segmentation: data.yaml, images, and a text file with the outlines of each image.

    Label files are in a folder labels that corresponds to images (images/train and labels/train, or train/images and
    train/labels), or beside the images. data.yaml, whatever its name, has the classes and the splits; with classes.txt
    instead, folders state the splits, or a hash deals them.

    Objects lie over larger ones, as Ultralytics draws them. An empty label file means that there is no object. Lines of
    five numbers are boxes, not outlines; an image with one is set aside.

    Attributes:
      folder: holds data.yaml, images and labels.
      unlabeled: what images without a label file are. YOLO takes them as background, but where no image of a split has
        a label file they are left out.
    """

    looks_for: ClassVar[str] = (
        "images, and text files of the same names with a class and an outline on each line (YOLO)"
    )
    stays_here: ClassVar[frozenset[str]] = AnnotatedImagesReader.stays_here | {"_texts"}

    unlabeled: Literal["background", "ignore"] = "background"

    @classmethod
    def recognize(cls, folder: str, files: list[str]) -> Recognition | None:
        texts = texts_by_path(without_hidden(files))
        images = ImageFiles(folder, files).relative
        labels = {image: label for image in images if (label := label_file(image, texts))}
        if not labels:
            return None
        description = find_description(folder, [file for file in files if file.lower().endswith((".yaml", ".yml"))])
        # What is wrong with labels is said when they are read, if a data.yaml leaves no doubt what they are.
        is_sure = description is not None and bool(description.places)
        looked_at, others, corners = list[str](), 0, set()
        for label in _spread(sorted(set(labels.values())), _LOOKED_AT * 4):
            head = read_bytes(join(folder, label), 0, _HEAD)
            if not head.strip():
                continue
            if not looks_like_labels(head, len(head) < _HEAD):
                others += 1
                continue
            looked_at.append(label)
            corners |= {len(line.split()) for line in head.splitlines()}
        if len(looked_at) <= others and not is_sure:
            return None
        holds = ", with a class and an outline in each line" if looked_at else ""
        reasons = [f"images ({len(labels)}) have text files such as {[*looked_at, *labels.values()][0]}{holds}"]
        if description := description or find_description(folder, files):
            reasons.append(f"{description.file} names {len(description.names)} classes")
        assumptions = []
        folders = {image.rpartition("/")[0] for image in labels}
        if without := sum(image.rpartition("/")[0] in folders for image in images.keys() - labels.keys()):
            assumptions.append(
                f"images without a label file ({without}) show no object; --unlabeled ignore leaves them out"
            )
        if corners == {9}:
            assumptions.append("all outlines have four corners, as turned boxes have; they are taken as outlines")
        return Recognition(tuple(reasons), assumptions=tuple(assumptions))

    @functools.cached_property
    def description(self) -> Description:
        """What data.yaml or classes.txt says."""
        if found := find_description(self.folder, self.files):
            return found
        raise UserError(
            f"{self.folder} has no data.yaml that names the classes, and no {CLASSES}; write a data.yaml with them in "
            "the order of their numbers, such as names: [cat, dog]"
        )

    @functools.cached_property
    def _texts(self) -> dict[str, str]:
        return texts_by_path(self.files)

    def categories(self) -> Sequence[Category]:
        return [Category(name) for _, name in sorted(self.description.names.items())]

    def listing(self) -> Listing:
        images = ImageFiles(self.folder, self.files)
        if not images.relative:
            raise UserError(f"{self.folder} has no images")
        label_files = {image: label_file(image, self._texts) for image in images.relative}
        placed = self._places(images, label_files)
        self._check_outlines([label_files[image] for image in placed.splits if label_files[image]])
        parts = {image: split or placing(image).split for image, split in placed.splits.items()}
        labeled_parts = {part for image, part in parts.items() if label_files[image]}
        sources, ignored = [], placed.ignored
        for image, part in parts.items():
            path, label = images.relative[image], label_files[image]
            if not label and (reason := self._why_unlabeled(part, labeled_parts)):
                ignored.append(SetAside(path, reason))
            else:
                mask = join(self.folder, label) if label else ""
                sources.append(Source(name_of(image), "", path, mask, stated_split=part))
        sources, duplicates = set_aside_duplicates(sources)
        stay = self.stated_splits(
            {source.source_id: source.image for source in sources},
            {name_of(image): split for image, split in placed.splits.items() if split},
        )
        set_aside = [*placed.set_aside, *duplicates, *self._without_image(label_files)]
        return Listing(self.deal(sources, stay, self.folder), set_aside, ignored)

    def _places(self, images: ImageFiles, label_files: Mapping[str, str]) -> Placed:
        """The images that belong to the data set, with the splits that it states."""
        if self.description.places:
            placed = find_images(self.folder, self.description, images, self.files, self.split or {})
            reason = f"{self.description.file} names it in no split"
        else:
            belonging = [image for image, label in label_files.items() if label or "images" in image.split("/")[:-1]]
            placed = Placed(dict.fromkeys(belonging, ""))
            reason = "it has no label file, and is not in images/"
        placed.ignored += [
            SetAside(path, reason) for image, path in images.relative.items() if image not in placed.splits
        ]
        return placed

    def _why_unlabeled(self, split: str, labeled: set[str]) -> str:
        """Why an image without a label file is left out; empty if it shows no object."""
        if self.unlabeled == "ignore":
            return "it has no label file"
        if split in labeled or "unlabeled" in self.model_fields_set:
            return ""
        return f"no image of {split or 'the data set'} has a label file; --unlabeled background makes them background"

    def _without_image(self, label_files: Mapping[str, str]) -> list[SetAside]:
        """The label files whose images are missing."""
        used = set(label_files.values()) - {""}
        pairs = [(image.rpartition("/")[0], label.rpartition("/")[0]) for image, label in label_files.items() if label]
        beside = {of_label for of_image, of_label in pairs if of_image == of_label}
        found = []
        for file in self._texts.values():
            folder, _, name = file.rpartition("/")
            if file in used or name.lower() == CLASSES:
                continue
            path = join(self.folder, file)
            is_label = "labels" in folder.split("/")
            if is_label or (folder in beside and looks_like_labels(read_bytes(path, 0, _HEAD), False)):
                found.append(SetAside(path, "there is no image of its name"))
        return found

    def _check_outlines(self, labels: Sequence[str]) -> None:
        """Raises a UserError if there are boxes and no outlines."""
        first = ""
        for label in _spread(labels, _MOST_BOX_FILES):
            try:
                lines = list(lines_of(read_bytes(join(self.folder, label))))
            except (BadImageError, OSError):
                continue
            if any(len(words) > BOX_NUMBERS for _, words in lines):
                return
            if lines and len(lines[0][1]) == BOX_NUMBERS:
                first = first or f"{label}: {lines[0][0]}"
        if first:
            raise UserError(
                f"{self.folder} is for detection: its labels are boxes, as in {first}, and pixels need outlines; "
                "export the data set for segmentation"
            )

    def objects(self, source: Source, height: int, width: int) -> Sequence[AnnotatedObject]:
        if not source.mask:
            return []
        file = source.mask[len(self.folder.rstrip("/")) + 1 :]
        found = []
        names, scale = self.description.names, (width, height)
        try:
            for line, words in lines_of(read_bytes(source.mask)):
                try:
                    number, coordinates = read_line(words, names)
                    shape = Polygon([[value * scale[place % 2] for place, value in enumerate(coordinates)]])
                    area = shape.area(height, width)
                except BadImageError as error:
                    raise BadImageError(f"{line}: {error}") from None
                class_id = self.chosen.ids[names[number]]
                found.append((area, AnnotatedObject(f"{file}: {line}", class_id, shape)))
        except BadImageError as error:
            raise BadImageError(f"{file}: {error}") from None
        return [one for _, one in sorted(found, key=lambda pair: -pair[0])]


def _spread(items: Sequence[str], most: int) -> Sequence[str]:
    """At most so many of some items, from all over them."""
    return items[:: max(1, -(-len(items) // most))]
