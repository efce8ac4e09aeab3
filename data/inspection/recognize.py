"""What is this folder? Its format, its classes, and why."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
from collections.abc import Callable
from typing import Any

from data.base.errors import UserError
from data.base.files import is_remote, list_names
from data.consistency import check_consistency
from data.contract import LABEL_MAP_FILE, SPLITS
from data.decoding import intensity
from data.decoding.errors import UnknownRangeError
from data.decoding.notes import Notes, collecting
from data.formats import FORMATS, Listing, Reader, Recognition, Source
from data.formats.reader import MAX_PIXELS
from data.input_files import find_input_files
from data.inspection.class_names import find_name_files
from data.inspection.classes import propose_classes
from data.inspection.mask_values import MaskValues, look_at_mask
from data.inspection.sample import Pair, Sample, look_at_all, look_at_pair, most_common, spread
from data.label_map import LabelMap
from data.label_map_files import MaskLabels
from data.listing.walking import walk
from data.splits import share_text

# Of many files as many are read as takes seconds. A rare value in a mask that was not read would be missed.
_MOST_MASKS, _MOST_MASK_PIXELS = 5000, 1_000_000_000
_MOST_PAIRS, _MOST_PAIR_PIXELS = 300, 300_000_000
# What is measured on fewer is chance.
_FEWEST_IN_SPLIT = 0.05
# Classes do not matter to a listing.
_ANY_LABELS = LabelMap.from_names(["a", "b"])

Progress = Callable[[str, int, int], None]


def _silent(what: str, done: int, total: int) -> None:
    pass


@dataclasses.dataclass(frozen=True)
class Recognized:
    """What a folder of images and masks is taken for.

    Attributes:
      folder: the folder.
      format: the name of its format, in `data.formats.FORMATS`.
      options: the format's options, beside the label map.
      labels: the classes, which are an option of the format; None if it knows them.
      reasons: why it is taken for this.
      assumptions: what the files do not say, and was decided all the same.
      listing: what is in it.
    """

    folder: str
    format: str
    options: dict[str, Any]
    labels: MaskLabels | None
    reasons: tuple[str, ...]
    assumptions: tuple[str, ...]
    listing: Listing

    def reader(self) -> Reader:
        """The reader of the data set."""
        labels = {} if self.labels is None else {"labels": self.labels}
        return FORMATS[self.format].model_validate({"folder": self.folder, **self.options, **labels})

    @functools.cached_property
    def label_map(self) -> LabelMap:
        """The classes as they will be stored."""
        return self.reader().label_map

    def count(self, split: str) -> int:
        """How many examples a split has."""
        return sum(source.split == split for source in self.listing.sources)


def recognize(folder: str, progress: Progress = _silent) -> Recognized:
    """Looks at a folder, and at a sample of the masks in it.

    Args:
      folder: of images and masks, on this machine or wherever Beam's file systems reach.
      progress: called with what is done, how many files of how many.

    Raises:
      UserError: if it is no data set that segpipe can read, or one whose masks have no clear meaning; says what was
        found and what to do.
    """
    files = [file.path for file in walk(folder).files]
    if not files:
        is_there = os.path.isdir(folder) or is_remote(folder)
        raise UserError(f"{folder} is empty" if is_there else f"{folder} is not a folder")
    start = len(folder.rstrip("/")) + 1
    name, recognition = _format(folder, [file[start:] for file in files])
    labels = {"labels": _ANY_LABELS} if recognition.needs_labels else {}
    options, listing, assumptions = _listed(name, {"folder": folder, **recognition.options, **labels})
    options = {key: value for key, value in options.items() if key not in ("folder", "labels")}
    recognized = Recognized(
        folder, name, options, None, recognition.reasons, (*recognition.assumptions, *assumptions), listing
    )
    if not recognition.needs_labels:
        return recognized
    masks = sorted({source.mask for source in listing.sources})
    values = _values(masks, progress)
    proposal = propose_classes(values, find_name_files(files), MAX_PIXELS)
    read = f"all {len(masks)}"
    unread: tuple[str, ...] = ()
    if len(values.looks) < len(masks):
        read = f"{len(values.looks)} of {len(masks)}"
        unread = ("the other masks hold no other values; segpipe convert says so if they do",)
    return dataclasses.replace(
        recognized,
        options={**options, **proposal.options},
        labels=proposal.labels,
        reasons=(*recognized.reasons, f"{proposal.reasons[0]} (in {read} masks)", *proposal.reasons[1:]),
        assumptions=(*recognized.assumptions, *proposal.assumptions, *unread),
    )


def _listed(name: str, settings: dict[str, Any]) -> tuple[dict[str, Any], Listing, tuple[str, ...]]:
    """What a reader lists, with shares of the splits that leave none empty."""
    reader = FORMATS[name].model_validate(settings)
    listing = reader.listing()
    if not listing.sources:
        reasons = "".join(f"\n  {entry.input}: {entry.reason}" for entry in listing.set_aside[:5])
        raise UserError(f"no pair of image and mask was found{reasons}")
    counts = {split: sum(source.split == split for source in listing.sources) for split in SPLITS}
    empty = [split for split, count in counts.items() if not count]
    few = [split for split, count in counts.items() if count < _FEWEST_IN_SPLIT * len(listing.sources)]
    if not few:
        return settings, listing, ()
    with contextlib.suppress(ValueError):
        shares = reader.working_split(listing.sources)
        # Folders of splits that are all there stay as they are.
        if shares and (empty or len(shares) == len(SPLITS)):
            settings = {**settings, "split": share_text(shares)}
            has = "no image" if empty else "hardly an image"
            why = (
                f"{' and '.join(empty or few)} would have {has} with the usual shares; {settings['split']} fills all "
                "splits"
            )
            return settings, FORMATS[name].model_validate(settings).listing(), (why,)
    if not empty:
        return settings, listing, ()
    found = ", ".join(f"{split} {count}" for split, count in counts.items())
    raise UserError(f"{' and '.join(empty)} would be empty ({found}): {reader.fill_splits(listing.sources)}")


def look(recognized: Recognized, progress: Progress = _silent) -> Sample:
    """Reads a sample of a data set as the conversion will read it.

    Raises:
      UserError: if most of it cannot be read that way, or files contradict each other.
    """
    reader, sources = recognized.reader(), recognized.listing.sources
    pairs, unusable, notes = _look(reader, sources, progress)
    if intensity.DEEP in notes.counts and getattr(reader, intensity.RANGE_KEY, ()) is None:
        # The conversion takes the range of all images.
        reader = reader.model_copy(update={intensity.RANGE_KEY: intensity.find_range(notes, is_addition=False)})
        pairs, unusable, notes = _look(reader, sources, progress)
    if len(unusable) > len(pairs):
        path, reason, count = most_common(unusable)[0]
        raise UserError(
            f"{len(unusable)} of {len(pairs) + len(unusable)} pairs that were read cannot be used; {count} of them "
            f"like {path}: {reason}"
        )
    check_consistency(notes)
    return Sample(pairs, unusable, len(recognized.label_map))


def _look(reader: Reader, sources: list[Source], progress: Progress) -> tuple[list[Pair], list[tuple[str, str]], Notes]:
    """What was seen, what cannot be used, and what was noticed on the way."""
    notes = Notes()

    def read(source: Source) -> Pair:
        with collecting(source.image, source.mask) as noted:
            try:
                labeled = reader.read(source)
                pair = look_at_pair(labeled.image, labeled.class_ids)
            except UnknownRangeError:
                notes.add(noted)
                raise
        notes.add(noted)
        return pair

    pairs, unusable = look_at_all(
        spread(sources, _MOST_PAIRS),
        read,
        lambda source: source.image,
        lambda pair: pair.height * pair.width,
        _MOST_PAIR_PIXELS,
        lambda done, total: progress("pairs", done, total),
    )
    return pairs, unusable, notes


def is_tfrecords(folder: str) -> bool:
    """Whether a folder holds what a run takes: TFRecords of each split, and a label map."""
    names = list_names(folder)
    return LABEL_MAP_FILE in names and all(find_input_files(folder).of_split[split] for split in SPLITS)


def _is_records(name: str, split: str) -> bool:
    return name.startswith(split) and (".tfrecord" in name or "-of-" in name)


def _format(folder: str, files: list[str]) -> tuple[str, Recognition]:
    for name, reader in FORMATS.items():
        if recognition := reader.recognize(folder, files):
            return name, recognition
    if any(_is_records(file, split) for file in files for split in SPLITS):
        raise UserError(
            f"{folder} holds TFRecords, but not all that a run takes: files train*, eval* and test*, and a "
            f"{LABEL_MAP_FILE} with a line such as {{id: 0, name: road, color: [128, 64, 128]}} for each class"
        )
    outlines = next((file for file in files if file.endswith(".json")), "")
    hint = ""
    if outlines:
        hint = (
            f". If {outlines} holds outlines of objects, as COCO's annotations do, draw them as masks first, such as "
            "with annToMask of the package pycocotools"
        )
    raise UserError(
        f"{folder} is not recognized: {_summary(files)}{hint}. What is: folders images/ and masks/, whatever they are "
        "called, with files of the same names, or with names that differ in a suffix such as _mask; or images and "
        "masks side by side with such a suffix. `segpipe convert --help` lists the formats, and docs/extending.md says "
        "how to add one"
    )


def _summary(files: list[str]) -> str:
    """What is in a folder, in a few words."""
    kinds: dict[tuple[str, str], int] = {}
    for file in files:
        folder, _, name = file.rpartition("/")
        kind = os.path.splitext(name)[1].lower() or "files without extension"
        kinds[folder, kind] = kinds.get((folder, kind), 0) + 1
    most = sorted(kinds.items(), key=lambda item: -item[1])[:4]
    listed = ", ".join(f"{count} {kind} in {folder or 'the folder itself'}" for (folder, kind), count in most)
    return f"it holds {listed}" + (" and others" if len(kinds) > len(most) else "")


def _values(masks: list[str], progress: Progress) -> MaskValues:
    looks, unreadable = look_at_all(
        spread(masks, _MOST_MASKS),
        lambda path: look_at_mask(path, MAX_PIXELS),
        lambda path: path,
        lambda look: look.size[0] * look.size[1],
        _MOST_MASK_PIXELS,
        lambda done, total: progress("masks", done, total),
    )
    if len(unreadable) > len(looks):
        path, reason, count = most_common(unreadable)[0]
        raise UserError(
            f"{len(unreadable)} of {len(looks) + len(unreadable)} masks cannot be read; {count} of them like {path}: "
            f"{reason}"
        )
    return MaskValues(sorted(looks, key=lambda look: look.path))
