"""How are labelme's data sets read: a JSON for each image, with shapes in pixels of the image as it is shown?"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import itertools
import posixpath
import re
from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import pydantic

from data.annotations.classes import Category
from data.annotations.drawing import AnnotatedObject
from data.annotations.image_files import ImageFiles
from data.annotations.shapes import check_reach
from data.base.errors import UserError
from data.base.files import join, read_bytes
from data.decoding.errors import BadImageError
from data.formats.base.annotated import AnnotatedImagesReader, name_of, without_hidden
from data.formats.base.heads import json_keys
from data.formats.base.reader import Listing, Recognition, SetAside, Source, set_aside_duplicates
from data.formats.labelme.files import (
    LabelFile,
    label_names,
    plain_label,
    read_image_data,
    read_label_files,
    read_shapes,
    shape_name,
)
from data.formats.labelme.matching import match
from data.formats.labelme.shapes import shape_of
from data.listing.split_folders import placing

# labelme's list of the labels that may be used.
_LABELS = "labels.txt"
_LOOKED_AT = 5
# A folder of masks or their renderings, which people make of the JSON files.
_MASKS = re.compile(r"mask|segm|annot|label|visual", re.IGNORECASE)


class LabelmeReader(AnnotatedImagesReader):
    """labelme's format: a JSON file for each image, with polygons, rectangles, circles and masks.

    Shapes are drawn in the order in which they are listed, later ones over earlier ones. Shapes of one label and one
    group_id are one object. The labels __ignore__ and _background_ mean what they say. A JSON file without shapes means
    that there is no object. The image is the file at imagePath, or, if that is missing, imageData.

    Classes are in the order of labelme's labels.txt, if there is one, or else of the alphabet. An image with a label
    that is not in labels.txt is set aside.

    Attributes:
      folder: holds the JSON files and the images, in any subfolders.
      unlabeled: what images without a JSON file are; left out, since they may not be labeled yet.
      line_width: how wide lines are drawn, and how large points, in pixels; labelme's own export draws 10. Without it,
        images with lines or points are set aside, since these have no area.
    """

    looks_for: ClassVar[str] = "JSON files with shapes and an imagePath (labelme)"
    stays_here: ClassVar[frozenset[str]] = AnnotatedImagesReader.stays_here | {"_label_files"}

    unlabeled: Literal["background", "ignore"] = "ignore"
    line_width: Annotated[float, pydantic.Field(gt=0, le=1000)] | None = pydantic.Field(None, title="PIXELS")

    @classmethod
    def recognize(cls, folder: str, files: list[str]) -> Recognition | None:
        found = _json_files(without_hidden(files))
        looked_at = found[:: max(1, -(-len(found) // _LOOKED_AT))]
        own = [file for file in looked_at if _is_labelme(folder, file)]
        if not own or 2 * len(own) < len(looked_at):
            return None
        return Recognition((f"JSON files ({len(found)}), such as {own[0]}, have shapes and an imagePath",))

    @functools.cached_property
    def _label_files(self) -> list[LabelFile]:
        found = read_label_files(self.folder, _json_files(self.files))
        if all(one.is_other for one in found):
            raise UserError(f"{self.folder} has no JSON files of labelme, which have shapes and an imagePath")
        return found

    @functools.cached_property
    def known_labels(self) -> tuple[str, tuple[str, ...]]:
        """The list of labels, as its path and its lines; empty if there is none.

        Raises:
          UserError: if there are several that differ.
        """
        lists: dict[tuple[str, ...], str] = {}
        for file in self.files:
            if posixpath.basename(file).lower() == _LABELS:
                names = label_names(read_bytes(join(self.folder, file)))
                if names is None:
                    raise UserError(f"{join(self.folder, file)} is not text in UTF-8")
                lists.setdefault(tuple(names), file)
        if len(lists) > 1:
            first, second = list(lists.values())[:2]
            raise UserError(
                f"{join(self.folder, first)} and {join(self.folder, second)} list different labels; keep the one that "
                "gives the order of the classes"
            )
        return next(((file, names) for names, file in lists.items() if names), ("", ()))

    def categories(self) -> Sequence[Category]:
        _, names = self.known_labels
        used = {label for one in self._label_files for label in one.labels}
        if not names and not self.classes:
            self._check_spelling()
        return [Category(name) for name in names or sorted(used, key=lambda name: (name.casefold(), name))]

    def _check_spelling(self) -> None:
        """Raises a UserError if labels differ only in upper and lower case, as typed ones easily do."""
        spellings: dict[str, dict[str, str]] = {}
        for one in self._label_files:
            for label, shape in one.labels.items():
                spellings.setdefault(label.casefold(), {}).setdefault(label, f"{one.file}: {shape}")
        for label, places in spellings.items():
            if len(places) > 1:
                merged = f"{_quoted(label)}: [{', '.join(_quoted(one) for one in sorted(places))}]"
                raise UserError(
                    f"{' and '.join(places.values())} have labels that differ only in upper and lower case. If they "
                    f"are one class, --classes '{merged}, …' merges them; if not, name each there, or in {_LABELS}"
                )

    def listing(self) -> Listing:
        images = ImageFiles(self.folder, self.files)
        own = [self._checked(one) for one in self._label_files if not one.is_other]
        matched = match(own, images)
        sources = [self._source(image, images.relative[image], one) for image, one in matched.of_image.items()]
        sources += [self._source(one.file, join(self.folder, one.file), one) for one in matched.embedded]
        set_aside = [SetAside(join(self.folder, one.file), f"{one.file}: {why}") for one, why in matched.refused]
        others = [one.file for one in self._label_files if one.is_other]
        ignored = [SetAside(join(self.folder, file), "it is not of labelme: it has no shapes") for file in others]
        labeled = {name_of(posixpath.basename(image)) for image in matched.of_image}
        for image, path in images.relative.items():
            if image in matched.of_image:
                continue
            if _MASKS.search(posixpath.dirname(image)) and name_of(posixpath.basename(image)) in labeled:
                ignored.append(SetAside(path, "it seems to be the mask of an image that has a JSON file"))
            elif image in matched.doubtful:
                ignored.append(SetAside(path, f"its labels may be those of {matched.doubtful[image]}"))
            elif self.unlabeled == "background":
                sources.append(Source(name_of(image), "", path, "", stated_split=placing(image).split))
            else:
                ignored.append(SetAside(path, "it has no JSON file; --unlabeled background makes it background"))
        sources, duplicates = set_aside_duplicates(sorted(sources, key=lambda one: one.image))
        stay = self.stated_splits({source.source_id: source.image for source in sources})
        return Listing(self.deal(sources, stay, self.folder), [*set_aside, *duplicates], ignored)

    def _source(self, path: str, image: str, one: LabelFile) -> Source:
        """An example whose name is a path without its extension; its size goes with it."""
        size = "" if one.size is None else f"{one.size[0]}x{one.size[1]}"
        mask = join(self.folder, one.file)
        return Source(name_of(path), "", image, mask, stated_split=placing(path).split, labels=size)

    def _checked(self, one: LabelFile) -> LabelFile:
        """A label file, which is broken if it has a label that labels.txt does not have."""
        file, names = self.known_labels
        for label, shape in one.labels.items():
            if names and label not in names:
                close = difflib.get_close_matches(label, names, n=1)
                remedy = f"is it {close[0]}? Correct it, or" if close else "correct it, or"
                return dataclasses.replace(one, broken=f"{shape}: its label is not in {file}; {remedy} add it there")
        return one

    def stated_size(self, source: Source) -> tuple[int, int] | None:
        if not source.labels:
            return None
        width, height = source.labels.split("x")
        return int(width), int(height)

    def image_content(self, source: Source) -> bytes:
        content = read_bytes(source.image)
        return read_image_data(content) if source.image == source.mask else content

    def _file(self, source: Source) -> str:
        """The JSON file of an image, below the data set."""
        return source.mask[len(self.folder.rstrip("/")) + 1 :]

    def says_size(self, source: Source) -> str:
        return f"{self._file(source)} says"

    def objects(self, source: Source, height: int, width: int) -> Sequence[AnnotatedObject]:
        if not source.mask:
            return []
        file = self._file(source)
        try:
            shapes = read_shapes(read_bytes(source.mask))
        except BadImageError as error:
            raise BadImageError(f"{file}: {error}") from None
        found = []
        for number, item in enumerate(shapes, 1):
            label = plain_label(item.label)
            name = f"{file}: {shape_name(number, label)}"
            try:
                shape = shape_of(item, self.line_width, self.max_pixels)
                if not source.labels:
                    remedy = "whose size the file does not say; was it resized after labeling? Label it as it is now"
                    check_reach([list(itertools.chain.from_iterable(item.points))], width, height, remedy)
            except BadImageError as error:
                raise BadImageError(f"{name}: {error}") from None
            instance = "" if item.group_id is None else f"{label}\0{item.group_id}"
            found.append(AnnotatedObject(name, self.chosen.ids[label], shape, instance=instance))
        return found


def _quoted(name: str) -> str:
    """A name as --classes takes it."""
    return name if re.fullmatch(r"[\w -]+", name) else f'"{name}"'


def _json_files(files: Sequence[str]) -> list[str]:
    return [file for file in files if file.lower().endswith(".json")]


def _is_labelme(folder: str, file: str) -> bool:
    keys = json_keys(folder, file).outermost
    # What is in the middle of a large file is not seen.
    return "shapes" in keys and bool(keys & {"imagePath", "imageData", "imageHeight", "imageWidth"})
