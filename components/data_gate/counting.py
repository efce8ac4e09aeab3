"""What do all examples add up to, and which do not go together? One pass of Beam that decodes each example once."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import logging
import operator
import time
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow as tf
from apache_beam.io import fileio
from apache_beam.metrics import Metrics

from components.data_gate.checking import Checker
from components.data_gate.example import Checked, Names
from data import contract
from data.base.files import read_bytes
from data.contract import IGNORE_LABEL
from data.decoding.image_type import ImageType
from data.label_map import LabelMap
from data.near_duplicates import HASH_BYTES, near_pairs
from data.spans import NEWEST_SPLIT

SHOWN = 10
# Near-duplicates that are written down; there may be more.
_LISTED = 100
# Images are counted by size: the power of two of their number of pixels.
_SIZES = 32
# Examples that are counted together.
_BATCH_SIZE = 16
_READ_BYTES = 1 << 20
_PROGRESS_SECONDS = 10.0
# An example keeps its role for ever. Roles are bits, so that those of one name can be combined.
_ROLES = {"train": 1, "eval": 2, "test": 4, NEWEST_SPLIT: 4}
_LOG = logging.getLogger("segpipe.data_gate")

# An example's vector, to be summed, begins with 1. These are its other parts: pixels by value; whether each value
# occurs; whether all pixels are ignored; 1 at the power of two of its number of pixels. Then objects by class, by the
# power of two of their pixels, by how often the image has to be halved to be as small as they are, and by the width of
# their image as a share of its height, in steps of a quarter of a power of two.
PIXELS, OCCURS, ALL_IGNORED = slice(1, 257), slice(257, 513), 513
SIZES = slice(514, 514 + _SIZES)
OBJECTS = slice(SIZES.stop, SIZES.stop + 256)
OBJECT_SIZES = slice(OBJECTS.stop, OBJECTS.stop + _SIZES)
OBJECT_SHARES = slice(OBJECT_SIZES.stop, OBJECT_SIZES.stop + _SIZES)
ASPECT_STEPS = 4
_MOST_ASPECT = 8 * ASPECT_STEPS
OBJECT_ASPECTS = slice(OBJECT_SHARES.stop, OBJECT_SHARES.stop + 2 * _MOST_ASPECT + 1)
_COUNTS = OBJECT_ASPECTS.stop


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two images that look alike, in two splits.

    Attributes:
      names: of the examples.
      splits: of each.
      distance: in how many bits their hashes differ.
    """

    names: tuple[str, str]
    splits: tuple[str, str]
    distance: int


@dataclasses.dataclass(frozen=True)
class Findings:
    """What the pass found. Of what may be as many as there are examples, it holds a number and a sample.

    Attributes:
      sums: by split: the sum of vectors, and the least and the largest height and width.
      bad: split, name and fault of examples that cannot be used.
      bad_count: how many there are.
      shared: names that are in more than one split, with those splits.
      shared_count: how many there are.
      groups: groups that are in more than one split, with those splits.
      groups_count: how many there are.
      slices: by slice of the test split: its number of images, then its pixels by class.
      pairs: near-duplicates across splits, those that differ least first.
      pairs_count: how many there are.
    """

    sums: dict[str, tuple[list[int], list[int], list[int]]]
    bad: list[tuple[str, str, str]]
    bad_count: int
    shared: list[tuple[str, list[str]]]
    shared_count: int
    groups: list[tuple[str, list[str]]]
    groups_count: int
    slices: dict[str, list[int]]
    pairs: list[Pair]
    pairs_count: int


class _CheckExamples(beam.DoFn):
    """Paths of TFRecord files → the sum, minimum and maximum of their examples' vectors, for each few of them.

    Further outputs: `faults`, names of unusable examples and what is wrong with them; `members`, names and groups, with
    the bit of their split's role; `hashes`, a batch of roles with the images' hashes, and names; `slices` of the test
    split, with the number 1 and the pixels by class.
    """

    def __init__(
        self,
        split: str,
        num_classes: int,
        with_hashes: bool,
        images: ImageType | None = None,
        objects_of: LabelMap | None = None,
    ):
        self._split, self._num_classes, self._images = split, num_classes, images
        self._objects_of = objects_of
        self._role = _ROLES.get(split, 0)
        self._with_hashes = with_hashes and bool(self._role)
        self._checked = Metrics.counter("data_gate", "examples_checked")
        self._done = 0
        self._last_progress = 0.0

    def setup(self) -> None:
        self._checker = Checker(self._num_classes, self._with_hashes, self._images, self._objects_of)
        self._last_progress = time.monotonic()

    def teardown(self) -> None:
        self._checker.close()

    def process(self, path: str) -> Iterator[Any]:
        # TensorFlow's reader runs without Python's lock, too.
        records = tf.data.TFRecordDataset(path, contract.compression_type(path), _READ_BYTES).prefetch(_BATCH_SIZE)
        results = self._checker.results(records)
        while batch := list(itertools.islice(results, _BATCH_SIZE)):
            yield from self._counted(batch)

    def _counted(self, batch: list[tuple[Names, Checked | ValueError]]) -> Iterator[Any]:
        vectors, hashes = [], []
        for names, result in batch:
            if names.source_id:
                yield beam.pvalue.TaggedOutput("members", (("shared", names.source_id), self._role))
            if names.group:
                yield beam.pvalue.TaggedOutput("members", (("groups", names.group), self._role))
            if isinstance(result, ValueError):
                shown = names.source_id or f"(no {contract.SOURCE_ID})"
                yield beam.pvalue.TaggedOutput("faults", ("bad", (self._split, shown, str(result))))
                continue
            vectors.append(_vector(result))
            if result.hash is not None:
                key = self._role.to_bytes(1, "big") + result.hash.to_bytes(HASH_BYTES, "big")
                hashes.append((key, result.name))
            if names.slice and self._split == "test":
                counts = np.concatenate([[1], result.pixels[: self._num_classes]])
                yield beam.pvalue.TaggedOutput("slices", (names.slice, counts))
        if hashes:
            yield beam.pvalue.TaggedOutput("hashes", hashes)
        if vectors:
            counts, sizes = np.split(np.stack(vectors), [_COUNTS], axis=1)
            yield self._split, (counts.sum(axis=0), sizes.min(axis=0), sizes.max(axis=0))
        self._checked.inc(len(batch))
        self._done += len(batch)
        if time.monotonic() - self._last_progress > _PROGRESS_SECONDS:
            _LOG.info("%d examples of split %s checked", self._done, self._split)
            self._last_progress = time.monotonic()


