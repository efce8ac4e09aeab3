"""What formats have in common whose files describe objects, in shapes, in the images that they name."""

from __future__ import annotations

import abc
import functools
import os
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Literal

from data.annotations.classes import BACKGROUND, Category, ChosenClasses, ClassOptions
from data.annotations.drawing import AnnotatedObject, draw
from data.base.errors import UserError
from data.base.files import read_bytes
from data.formats.base.dealt import SplitOptions
from data.formats.base.reader import LabeledImage, MaskedImagesReader, SetAside, Source
from data.label_map import LabelMap
from data.listing.items import LEFT_BY_TOOLS
from data.listing.walking import relative_files


class AnnotatedImagesReader(SplitOptions, ClassOptions, MaskedImagesReader):
    """A format whose labels are objects with shapes; its options are those of splits, classes and images.

    `listing` opens the files with the labels. What a worker needs of a file that has the labels of many images goes
    into `Source.labels`, class ids included, so that no worker opens it again.

    Attributes:
      uncovered: what pixels of no object are; ignored makes sense where each pixel belongs to a class, and needs
        --others ignore if --classes are given.
    """

    uncovered: Literal["background", "ignore"] = "background"

    # What was found for the listing alone. It may be large, and workers do not need it.
    stays_here: ClassVar[frozenset[str]] = frozenset({"files"})

    folder: str

    def __getstate__(self) -> dict[Any, Any]:
        state = super().__getstate__()
        kept = {key: value for key, value in state["__dict__"].items() if key not in self.stays_here}
        return {**state, "__dict__": kept}

    @functools.cached_property
    def files(self) -> list[str]:
        """Paths of the files of the data set, below its folder, with `/` between folders."""
        return without_hidden(relative_files(self.folder))

    @abc.abstractmethod
    def categories(self) -> Sequence[Category]:
        """The classes that the annotations name, in their order.

        Raises:
          UserError: if the files with the annotations cannot be read.
        """

    @functools.cached_property
    def chosen(self) -> ChosenClasses:
        """The classes that are learned. What was read for them travels to workers with the reader."""
        return self.choose(self.categories(), has_background=self.uncovered == BACKGROUND)

    @property
    def label_map(self) -> LabelMap:
        return self.chosen.label_map

    @abc.abstractmethod
    def objects(self, source: Source, height: int, width: int) -> Sequence[AnnotatedObject]:
        """The objects in an image, in the order in which they are drawn.

        Args:
          source: the example.
          height: of its image as it is shown, in pixels.
          width: likewise.

        Raises:
          BadImageError: if an annotation is broken; names the file and the annotation.
        """

    def stated_size(self, source: Source) -> tuple[int, int] | None:
        """Width and height in pixels that the annotations say the image has; None if they do not say."""
        del source
        return None

    def says_size(self, source: Source) -> str:
        """What comes before the stated size in messages, such as `labels.json says`."""
        del source
        return "the annotation"

    def image_content(self, source: Source) -> bytes:
        """The content of an image's file, wherever the format keeps it."""
        return read_bytes(source.image)

    def read(self, source: Source) -> LabeledImage:
        """Reads an image, and draws its objects."""
        size = self.stated_size(source)
        image = self.read_image_of_size(self.image_content(source), size, self.says_size(source))
        objects = self.objects(source, image.height, image.width)
        class_ids, instances = draw(objects, image.height, image.width, self.chosen.background)
        return LabeledImage(image, class_ids, instances)


def without_hidden(files: Iterable[str]) -> list[str]:
    """Some files, without those that are hidden or left by tools."""
    return [file for file in files if not any(part[0] == "." or part in LEFT_BY_TOOLS for part in file.split("/"))]


def without_repeated_images(sources: Iterable[Source]) -> tuple[list[Source], list[SetAside]]:
    """Keeps the first of several sources that are one image.

    Raises:
      UserError: if the data set puts one image into two splits.
    """
    first: dict[str, Source] = {}
    repeated = []
    for source in sources:
        taken = first.setdefault(source.image, source)
        if taken is source:
            continue
        if taken.stated_split != source.stated_split:
            raise UserError(
                f"{source.image} is in {taken.stated_split or 'no split'} and in {source.stated_split or 'no split'}; "
                "it may be in one split only"
            )
        repeated.append(SetAside(source.image, "it is described twice; the first description is taken"))
    return list(first.values()), repeated


def name_of(path: str) -> str:
    """The name of an example: the path of its image below the data set, without the extension."""
    return os.path.splitext(path)[0]
