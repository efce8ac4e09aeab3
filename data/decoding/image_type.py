"""What the images of a data set have in common: the type of their values, their bands, and what stands for no data.

It is noted of each image, judged once all have been read, and kept in the report of the conversion; the model takes
images of this type alone, since other values would mean something else.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from data.base.errors import UserError
from data.base.files import exists, join, read_bytes
from data.contract import REPORT_FILE
from data.decoding.arrays import NOTED_BANDS, NOTED_NAMES, NOTED_NODATA, NOTED_SLICING, NOTED_TYPE
from data.decoding.notes import Notes
from data.slicing import Slicing

# The key of the report of a conversion.
IMAGE_KEY = "image"
# The key of an earlier release, which scaled images to 8 bits by it.
EARLIER_RANGE_KEY = "intensity_range"


@dataclasses.dataclass(frozen=True)
class ImageType:
    """What all images of a data set are.

    Attributes:
      type: of the values, as NumPy calls it.
      bands: how many; 3 where images of 8 bits are gray and RGB.
      names: of the bands, if they have any.
      nodata: the value that stands for no data; None if none does, and for floats, where it is NaN.
      volume: how volumes were cut into these images, the values of a `data.slicing.Slicing`; None if they were none.
    """

    type: str = "uint8"
    bands: int = 3
    names: tuple[str, ...] = ()
    nodata: float | None = None
    volume: dict[str, Any] | None = None

    @property
    def is_usual(self) -> bool:
        """Whether they are gray or RGB of 8 bits, all of it data."""
        return self.type == "uint8" and self.bands in (1, 3) and self.nodata is None

    def agrees(self, other: ImageType) -> bool:
        """Whether images of both can be learned from together."""
        return (self.is_usual and other.is_usual and self.volume == other.volume) or self == other

    def to_json(self) -> dict[str, Any]:
        """What `of_report` reads; without what there is not."""
        return {name: value for name, value in dataclasses.asdict(self).items() if value not in ((), None)}

    def __str__(self) -> str:
        nodata = "" if self.nodata is None else f", {self.nodata:g} for no data"
        names = f" ({', '.join(self.names)})" if self.names else ""
        cut = f", {Slicing(**self.volume)}" if self.volume else ""
        return f"{self.bands} band{'' if self.bands == 1 else 's'}{names} of {self.type}{nodata}{cut}"


def of_report(report: dict[str, Any]) -> ImageType:
    """What the report of a conversion says; earlier releases made everything gray or RGB of 8 bits."""
    found = report.get(IMAGE_KEY, {})
    return ImageType(**{**found, "names": tuple(found.get("names", ()))})


def read_image_type(folder: str) -> ImageType | None:
    """What images in a folder are; None if no conversion made it.

    Raises:
      UserError: if they have lost bits, so that a model of them would refuse images as they are.
    """
    path = join(folder, REPORT_FILE)
    if not exists(path):
        return None
    report = json.loads(read_bytes(path))
    if EARLIER_RANGE_KEY in report and IMAGE_KEY not in report:
        raise UserError(f"{folder} was converted by an earlier release, which scaled images to 8 bits; convert it anew")
    return of_report(report)


def noted_image_type(notes: Notes) -> ImageType | None:
    """What the images are that were read; None if there was none.

    Raises:
      UserError: if they differ; names one of each kind.
    """
    types = _by_value(notes, NOTED_TYPE)
    if not types:
        return None
    if len(types) > 1:
        first, second = _two(types)
        raise UserError(
            f"{first[1]} has values of {first[0]}, and {second[1]} of {second[0]}. The same value has to mean the same "
            "in all images of a data set; convert them to one type, or leave those of one type out"
        )
    (name,) = types
    bands = _by_value(notes, NOTED_BANDS)
    if len(bands) > 1 and not (name == "uint8" and bands.keys() <= {"1", "3"}):
        first, second = _two(bands)
        raise UserError(
            f"{first[1]} has {_bands(first[0])}, and {second[1]} has {_bands(second[0])}. All images of a data set "
            "need the same bands in the same order; leave out files or bands"
        )
    names = _by_value(notes, NOTED_NAMES)
    if len(names) > 1:
        first, second = _two(names)
        raise UserError(
            f"the bands of {first[1]} are {_listed(first[0])}, those of {second[1]} are {_listed(second[0])}. All "
            "images of a data set need the same bands in the same order"
        )
    values = _by_value(notes, NOTED_NODATA)
    if len(values) > 1:
        first, second = _two(values)
        known = next(value for value in values if value != "none")
        raise UserError(
            f"{first[1]} says {_nodata(first[0])}, and {second[1]} says {_nodata(second[0])}. All images of a data "
            f"set need the same; --nodata {known} takes that value in all of them"
        )
    cuts = _by_value(notes, NOTED_SLICING)
    value = next(iter(values), "none")
    return ImageType(
        name,
        max(map(int, bands)),
        tuple(json.loads(next(iter(names)))) if names else (),
        None if value == "none" else int(value),
        json.loads(next(iter(cuts))) if cuts else None,
    )


def _by_value(notes: Notes, kind: str) -> dict[str, str]:
    """What was noted, with the first input of each, most frequent first."""
    found = sorted((-count, key) for key, count in notes.counts.items() if key.startswith(kind))
    return {key.removeprefix(kind): notes.first[key] for _, key in found}


def _two(found: dict[str, str]) -> list[tuple[str, str]]:
    return list(found.items())[:2]


def _bands(count: str) -> str:
    return f"{count} band{'' if count == '1' else 's'}"


def _listed(names: str) -> str:
    return ", ".join(json.loads(names))


def _nodata(value: str) -> str:
    return "nothing of a value for no data" if value == "none" else f"that {value} stands for no data"


def check_beside(found: ImageType | None, beside: ImageType | None, folder: str) -> None:
    """Raises a UserError if images are added to data of another type."""
    if found and beside and not found.agrees(beside):
        raise UserError(
            f"the images have {found}, and those in {folder} have {beside}. Spans that are trained on together need "
            "images of the same type and bands"
        )


def remarks(found: ImageType) -> list[str]:
    """What the user should know about the values of the images."""
    return [] if found.is_usual else [f"images: {found}"]
