"""Checks many examples on all cores: usual ones in TensorFlow's graph, the others in threads.

Usual is a JPEG, or a PNG of 8 bits, with a good mask. Python decodes and counts no slower, but one thread at a time.
What the graph does not find good is left to `example.py`, which says what is wrong with it, if anything is.
"""

from __future__ import annotations

import collections
import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import tensorflow as tf

from components.data_gate.example import (
    JPEG_OPTIONS,
    JPEG_RATIOS,
    Checked,
    Names,
    check_example,
    hash_of,
    histogram,
    parse,
    read_names,
)
from data import contract
from data.contract import IGNORE_LABEL
from data.decoding.image_type import ImageType
from data.decoding.structure import JPEG_SIGNATURE, PNG_SIGNATURE
from data.label_map import LabelMap
from data.near_duplicates import THUMBNAIL

# Where a PNG says how many bits its values have, then of how many channels.
_BITS = 24
# Examples that are decoded, for each core, which bounds the memory: an image of 12 million pixels takes 48 MB.
_DECODED = 2
# Examples that wait, for each core, to be decoded.
_WAITING = 4


def make_decode(least_side: int) -> Callable[..., Any]:
    """A function of a serialized example, to be mapped over many, and traced once.

    Args:
      least_side: rows and columns that decoded images should have at least; 1 if nobody looks at them.

    Returns:
      [] string → whether it is usual, and its sizes agree; name, group and slice; [height, width, 1] uint8 class ids;
      [rows, columns, 1 or 3] uint8 pixels as `example.py` decodes them. If it is not, it may raise an
      InvalidArgumentError as well.
    """

    def decode(serialized: tf.Tensor) -> tuple[tf.Tensor, ...]:
        spec = {name: tf.io.FixedLenFeature([], tf.string) for name in (contract.IMAGE, contract.MASK)}
        names = (contract.SOURCE_ID, contract.GROUP, contract.SLICE)
        features = tf.io.parse_single_example(
            serialized, spec | {name: tf.io.FixedLenFeature([], tf.string, "") for name in names}
        )
        image, mask = features[contract.IMAGE], features[contract.MASK]
        is_jpeg, is_png = (_starts(image, signature) for signature in (JPEG_SIGNATURE, PNG_SIGNATURE))
        is_usual = (
            (is_jpeg | (is_png & (tf.strings.substr(image, _BITS, 1) == b"\x08")))
            & _starts(mask, PNG_SIGNATURE)
            & (tf.strings.substr(mask, _BITS, 2) == b"\x08\x00")
            & (features[contract.SOURCE_ID] != b"")
        )
        found = tf.cond(is_usual, lambda: decoded(image, mask, is_jpeg), nothing)
        return found[0], *(features[name] for name in names), *found[1:]

    def nothing() -> tuple[tf.Tensor, ...]:
        return tf.constant(False), tf.zeros([0, 0, 1], tf.uint8), tf.zeros([0, 0, 1], tf.uint8)

    def decoded(image: tf.Tensor, mask: tf.Tensor, is_jpeg: tf.Tensor) -> tuple[tf.Tensor, ...]:
        size, bands, pixels = tf.cond(is_jpeg, lambda: of_jpeg(image), lambda: of_png(image))
        ids = tf.io.decode_png(mask, 1)
        return ((bands == 1) | (bands == 3)) & tf.reduce_all(tf.shape(ids)[:2] == size), ids, pixels

    def of_jpeg(image: tf.Tensor) -> tuple[tf.Tensor, ...]:
        shape = tf.io.extract_jpeg_shape(image)
        times = tf.reduce_min(shape[:2]) // least_side
        place = sum(tf.cast(times >= ratio, tf.int32) for ratio in JPEG_RATIOS[1:])

        def at(ratio: int) -> Callable[[], tf.Tensor]:
            return lambda: tf.io.decode_jpeg(image, ratio=ratio, **JPEG_OPTIONS)

        return shape[:2], shape[2], tf.switch_case(place, [at(ratio) for ratio in JPEG_RATIOS])

    def of_png(image: tf.Tensor) -> tuple[tf.Tensor, ...]:
        pixels = tf.io.decode_png(image)
        return tf.shape(pixels)[:2], tf.shape(pixels)[2], pixels

    return tf.function(decode, input_signature=[tf.TensorSpec([], tf.string)], autograph=False)


def _starts(content: tf.Tensor, signature: bytes) -> tf.Tensor:
    return tf.strings.substr(content, 0, len(signature)) == signature


class Checker:
    """Checks examples on all cores; to be closed.

    Args:
      num_classes: in the label map.
      with_hashes: whether to compute the images' hashes.
      images: as for `check_example`.
      objects_of: likewise.
    """

    def __init__(self, num_classes: int, with_hashes: bool, images: ImageType | None, objects_of: LabelMap | None):
        self._how = (num_classes, with_hashes, images, objects_of)
        self._in_graph = None
        if objects_of is None and (images is None or images.is_usual):
            self._in_graph = make_decode(2 * THUMBNAIL if with_hashes else 1)
        # TensorFlow's decoders run without Python's lock.
        self._cores = len(os.sched_getaffinity(0))
        self._threads = ThreadPoolExecutor(self._cores)

    def close(self) -> None:
        """Ends its threads."""
        self._threads.shutdown()

    def results(self, records: tf.data.Dataset) -> Iterator[tuple[Names, Checked | ValueError]]:
        """What each of some serialized examples is, or what is wrong with it; in their order, but for unusual ones."""
        if self._in_graph is None:
            yield from self._in_threads(records.as_numpy_iterator())
            return
        usual = set()
        count = 0
        for index, result in self._usual(records, self._in_graph):
            count = index + 1
            if result is not None:
                usual.add(index)
                yield result
        if len(usual) < count:
            yield from self._in_threads(
                record for index, record in enumerate(records.as_numpy_iterator()) if index not in usual
            )

    def _usual(
        self, records: tf.data.Dataset, decode: Callable[..., Any]
    ) -> Iterator[tuple[int, tuple[Names, Checked] | None]]:
        """The index of each example; with what it is, where it is good and usual."""
        num_classes, with_hashes, *_ = self._how
        found = records.map(decode, _DECODED * self._cores).as_numpy_iterator()
        for index in itertools.count():
            try:
                is_good, *names, ids, pixels = next(found)
            except StopIteration:
                return
            # The next one is what comes after this example. TensorFlow itself raises the second when it puts bytes of
            # the record into the message of the first.
            except (tf.errors.InvalidArgumentError, UnicodeDecodeError):
                is_good = False
            counts = histogram(ids) if is_good else None
            if counts is None or counts[num_classes:IGNORE_LABEL].any():
                yield index, None
                continue
            image_hash = hash_of(pixels, ImageType()) if with_hashes else None
            name, group, slice_ = (text.decode(errors="replace") for text in names)
            height, width = ids.shape[:2]
            yield index, (Names(name, group, slice_), Checked(name, counts, height, width, image_hash))

    def _in_threads(self, records: Iterable[bytes]) -> Iterator[tuple[Names, Checked | ValueError]]:
        waiting: collections.deque[Future[tuple[Names, Checked | ValueError]]] = collections.deque()
        for record in records:
            waiting.append(self._threads.submit(self._check, record))
            if len(waiting) == _WAITING * self._cores:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    def _check(self, serialized: bytes) -> tuple[Names, Checked | ValueError]:
        names = Names()
        try:
            example = parse(serialized)
            names = read_names(example)
            return names, check_example(example, *self._how)
        except ValueError as error:
            return names, error