def _vector(checked: Checked) -> np.ndarray:
    """The vector that is summed, then the height and the width, which are not."""
    pixels = checked.pixels
    sizes = np.arange(_SIZES) == int(checked.height * checked.width).bit_length() - 1
    all_ignored = pixels[IGNORE_LABEL] == pixels.sum()
    objects = np.zeros([0, 2], np.int64) if checked.objects is None else checked.objects
    class_ids, areas = objects.T
    halvings = np.log2(checked.height * checked.width / np.maximum(areas, 1))
    aspect = round(ASPECT_STEPS * np.log2(checked.width / checked.height))
    aspects = np.full(len(areas), _MOST_ASPECT + max(-_MOST_ASPECT, min(aspect, _MOST_ASPECT)))
    counted = [
        np.bincount(values.astype(np.int64), minlength=length)
        for values, length in (
            (class_ids, 256),
            (np.log2(areas), _SIZES),
            (halvings, _SIZES),
            (aspects, 2 * _MOST_ASPECT + 1),
        )
    ]
    beside = [checked.height, checked.width]
    return np.concatenate([[1], pixels, pixels > 0, [all_ignored], sizes, *counted, beside]).astype(np.int64)


class Merge(beam.CombineFn):
    """Merges the sums, smallest and largest of batches."""

    def create_accumulator(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return np.zeros(_COUNTS, np.int64), np.full(2, np.iinfo(np.int64).max), np.zeros(2, np.int64)

    def add_input(self, accumulator: Any, element: Any) -> Any:
        return self.merge_accumulators([accumulator, element])

    def merge_accumulators(self, accumulators: Iterable[Any]) -> Any:
        totals, smallest, largest = zip(*accumulators, strict=True)
        return np.sum(totals, axis=0), np.min(smallest, axis=0), np.max(largest, axis=0)

    def extract_output(self, accumulator: Any) -> list[list[int]]:
        return [vector.tolist() for vector in accumulator]


class _FindPairs(beam.CombineFn):
    """Roles and hashes of all images → those that are near in two splits, and how many there are.

    An image takes 33 bytes, in the one worker that compares them.
    """

    def create_accumulator(self) -> list[bytes]:
        return []

    def add_input(self, accumulator: list[bytes], element: bytes) -> list[bytes]:
        accumulator.append(element)
        return accumulator

    def merge_accumulators(self, accumulators: Iterable[list[bytes]]) -> list[bytes]:
        return [b"".join(part) for part in accumulators]

    def compact(self, accumulator: list[bytes]) -> list[bytes]:
        return [b"".join(accumulator)]

    def extract_output(self, accumulator: list[bytes]) -> tuple[list[tuple[bytes, bytes, int]], int]:
        records = np.frombuffer(b"".join(accumulator), np.uint8).reshape(-1, 1 + HASH_BYTES)
        keys = [record.tobytes() for record in np.unique(records, axis=0)]
        pairs = near_pairs([int.from_bytes(key[1:], "big") for key in keys], parts=[key[0] for key in keys])
        return [(keys[one], keys[other], distance) for one, other, distance in pairs[:_LISTED].tolist()], len(pairs)


def _splits(roles: int) -> list[str]:
    return [split for split in contract.SPLITS if _ROLES[split] & roles]


def _union(roles: Iterable[int]) -> int:
    return functools.reduce(operator.or_, roles, 0)


def _join_keys(hashes: list[tuple[bytes, str]]) -> bytes:
    return b"".join(key for key, _ in hashes)


def _keys_of_pairs(pairs: tuple[list[tuple[bytes, bytes, int]], int]) -> set[bytes]:
    return {key for one, other, _ in pairs[0] for key in (one, other)}


class _Total(beam.CombineFn):
    """Sums arrays."""

    def create_accumulator(self) -> Any:
        return 0

    def add_input(self, accumulator: Any, element: np.ndarray) -> Any:
        return accumulator + element

    def merge_accumulators(self, accumulators: Iterable[Any]) -> Any:
        return sum(accumulators)

    def extract_output(self, accumulator: Any) -> list[int]:
        return np.asarray(accumulator).tolist()


def check_files(
    pipeline: beam.Pipeline,
    files: dict[str, str],
    num_classes: int,
    results: str,
    with_hashes: bool,
    images: ImageType | None = None,
    objects_of: LabelMap | None = None,
) -> None:
    """Adds the pass to a pipeline.

    Args:
      pipeline: to add the steps to.
      files: pattern of TFRecord files by split.
      num_classes: in the label map.
      results: file to write to; `read_findings` reads it.
      with_hashes: whether to look for near-duplicates.
      images: as for `check_example`.
      objects_of: likewise.
    """
    outputs = [
        pipeline
        | f"Match[{split}]" >> fileio.MatchFiles(pattern)
        | f"Path[{split}]" >> beam.Map(lambda file: file.path)
        | f"Deal[{split}]" >> beam.Reshuffle()
        | f"Check[{split}]"
        >> beam.ParDo(_CheckExamples(split, num_classes, with_hashes, images, objects_of)).with_outputs(
            "faults", "members", "hashes", "slices", main="vectors"
        )
        for split, pattern in files.items()
    ]
    faults, members, hashes, slices, vectors = (
        [of_split[tag] for of_split in outputs] | f"Flatten[{tag}]" >> beam.Flatten()
        for tag in ("faults", "members", "hashes", "slices", "vectors")
    )
    in_several = (
        members
        | "Roles" >> beam.CombinePerKey(_union)
        | "OfSeveral" >> beam.Filter(lambda item: item[1] & (item[1] - 1))
        | "ByKind" >> beam.MapTuple(lambda member, roles: (member[0], (member[1], roles)))
    )
    # A sample is enough for a message; all of them could be as many as there are examples.
    count_and_sample = beam.combiners.SingleInputTupleCombineFn(
        beam.combiners.CountCombineFn(), beam.combiners.TopCombineFn(SHOWN, reverse=True)
    )
    counted = (faults, in_several) | beam.Flatten() | "Sample" >> beam.CombinePerKey(count_and_sample)

    found = {
        "counted": counted,
        "sums": vectors | "Merge" >> beam.CombinePerKey(Merge()),
        "slices": slices | "MergeSlices" >> beam.CombinePerKey(_Total()),
    }
    if with_hashes:
        pairs = hashes | "Keys" >> beam.Map(_join_keys) | "FindPairs" >> beam.CombineGlobally(_FindPairs())
        kept = beam.pvalue.AsSingleton(pairs | "KeysOfPairs" >> beam.Map(_keys_of_pairs))
        names = (
            hashes
            | "OfPairs" >> beam.FlatMap(lambda batch, kept: [item for item in batch if item[0] in kept], kept)
            | "OneName" >> beam.CombinePerKey(min)
        )
        found["pairs"] = pairs | beam.MapTuple(
            lambda pairs, count: ([[one.hex(), other.hex(), distance] for one, other, distance in pairs], count)
        )
        found["names"] = names | beam.MapTuple(lambda key, name: (key.hex(), name))
    lines = [
        items | f"Line[{kind}]" >> beam.Map(lambda item, kind: json.dumps([kind, item]), kind)
        for kind, items in found.items()
    ]
    _ = lines | "Lines" >> beam.Flatten() | beam.io.WriteToText(results, shard_name_template="")


def read_findings(results: str) -> Findings:
    """Reads what `check_files` wrote."""
    found: dict[str, list[Any]] = {}
    for line in read_bytes(results).decode().splitlines():
        kind, item = json.loads(line)
        found.setdefault(kind, []).append(item)
    counted, names = dict(found.get("counted", [])), dict(found.get("names", []))
    bad_count, bad = counted.get("bad", (0, []))
    shared_count, shared = counted.get("shared", (0, []))
    groups_count, groups = counted.get("groups", (0, []))
    pairs, pairs_count = found.get("pairs", [([], 0)])[0]
    return Findings(
        sums=dict(found.get("sums", [])),
        bad=bad,
        bad_count=bad_count,
        shared=[(name, _splits(roles)) for name, roles in shared],
        shared_count=shared_count,
        groups=[(name, _splits(roles)) for name, roles in groups],
        groups_count=groups_count,
        slices=dict(found.get("slices", [])),
        pairs=[
            Pair((names[one], names[other]), (_split_of_key(one), _split_of_key(other)), distance)
            for one, other, distance in pairs
        ],
        pairs_count=pairs_count,
    )


def _split_of_key(key: str) -> str:
    return _splits(bytes.fromhex(key)[0])[0]
