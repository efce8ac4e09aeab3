"""What people should know about a conversion: what is probably not meant, with the remedy, and how files were read."""

from __future__ import annotations

import collections
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from data.contract import SPLITS
from data.decoding import image_type, orientation, tiff
from data.decoding.notes import Notes
from data.formats import Reader, Source, object_masks
from data.masks.consistency import GRAY_DOUBTFUL, GRAY_ONLY_VALUES

_SHOWN = 10
# Of the pixels; with more, it is the rule that a pixel is ignored.
_MOST_IGNORED = 0.5


def warnings(
    reader: Reader, sources: Iterable[Source], pixels: Mapping[str, int], ignored: int, notes: Notes
) -> list[str]:
    """What is probably not meant, in a line each, with the remedy.

    Args:
      reader: of the data set.
      sources: the examples that were written.
      pixels: how many are of each class, by its name.
      ignored: how many are ignored.
      notes: what was noticed.
    """
    by_values = ""
    if GRAY_ONLY_VALUES in notes.counts or GRAY_DOUBTFUL in notes.counts:
        by_values = (
            ". Gray masks were read by their values, and not by the colors of --labels; --masks-hold colors reads them "
            "by these"
        )
    found = []
    if absent := [name for name, count in pixels.items() if not count]:
        found.append(
            f"no pixel is of {listed(absent)}: {reader.on_missing_class}{by_values}. A run needs each class in train"
        )
    share = ignored / max(1, ignored + sum(pixels.values()))
    if share >= _MOST_IGNORED:
        found.append(
            f"{share:.0%} of the pixels are ignored, so they are neither trained on nor counted: "
            f"{reader.on_ignored}{by_values}"
        )
    return [*found, *_dealt_anew(reader, sources)]


def _dealt_anew(reader: Reader, sources: Iterable[Source]) -> list[str]:
    """What --split has done to the splits that the data set states, if it has."""
    shares = getattr(reader, "split", None)
    if not isinstance(shares, Mapping):  # Not every format deals by shares.
        return []
    dealt: dict[str, collections.Counter[str]] = {}
    for source in sources:
        if source.stated_split in shares:
            dealt.setdefault(source.stated_split, collections.Counter())[source.split] += 1
    # To divide train is what --split is for where the data set lacks a split, and nothing is lost by it.
    if not dealt.keys() - {"train"}:
        return []
    what = "; ".join(
        f"of {dealt[stated].total()} images in {stated}, "
        + ", ".join(f"{dealt[stated][split]} are now in {split}" for split in SPLITS if dealt[stated][split])
        for stated in SPLITS
        if stated in dealt
    )
    remedy = "without --split, the splits of the data set stay"
    if "test" in dealt:
        remedy = (
            "figures on this test split cannot be compared with those on the data set's own. Without --split, its "
            "splits stay; --split train=0.9,eval=0.1 divides what it has of these two, and leaves its test as it is"
        )
    return [f"--split deals anew what the data set itself has divided: {what}; {remedy}"]


def remarks(report: dict[str, Any]) -> list[str]:
    """What the user should know about what was read and how, in a line each.

    Args:
      report: as `data.convert.convert` returns it.
    """
    notes = Notes.from_json(report["notes"])
    of_images = image_type.remarks(image_type.of_report(report))
    return [*orientation.remarks(notes), *tiff.remarks(notes), *of_images, *object_masks.remarks(notes)]


def listed(names: Sequence[str]) -> str:
    """The names, or the first of very many."""
    return ", ".join(names if len(names) <= _SHOWN else [*names[:_SHOWN], f"… and {len(names) - _SHOWN} others"])
