"""What about a data set is doubtful, before anything is trained on it."""

from __future__ import annotations

import collections
import dataclasses
import os
import re
from collections.abc import Iterable, Iterator

import numpy as np

from data.base.errors import UserError
from data.consistency import check_consistency
from data.contract import SPLITS
from data.decoding import image_type, orientation
from data.formats import SetAside, Source
from data.inspection.survey.measures import SPECK_PIXELS
from data.inspection.survey.survey import Named, Survey
from data.masks.consistency import proposal
from data.near_duplicates import near_pairs

# `segpipe convert` refuses a data set of which more cannot be used, unless it is told otherwise.
_MOST_SET_ASIDE = 0.05
# Of a class of which less lies inside, nearly all pixels are at an edge.
_LEAST_INNER = 0.02
_SHOWN_PAIRS = 8
_SHOWN_NAMES = 5


@dataclasses.dataclass(frozen=True)
class Doubt:
    """Something to look at.

    Attributes:
      title: what it is, in a few words.
      text: what was found, what it may mean, and the remedy.
      stops: whether the conversion or a run would refuse the data because of it.
      names: the first inputs that it is about.
      pairs: the first pairs of images that it is about.
    """

    title: str
    text: str
    stops: bool = False
    names: tuple[str, ...] = ()
    pairs: tuple[tuple[Source, Source], ...] = ()


@dataclasses.dataclass(frozen=True)
class Reason:
    """Why inputs were set aside: the words of the first, how many there are, and the first names."""

    text: str
    found: Named


def reasons(set_aside: Iterable[SetAside]) -> list[Reason]:
    """Inputs by reason, the most frequent first; reasons that differ in names and numbers only are one."""
    found: dict[str, Reason] = {}
    for entry in set_aside:
        stem = os.path.splitext(os.path.basename(entry.input))[0]
        words = entry.reason.replace(stem, "…") if stem else entry.reason
        kind = re.sub(r"\d+", "N", re.sub(r"\S*/\S*", "…", words))
        found.setdefault(kind, Reason(entry.reason, Named())).found.add(entry.input)
    return sorted(found.values(), key=lambda reason: -reason.found.count)


def count(number: int, noun: str, nouns: str = "") -> str:
    """A number with its noun: `1 image`, `2,000 images`."""
    return f"{number:,} {noun if number == 1 else nouns or noun + 's'}"


def find_doubts(survey: Survey) -> list[Doubt]:
    """All doubts about a data set; those that would stop the conversion or a run come first."""
    doubts = [
        *_contradictions(survey),
        *_set_aside(survey),
        *_splits(survey),
        *_classes(survey),
        *_groups(survey),
        *_duplicates(survey),
        *_masks(survey),
        *_noticed(survey),
    ]
    return sorted(doubts, key=lambda doubt: not doubt.stops)


def _contradictions(survey: Survey) -> Iterator[Doubt]:
    try:
        check_consistency(survey.notes)
    except UserError as error:
        yield Doubt("The files contradict each other", str(error), stops=True)


def _set_aside(survey: Survey) -> Iterator[Doubt]:
    bad, total = len(survey.set_aside), len(survey.set_aside) + survey.images
    if bad > _MOST_SET_ASIDE * total:
        yield Doubt(
            "Many inputs cannot be used",
            f"{bad:,} of {total:,} inputs ({bad / total:.1%}) cannot be used, for the reasons below; the conversion "
            f"refuses more than {_MOST_SET_ASIDE:.0%}, or what --max-set-aside says."
            + proposal(survey.notes, survey.label_map),
            stops=True,
        )


def _splits(survey: Survey) -> Iterator[Doubt]:
    empty = [split for split, counts in survey.splits.items() if not counts.images]
    if empty:
        yield Doubt(
            "A split is empty",
            f"{' and '.join(empty)} would have no image: {survey.fill_splits}.",
            stops=True,
        )
    for split, counts in survey.splits.items():
        if counts.images and not counts.pixels.any():
            yield Doubt(
                f"{split} has no labels",
                f"All pixels of all {count(counts.images, 'image')} in {split} are ignored: nothing can be learned or "
                "measured there. The ids of the masks are probably not those of the label map.",
                stops=True,
            )
    for index, name in enumerate(survey.label_map.names):
        absent = [split for split, counts in survey.splits.items() if counts.images and not counts.pixels[index]]
        if len(absent) == sum(counts.images > 0 for counts in survey.splits.values()):
            yield Doubt(
                f"{name} never occurs",
                f"No pixel is of the class {name} (id {index}); leave it out, with --classes where annotations name "
                "classes and otherwise in the label map, or look whether the ids of masks are those of the label map.",
                stops=True,
            )
        elif absent:
            found = ", ".join(f"{counts.with_class[index]:,} in {split}" for split, counts in survey.splits.items())
            consequence = "cannot be learned" if "train" in absent else "is not measured there"
            yield Doubt(
                f"{name} does not occur in {' and '.join(absent)}",
                f"Images with {name}: {found}. The class {consequence}; add images, or divide them otherwise.",
            )


