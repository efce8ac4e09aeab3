"""What is this folder? Its format, its classes, and why."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Mapping
from typing import Any

import pydantic

from data.base.errors import UserError
from data.base.files import is_remote, list_names
from data.consistency import check_consistency
from data.contract import LABEL_MAP_FILE, SPLITS
from data.decoding.notes import Notes, collecting
from data.formats import FORMATS, Listing, Reader, Recognition, Source
from data.formats.base.reader import MAX_PIXELS, reasons_of
from data.input_files import find_input_files
from data.inspection.class_names import find_name_files
from data.inspection.classes import propose_classes
from data.inspection.mask_values import MaskValues, look_at_mask
from data.inspection.sample import Pair, Sample, look_at_all, look_at_pair, most_common, spread
from data.inspection.which_format import check_options, which_format
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
    """What a folder of images and their labels is taken for.

    Attributes:
      folder: the folder.
      format: the name of its format.
      reader: which reads it so.
      options: the format's options, those that the user gave included, beside the label map.
      labels: the classes, if they were found in the masks and are an option of the format; None if it knows them.
      reasons: why it is taken for this.
      assumptions: what the files do not say, and was decided all the same.
      listing: what is in it.
    """

    folder: str
    format: str
    reader: Reader
    options: dict[str, Any]
    labels: MaskLabels | None
    reasons: tuple[str, ...]
    assumptions: tuple[str, ...]
    listing: Listing

    @functools.cached_property
    def label_map(self) -> LabelMap:
        """The classes as they will be stored."""
        return self.reader.label_map

    def count(self, split: str) -> int:
        """How many examples a split has."""
        return sum(source.split == split for source in self.listing.sources)


def recognize(
    folder: str,
    progress: Progress = _silent,
    given: Mapping[str, Any] | None = None,
    chosen: tuple[str, type[Reader]] | None = None,
    is_addition: bool = False,
) -> Recognized:
    """Looks at a folder, and at a sample of the masks in it if nothing else says what the classes are.

    Args:
      folder: of images and their labels, on this machine or wherever Beam's file systems reach.
      progress: called with what is done, how many files of how many.
      given: options of the format, which are taken as they are.
      chosen: name and reader of the format, if the user said it.
      is_addition: it will be trained on together with others, so shares of the splits stay, and splits may be empty.

    Raises:
      UserError: if it is no data set that segpipe can read, or one whose masks have no clear meaning; says what was
        found and what to do.
      pydantic.ValidationError: if a given option cannot be read.
    """
    given = given or {}
    files = [file.path for file in walk(folder).files]
    if not files:
        is_there = os.path.isdir(folder) or is_remote(folder)
        raise UserError(f"{folder} is empty" if is_there else f"{folder} is not a folder")
    start = len(folder.rstrip("/")) + 1
    name, kind, recognition = _format(folder, [file[start:] for file in files], given, chosen)
    needs_labels = recognition.needs_labels and not {"labels", "classes"} & set(given)
    labels = {"labels": _ANY_LABELS} if needs_labels else {}
    settings = {"folder": folder, **recognition.options, **given, **labels}
    reader, options, listing, assumptions = _listed(kind, settings, given, is_addition)
    options = {key: value for key, value in options.items() if key != "folder" and key not in labels}
    recognized = Recognized(
        folder, name, reader, options, None, recognition.reasons, (*recognition.assumptions, *assumptions), listing
    )
    if not needs_labels:
        return recognized
    masks = sorted({source.mask for source in listing.sources})
    values = _values(reader, masks, progress)
    proposal = propose_classes(values, find_name_files(files), MAX_PIXELS)
    read = f"all {len(masks)}"
    unread: tuple[str, ...] = ()
    if len(values.looks) < len(masks):
        read = f"{len(values.looks)} of {len(masks)}"
        unread = ("the other masks hold no other values; segpipe convert says so if they do",)
    options = {**options, **proposal.options, **given}
    return dataclasses.replace(
        recognized,
        reader=kind.model_validate({"folder": folder, **options, "labels": proposal.labels}),
        options=options,
        labels=proposal.labels,
        reasons=(*recognized.reasons, f"{proposal.reasons[0]} (in {read} masks)", *proposal.reasons[1:]),
        assumptions=(*recognized.assumptions, *proposal.assumptions, *unread),
    )


def _format(
    folder: str, files: list[str], given: Mapping[str, Any], chosen: tuple[str, type[Reader]] | None
) -> tuple[str, type[Reader], Recognition]:
    """The format's name and reader, and how the folder is read."""
    if chosen is not None:
        name, kind = chosen
        recognition = kind.recognize(folder, files)
        if recognition is None:
            recognition = Recognition(("as you say",), needs_labels=_needs_labels(kind, folder, given))
        return name, kind, recognition
    name, recognition = which_format(folder, files)
    check_options(name, FORMATS[name], given, folder)
    return name, FORMATS[name], recognition


