"""What the user should know about what was read and how, beside the numbers in the report of a conversion."""

from __future__ import annotations

from typing import Any

from data.annotations.classes import ClassOptions
from data.decoding import intensity, orientation
from data.decoding.notes import Notes
from data.formats import Reader

_MOST_NAMES = 10


def remarks(report: dict[str, Any], reader: Reader) -> list[str]:
    """What the user should know, in a line each.

    Args:
      report: as `data.convert.convert` returns it.
      reader: with which it was read.
    """
    notes = Notes.from_json(report["notes"])
    absent = _absent(report)
    scaled = intensity.remarks(notes, report.get(intensity.RANGE_KEY))
    return [*([_never(absent, reader)] if absent else []), *orientation.remarks(notes), *scaled]


def _absent(report: dict[str, Any]) -> list[str]:
    """Classes that hardly a pixel has."""
    shares = [split["pixel_shares"] for split in report["splits"].values()]
    return [name for name in (shares[0] if shares else ()) if not any(share[name] for share in shares)]


def _never(absent: list[str], reader: Reader) -> str:
    others = f" and {len(absent) - _MOST_NAMES} others" if len(absent) > _MOST_NAMES else ""
    found = f"fewer than one in a million pixels are of {', '.join(absent[:_MOST_NAMES])}{others}, probably none"
    if isinstance(reader, ClassOptions):
        return f"{found}. A run needs each class in train: --classes names those to learn, and leaves out the others"
    return (
        f"{found}: if it should be there, say in a labels.yaml, with value:, which values of the masks are which "
        "class. A run needs each class in train"
    )