def _classes(survey: Survey) -> Iterator[Doubt]:
    pixels = sum((counts.pixels for counts in survey.splits.values()), np.zeros(len(survey.label_map), np.int64))
    for index, name in enumerate(survey.label_map.names):
        if pixels[index] and survey.inner[index] < _LEAST_INNER * pixels[index]:
            share = 1 - survey.inner[index] / pixels[index]
            yield Doubt(
                f"{name} lies along edges only",
                f"{share:.1%} of the pixels of {name} touch another class. Masks that were resized, smoothed or stored "
                "as JPEG look like this; thin lines do too. Look at the pictures of the class.",
                names=tuple(candidate.source.image for candidate in sorted(survey.candidates[index], reverse=True)[:5]),
            )


def _groups(survey: Survey) -> Iterator[Doubt]:
    torn = {group: splits for group, splits in survey.groups.items() if len(splits) > 1}
    if torn:
        first, splits = min(torn.items())
        found = ", ".join(f"{splits[split]} in {split}" for split in SPLITS if splits[split])
        yield Doubt(
            "Groups are in several splits",
            f"{count(len(torn), 'group')} of {len(survey.groups):,} {'is' if len(torn) == 1 else 'are'} in more than "
            f"one split, such as {first} ({found}): what is measured is then partly what was learned by heart. Give "
            "the conversion shares with --split and the groups with --group-by, so that each is in one.",
            stops=True,
            names=tuple(sorted(torn)[:_SHOWN_NAMES]),
        )


def _duplicates(survey: Survey) -> Iterator[Doubt]:
    split_of = [SPLITS.index(source.split) for _, source in survey.fingerprints]
    across = _alike(survey.fingerprints, split_of)
    within = [
        pair for split in SPLITS for pair in _alike([item for item in survey.fingerprints if item[1].split == split])
    ]
    if across:
        kinds = collections.Counter(f"{one.split}/{other.split}" for one, other in across)
        found = ", ".join(f"{number:,} {kind}" for kind, number in kinds.most_common())
        yield Doubt(
            "Near-duplicates across splits",
            f"{count(len(across), 'pair')} of images in different splits look alike ({found}). If they show the "
            "same thing, what is measured is partly what was learned by heart: keep them together with --group-by.",
            pairs=tuple(across[:_SHOWN_PAIRS]),
        )
    if within:
        yield Doubt(
            "Near-duplicates within a split",
            f"{count(len(within), 'pair')} of images of the same split look alike; what they show counts twice.",
            pairs=tuple(within[:_SHOWN_PAIRS]),
        )


def _alike(fingerprints: list[tuple[int, Source]], parts: list[int] | None = None) -> list[tuple[Source, Source]]:
    """Pairs of images that look alike, in the order of the splits; 100,000 at most, those that differ least first."""
    pairs = []
    for first, second, _ in near_pairs([fingerprint for fingerprint, _ in fingerprints], parts=parts).tolist():
        one, other = sorted(
            (fingerprints[first][1], fingerprints[second][1]), key=lambda source: SPLITS.index(source.split)
        )
        pairs.append((one, other))
    return pairs


def _masks(survey: Survey) -> Iterator[Doubt]:
    if survey.unlabeled.count:
        yield Doubt(
            "Masks without a label",
            f"In {count(survey.unlabeled.count, 'mask')} all pixels are ignored; nothing is learned from these images.",
            names=tuple(survey.unlabeled.names),
        )
    for index, found in sorted(survey.single.items()):
        name = survey.label_map.names[index]
        yield Doubt(
            f"Masks of {name} alone",
            f"{count(found.count, 'mask')} of {survey.images:,} {'has' if found.count == 1 else 'have'} no other class "
            f"than {name}. That may be meant; if not, annotations are missing.",
            names=tuple(found.names[:_SHOWN_NAMES]),
        )
    if survey.blank.count:
        yield Doubt(
            "Images of one color",
            f"{count(survey.blank.count, 'image')} {'has' if survey.blank.count == 1 else 'have'} the same value "
            "everywhere.",
            names=tuple(survey.blank.names[:_SHOWN_NAMES]),
        )
    if survey.specked.count:
        names = survey.label_map.names
        most = [(names[index], survey.specks[index]) for index in np.argsort(-survey.specks, kind="stable")]
        by_class = ", ".join(f"{name} {number:,}" for name, number in most[:6] if number)
        yield Doubt(
            "Specks",
            f"{count(survey.specked.count, 'mask')} of {survey.images:,} "
            f"{'has' if survey.specked.count == 1 else 'have'} connected regions of fewer than {SPECK_PIXELS} pixels "
            f"({by_class}): slips of an annotation tool, or masks that were resized or stored as JPEG.",
            names=tuple(survey.specked.names[:_SHOWN_NAMES]),
        )
    if survey.uncounted.count:
        yield Doubt(
            "Objects that were not counted",
            f"{count(survey.uncounted.count, 'mask')} {'is' if survey.uncounted.count == 1 else 'are'} too large to "
            "count connected regions in.",
            names=tuple(survey.uncounted.names[:_SHOWN_NAMES]),
        )


def _noticed(survey: Survey) -> Iterator[Doubt]:
    for text in orientation.remarks(survey.notes):
        yield Doubt("Images that EXIF turns", text)
    for text in image_type.remarks(survey.image_type) if survey.image_type else ():
        yield Doubt("Images of many bits or bands", text)
