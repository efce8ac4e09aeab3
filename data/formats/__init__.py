"""One reader per dataset format: what examples there are, and how one of them is read."""

from __future__ import annotations

import dataclasses
from typing import Protocol

import numpy as np

from data.images import EncodedImage
from data.label_map import LabelMap


@dataclasses.dataclass(frozen=True)
class Source:
    """An example to be: listed, not yet read.

    Attributes:
      source_id: stable name, unique in the data set.
      split: `train`, `eval` or `test`.
      image: path of the image, or what the reader needs to find it.
      mask: path of the mask, likewise.
      slice: group to report separately, or an empty string.
    """

    source_id: str
    split: str
    image: str
    mask: str
    slice: str = ""


@dataclasses.dataclass(frozen=True)
class SetAside:
    """An input that was left out, and why."""

    input: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Listing:
    """What a reader found: examples to read, and inputs that are out before anything was read.

    Attributes:
      sources: the examples.
      set_aside: inputs that should have been examples; they count against the limit.
      ignored: inputs that the data set itself does not list.
    """

    sources: list[Source]
    set_aside: list[SetAside] = dataclasses.field(default_factory=list)
    ignored: list[SetAside] = dataclasses.field(default_factory=list)


class Reader(Protocol):
    """A dataset format. Readers travel to Beam workers, so they hold paths and settings only."""

    @property
    def label_map(self) -> LabelMap:
        """The classes of the data set."""

    def list(self) -> Listing:
        """All examples of the data set, without opening an image.

        Raises:
          UserError: if the folder is not a data set of this format.
        """

    def read(self, source: Source) -> tuple[EncodedImage, np.ndarray]:
        """One image and its mask: [height, width] uint8 class ids, 255 for "ignore".

        Raises:
          BadImageError: if the pair cannot be used; the message is the reason.
        """


def set_aside_duplicates(sources: list[Source]) -> tuple[list[Source], list[SetAside]]:
    """Keeps the first source of each name; the others are set aside."""
    first: dict[str, Source] = {}
    duplicates = []
    for source in sources:
        if source.source_id in first:
            taken = first[source.source_id].image
            duplicates.append(SetAside(source.image, f"duplicate name {source.source_id}: already taken by {taken}"))
        else:
            first[source.source_id] = source
    return list(first.values()), duplicates