def _needs_labels(kind: type[Reader], folder: str, given: Mapping[str, Any]) -> bool:
    """Whether a format has an option for the classes, and does not find them otherwise."""
    if "labels" not in kind.model_fields:
        return False
    try:
        _ = kind.model_validate({"folder": folder, **given}).label_map
    except (UserError, pydantic.ValidationError):
        return True
    return False


def _listed(
    kind: type[Reader], settings: dict[str, Any], given: Mapping[str, Any], is_addition: bool
) -> tuple[Reader, dict[str, Any], Listing, tuple[str, ...]]:
    """A reader, its options, what it lists, and what was assumed: options that leave no split empty, unless given."""
    reader = kind.model_validate(settings)
    listing = reader.listing()
    if is_addition:
        listing.check_any()
        return reader, settings, listing, ()
    counts = {split: sum(source.split == split for source in listing.sources) for split in SPLITS}
    empty = [split for split, count in counts.items() if not count]
    few = [split for split, count in counts.items() if count < _FEWEST_IN_SPLIT * len(listing.sources)]
    if (empty or few) and "split" not in given:
        for filling in reader.fillings(listing.sources):
            # Folders of splits that are all there stay as they are.
            if not empty and (filling.keys() != {"split"} or len(filling["split"]) < len(SPLITS)):
                break
            if filling.keys() & given.keys():
                continue
            filling = {**filling, "split": share_text(filling["split"])}
            other = kind.model_validate({**settings, **filling})
            dealt = other.listing()
            is_filled = {source.split for source in dealt.sources} == set(SPLITS)
            # Of few images a small share may be one, and nothing has to be assumed.
            if is_filled and [one.split for one in dealt.sources] != [one.split for one in listing.sources]:
                has = "no image" if empty else "hardly an image"
                options = " ".join(f"--{name.replace('_', '-')} {value}" for name, value in filling.items())
                why = f"{' and '.join(empty or few)} would have {has} with the usual shares; {options} fills all splits"
                return other, {**settings, **filling}, dealt, (why,)
    listing.check_any()
    if not empty:
        return reader, settings, listing, ()
    found = ", ".join(f"{split} {count}" for split, count in counts.items())
    reasons = reasons_of(listing.set_aside)
    lost = f"\nImages that cannot be used ({len(listing.set_aside)}):{reasons}" if reasons else ""
    raise UserError(f"{' and '.join(empty)} would be empty ({found}): {reader.fill_splits(listing.sources)}{lost}")


def look(recognized: Recognized, progress: Progress = _silent) -> Sample:
    """Reads a sample of a data set as the conversion will read it.

    Raises:
      UserError: if most of it cannot be read that way, or files contradict each other.
    """
    reader, sources = recognized.reader, recognized.listing.sources
    pairs, unusable, notes = _look(reader, sources, progress)
    if len(unusable) > len(pairs):
        path, reason, count = most_common(unusable)[0]
        raise UserError(
            f"{len(unusable)} of {len(pairs) + len(unusable)} pairs that were read cannot be used; {count} of them "
            f"like {path}: {reason}"
        )
    check_consistency(notes)
    return Sample(pairs, unusable)


def _look(reader: Reader, sources: list[Source], progress: Progress) -> tuple[list[Pair], list[tuple[str, str]], Notes]:
    """What was seen, what cannot be used, and what was noticed on the way."""
    notes = Notes()

    def read(source: Source) -> Pair:
        with collecting(source.image, source.mask) as noted:
            labeled = reader.read(source)
            pair = look_at_pair(labeled.image, labeled.class_ids, labeled.instances)
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


def _values(reader: Reader, masks: list[str], progress: Progress) -> MaskValues:
    looks, unreadable = look_at_all(
        spread(masks, _MOST_MASKS),
        lambda path: look_at_mask(path, reader.read_mask(path, MAX_PIXELS)),
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
    return MaskValues(sorted(looks, key=lambda look: look.path), unreadable)
