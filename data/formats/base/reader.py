"""What a dataset format is: a reader that lists the examples of a data set and reads them one by one."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, ClassVar

import numpy as np
import pydantic

from data.base.errors import UserError, readable
from data.base.files import read_bytes
from data.base.section import Section
from data.contract import IGNORE_LABEL
from data.decoding.images import BadImageError, EncodedImage, read_image
from data.decoding.orientation import Orientation
from data.label_map import LabelMap
from data.listing.walking import printable
from data.masks.class_ids import class_ids, read_mask
from data.masks.files import Mask
from data.masks.meaning import Meaning

PixelLimit = Annotated[int, pydantic.Field(ge=1, title="N")]
MAX_PIXELS = 100_000_000
_MOST_REASONS = 10


@dataclasses.dataclass(frozen=True)
class Source:
    """An example that was listed but not yet read.

    Attributes:
      source_id: stable name, unique in the data set.
      split: `train`, `eval` or `test`.
      image: path of the image, or whatever the reader needs to find it.
      mask: path of the mask, likewise.
      slice: what to report it under separately, or an empty string.
      group: whatever must stay in one split, such as a patient or a scene, or an empty string.
      stated_split: the split that the data set itself says, or an empty string if it was dealt.
      labels: what the reader took from a file that has the labels of many images, so that no worker opens it again, or
        found out about the whole data set.
      file: a file that has many images, which one worker then reads one after the other, or an empty string.
    """

    source_id: str
    split: str
    image: str
    mask: str
    slice: str = ""
    group: str = ""
    stated_split: str = ""
    labels: str = ""
    file: str = ""


@dataclasses.dataclass(frozen=True)
class LabeledImage:
    """An image and what its pixels are; those without data are ignored, whatever the labels say.

    Attributes:
      image: as the data contract stores it.
      class_ids: [height, width] uint8, 255 for "ignore".
      instances: [height, width] uint16, the number of the object that a pixel belongs to, 0 for none, 65535 for a
        crowd; None if the data set does not tell objects apart.
    """

    image: EncodedImage
    class_ids: np.ndarray
    instances: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.image.no_data is not None:
            object.__setattr__(self, "class_ids", np.where(self.image.no_data, IGNORE_LABEL, self.class_ids))
            if self.instances is not None:
                object.__setattr__(self, "instances", np.where(self.image.no_data, 0, self.instances))


@dataclasses.dataclass(frozen=True)
class SetAside:
    """An input that was left out, and why."""

    input: str
    reason: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "input", readable(self.input))
        object.__setattr__(self, "reason", readable(self.reason))


def reasons_of(entries: Iterable[SetAside]) -> str:
    """Why inputs cannot be used, a line for each of the first reasons, with the first input that has it."""
    inputs: dict[str, list[str]] = {}
    for entry in entries:
        inputs.setdefault(entry.reason, []).append(entry.input)
    return "".join(
        f"\n  {first}{f' and {len(others)} more' if others else ''}: {reason}"
        for reason, (first, *others) in [*inputs.items()][:_MOST_REASONS]
    )


@dataclasses.dataclass(frozen=True)
class Listing:
    """What a data set holds, as far as can be said without opening an image.

    Attributes:
      sources: the examples.
      set_aside: inputs that should have been examples; they count toward the limit.
      ignored: inputs that are no examples, such as those that the data set itself does not list.
      remedy: what to do if too much is set aside; the end of a message.
      facts: what `conversion.json` says about how the data set was taken apart.
    """

    sources: list[Source]
    set_aside: list[SetAside] = dataclasses.field(default_factory=list)
    ignored: list[SetAside] = dataclasses.field(default_factory=list)
    remedy: str = ""
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)

    def without(self, names: Iterable[str]) -> Listing:
        """The same, where the examples that go by one of these names, or by that of their image, are ignored."""
        excluded = set(names)
        kept, left_out = [], [*self.ignored]
        for source in self.sources:
            if excluded.isdisjoint((source.source_id, source.image)):
                kept.append(source)
            else:
                left_out.append(SetAside(source.image, "excluded by its name"))
        return dataclasses.replace(self, sources=kept, ignored=left_out)

    def check_any(self) -> None:
        """Raises a UserError if there is no example; says why."""
        if not self.sources:
            reasons = reasons_of(self.set_aside or self.ignored)
            raise UserError(f"no image with its labels was found{reasons}")


@dataclasses.dataclass(frozen=True)
class Recognition:
    """Why a folder is taken for a data set of a format, without opening more than a few images.

    Attributes:
      reasons: what speaks for it.
      options: the format's options that it needs, beside those that say what the classes are.
      needs_labels: whether the classes have to be found in the masks, and given as the option `labels`.
      assumptions: what was decided although the files do not say it.
    """

    reasons: tuple[str, ...]
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    needs_labels: bool = False
    assumptions: tuple[str, ...] = ()


class Reader(Section, abc.ABC):
    """A dataset format. Each subclass is one, and its fields are the format's options.

    `segpipe convert --format …` derives its command line from the class: a field `folder` is the SOURCE, and a format
    without it takes none; every other field is an option with the field's type and default. The docstring's first line
    is the help of the format, its `Attributes:` those of the options; a field's `title` is the name of its value there.
    Pydantic checks the values, so a type that is not a word or a number needs a validator that reads the text of an
    option, as `data.label_map.ClassNames`, `data.label_map_files.LabelMapFile` and `data.splits.Shares` have it.

    A format outside of segpipe is named by its import path, `--format my_team.formats:PairsReader`. Readers travel to
    Beam workers by pickling, so they hold paths and settings only, and workers must be able to import the module: on
    this machine (`--workers`) from a folder in PYTHONPATH or an installed package, on a cluster from a package that is
    installed in the workers' image.
    """

    # What `recognize` looks for, for the message that nothing was found.
    looks_for: ClassVar[str] = ""
    # Whether it is asked only about folders that no other format recognizes.
    is_fallback: ClassVar[bool] = False
    # Names of formats with which data sets are published together; one of these is taken where it is recognized too.
    gives_way_to: ClassVar[tuple[str, ...]] = ()
    # What to do if the data set has a class and no pixel of it, as a part of a message.
    on_missing_class: ClassVar[str] = (
        "if it should be there, say in a labels.yaml, with value:, which values of the masks are which class"
    )
    # What to do if most of its pixels are ignored, likewise.
    on_ignored: ClassVar[str] = "if they should count, look at what the data set itself marks as unlabeled"

    @classmethod
    def recognize(cls, folder: str, files: list[str]) -> Recognition | None:
        """Whether a folder looks like a data set of this format; by default never.

        Args:
          folder: the folder.
          files: paths of all files in it, relative, with `/` between folders.
        """
        del folder, files
        return None

    @property
    @abc.abstractmethod
    def label_map(self) -> LabelMap:
        """The classes of the data set."""

    @abc.abstractmethod
    def listing(self) -> Listing:
        """All examples of the data set, without opening an image.

        Raises:
          UserError: if the folder is not a data set of this format.
        """

    def fill_splits(self, sources: list[Source]) -> str:
        """What to do if these examples leave a split empty; the end of a message."""
        return "add images"

    def working_split(self, sources: list[Source]) -> dict[str, float]:
        """The value of the option `split` with which these examples leave no split empty; empty without that option.

        Raises:
          ValueError: if there are too few examples.
        """
        del sources
        return {}

    def fillings(self, sources: list[Source]) -> Iterator[dict[str, Any]]:
        """Options with which no split may be empty, `split` among them, in the order in which to try them."""
        try:
            shares = self.working_split(sources) if sources else {}
        except ValueError:
            return
        if shares:
            yield {"split": shares}

    def read_mask(self, path: str, max_pixels: int) -> Mask:
        """The pixels of a mask, of which classes are proposed; of one that is too large, some of them.

        Raises:
          BadImageError: if it is no image, or none that can hold classes.
          OSError: if it cannot be read.
        """
        return read_mask(read_bytes(path), max_pixels)

    @abc.abstractmethod
    def read(self, source: Source) -> LabeledImage:
        """Reads one image and its labels.

        Raises:
          BadImageError: if the pair cannot be used; the message is the reason.
          OSError: if a file cannot be read, which sets the pair aside too.
        """


class MaskedImagesReader(Reader):
    """A format whose images and masks are files of one size.

    Attributes:
      max_pixels: images with more pixels are set aside.
      orientation: how an image is read whose EXIF says to turn it, where its mask fits both ways (squares, mirrored,
        turned by 180°); upright as viewers show it, which is how annotation tools show it too, or as stored. Where only
        one way fits, that one is taken.
      nodata: the value of pixels that hold no data, which are ignored; by default what the files say, as GeoTIFFs do.
        In images of floats NaN always means this.
    """

    max_pixels: PixelLimit = MAX_PIXELS
    orientation: Orientation = "upright"
    nodata: float | None = pydantic.Field(None, title="VALUE")

    def read_class_ids(self, path: str, meaning: Meaning | LabelMap) -> np.ndarray:
        """Reads the mask at a path: [height, width] uint8 class ids.

        Args:
          path: of the mask.
          meaning: what its values and colors mean.

        Raises:
          BadImageError: if it cannot be used; says that it is the mask, as inputs go by their images.
        """
        try:
            return class_ids(read_mask(read_bytes(path), self.max_pixels), meaning)
        except BadImageError as error:
            raise BadImageError(f"its mask: {error}") from None

    def read_image(self, content: bytes, ids: np.ndarray, mask: str = "") -> EncodedImage:
        """Reads the image that belongs to a mask.

        Args:
          content: the image's file.
          ids: [height, width], the mask.
          mask: the path of the mask, for messages.

        Raises:
          BadImageError: if it cannot be used.
        """
        return self.read_image_of_size(content, (ids.shape[1], ids.shape[0]), f"the mask {mask}".strip())

    def read_image_of_size(
        self, content: bytes, size: tuple[int, int] | None, whose: str = "the annotation"
    ) -> EncodedImage:
        """Reads an image whose labels say which size it has, or do not say it.

        Args:
          content: the image's file.
          size: width and height in pixels; None if only the image knows, which is then turned upright.
          whose: what says the size, for messages.

        Raises:
          BadImageError: if it cannot be used.
        """
        # What nobody chose is noted as an assumption, which the data set may contradict.
        chosen = self.orientation if "orientation" in self.model_fields_set else None
        return read_image(content, size, self.max_pixels, chosen, self.nodata, whose)


def set_aside_duplicates(sources: list[Source]) -> tuple[list[Source], list[SetAside]]:
    """Keeps the first source of each name; the others are set aside, as are those whose name is not UTF-8."""
    first: dict[str, Source] = {}
    unusable = []
    for source in sources:
        if printable(source.source_id) != source.source_id:
            unusable.append(SetAside(printable(source.image), "its name is not UTF-8; rename it"))
        elif source.source_id in first:
            taken = first[source.source_id].image
            unusable.append(SetAside(source.image, f"duplicate name {source.source_id}: already taken by {taken}"))
        else:
            first[source.source_id] = source
    return list(first.values()), unusable
