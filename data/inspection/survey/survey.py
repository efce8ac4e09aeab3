"""Looks at all inputs, in several processes, and adds up what is measured."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import heapq
from collections.abc import Callable

import numpy as np

from data.base.errors import UserError
from data.contract import SPLITS
from data.decoding.errors import why_unusable
from data.decoding.image_type import ImageType, noted_image_type
from data.decoding.notes import Notes, collecting
from data.formats import SetAside, Source
from data.formats.base.reader import reasons_of
from data.inspection.survey.inputs import Content, Inputs, file_kind
from data.inspection.survey.measures import SIZES, Measures, measure
from data.inspection.survey.processes import Processes
from data.label_map import LabelMap
from data.masks.consistency import SEEN, proposal

# Of each class, the images that show it best.
_CANDIDATES = 24
_NAMES = 10


@dataclasses.dataclass
class Named:
    """How many inputs are of a kind, and the names of the first."""

    count: int = 0
    names: list[str] = dataclasses.field(default_factory=list)

    def add(self, name: str) -> None:
        self.count += 1
        if len(self.names) < _NAMES:
            self.names.append(name)


@dataclasses.dataclass(frozen=True, order=True)
class Candidate:
    """An image for the sample; better ones are greater.

    Attributes:
      score: of the class that it is to show.
      order: the negative of its place among all inputs.
      source: the image.
      shares: of its pixels, by class.
    """

    score: float
    order: int
    source: Source = dataclasses.field(compare=False)
    shares: dict[int, float] = dataclasses.field(compare=False)


@dataclasses.dataclass
class SplitCounts:
    """A split.

    Attributes:
      images: how many.
      ignored: pixels without a class.
      pixels: [C] by class.
      with_class: [C] images.
      objects: [C, SIZES] connected regions by the power of two of their pixels.
    """

    images: int
    ignored: int
    pixels: np.ndarray
    with_class: np.ndarray
    objects: np.ndarray


@dataclasses.dataclass
class Survey:
    """What all inputs hold.

    Attributes:
      origin: what was inspected, as the user named it.
      label_map: the classes.
      splits: by name.
      inner: [C] pixels whose neighbors are all of their class.
      specks: [C] regions of a few pixels.
      sizes: images by width and height.
      kinds: images by how their files are stored.
      values: counts of sampled values of 8 bits, by channel.
      set_aside: inputs that cannot be used.
      ignored: inputs that the data set does not list.
      notes: what was noticed while files were read.
      fill_splits: what to do if a split is empty.
      image_type: what the images are; None if they differ.
      groups: images by group and split.
      fingerprints: of each image that has one, with where it comes from.
      candidates: images that show each class best, as heaps.
      specked: inputs with specks.
      unlabeled: inputs whose pixels are all ignored.
      single: inputs with one class alone, by class.
      blank: inputs whose image has one color alone.
      uncounted: inputs whose mask is too large to count its objects.
    """

    origin: str
    label_map: LabelMap
    splits: dict[str, SplitCounts]
    inner: np.ndarray
    specks: np.ndarray
    set_aside: list[SetAside]
    ignored: list[SetAside]
    notes: Notes
    fill_splits: str
    sizes: collections.Counter[tuple[int, int]] = dataclasses.field(default_factory=collections.Counter)
    kinds: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    values: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    image_type: ImageType | None = None
    groups: dict[str, collections.Counter[str]] = dataclasses.field(default_factory=dict)
    fingerprints: list[tuple[int, Source]] = dataclasses.field(default_factory=list)
    candidates: dict[int, list[Candidate]] = dataclasses.field(default_factory=dict)
    specked: Named = dataclasses.field(default_factory=Named)
    unlabeled: Named = dataclasses.field(default_factory=Named)
    single: dict[int, Named] = dataclasses.field(default_factory=dict)
    blank: Named = dataclasses.field(default_factory=Named)
    uncounted: Named = dataclasses.field(default_factory=Named)

    @classmethod
    def of_nothing(cls, origin: str, inputs: Inputs) -> Survey:
        """A survey to which nothing has been added."""
        count = len(inputs.label_map)
        splits = {
            split: SplitCounts(
                0, 0, np.zeros(count, np.int64), np.zeros(count, np.int64), np.zeros((count, SIZES), np.int64)
            )
            for split in SPLITS
        }
        notes = Notes()
        notes.add(inputs.notes)
        return cls(
            origin,
            inputs.label_map,
            splits,
            np.zeros(count, np.int64),
            np.zeros(count, np.int64),
            [*inputs.set_aside],
            [*inputs.ignored],
            notes,
            inputs.fill_splits,
        )

    @property
    def images(self) -> int:
        """How many images can be used."""
        return sum(split.images for split in self.splits.values())

    def add(self, source: Source, measures: Measures) -> None:
        """Adds an image."""
        split = self.splits[source.split]
        order = self.images
        split.images += 1
        split.ignored += measures.ignored
        self.sizes[measures.width, measures.height] += 1
        for channel, counts in measures.values.items():
            self.values[channel] = self.values.get(channel, 0) + counts
        if source.group:
            self.groups.setdefault(source.group, collections.Counter())[source.split] += 1
        if measures.fingerprint is not None:
            self.fingerprints.append((measures.fingerprint, source))
        if measures.is_blank:
            self.blank.add(source.image)
        self._add_classes(source, measures, split, order)

    def _add_classes(self, source: Source, measures: Measures, split: SplitCounts, order: int) -> None:
        area = measures.width * measures.height
        shares = {index: found.pixels / area for index, found in measures.classes.items()}
        for index, found in measures.classes.items():
            split.pixels[index] += found.pixels
            split.with_class[index] += 1
            self.inner[index] += found.inner
            self.specks[index] += found.specks
            if found.objects is not None:
                split.objects[index] += found.objects
            # An image that is all of one class shows little of it.
            candidate = Candidate(shares[index] * (1 - shares[index]), -order, source, shares)
            best = self.candidates.setdefault(index, [])
            (heapq.heappush if len(best) < _CANDIDATES else heapq.heappushpop)(best, candidate)
        if not measures.classes:
            self.unlabeled.add(source.image)
        elif len(measures.classes) == 1:
            self.single.setdefault(next(iter(measures.classes)), Named()).add(source.image)
        if any(found.specks for found in measures.classes.values()):
            self.specked.add(source.image)
        if any(found.objects is None for found in measures.classes.values()):
            self.uncounted.add(source.image)


@dataclasses.dataclass(frozen=True)
class _Looked:
    """An input that was looked at: its measures, or the reason why it cannot be used.

    Attributes:
      source: the input.
      kind: how its image is stored.
      measures: None if it cannot be used.
      reason: why it cannot be used.
      notes: what was noticed while it was read.
    """

    source: Source
    kind: str
    measures: Measures | None
    reason: str
    notes: Notes


def survey(origin: str, processes: Processes, progress: Callable[[int, int | None], None] = lambda *_: None) -> Survey:
    """Looks at all inputs; none of them ends it, however broken it is.

    Args:
      origin: what is inspected, as the user named it.
      processes: have the inputs.
      progress: is told how many inputs are done, and how many there are if that is known.

    Raises:
      UserError: if no input can be used, or the system ends a process.
    """
    inputs = processes.inputs
    found = Survey.of_nothing(origin, inputs)
    for done, looked in enumerate(processes.map(_look, inputs), start=1):
        _add(found, looked)
        progress(done, inputs.total)
    with contextlib.suppress(UserError):  # The conversion ends with it; here the images are shown all the same.
        found.image_type = noted_image_type(found.notes)
    if not found.images:
        why = reasons_of(found.set_aside) + proposal(found.notes, found.label_map)
        raise UserError(f"{origin}: none of the {len(found.set_aside)} inputs can be used:{why}")
    return found


def _add(found: Survey, looked: _Looked) -> None:
    if looked.measures is None:
        found.set_aside.append(SetAside(looked.source.image, looked.reason))
        found.notes.add(looked.notes.of_kinds(SEEN))
        return
    found.kinds[looked.kind] += 1
    found.notes.add(looked.notes)
    found.add(looked.source, looked.measures)


def _look(inputs: Inputs, source: Source, content: Content | None) -> _Looked:
    measures, reason, kind = None, "", ""
    with collecting(source.image, source.mask) as notes:
        try:
            image, ids = inputs.read(source, content)
            kind, measures = file_kind(source, content), measure(image, ids)
        except Exception as error:  # Whatever one pair does to its reader, the others are looked at.
            reason = why_unusable(error)
    return _Looked(source, kind, measures, reason, notes)
