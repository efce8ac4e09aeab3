"""What pairs of image and mask look like: sizes, gray or color, shares of the classes and how wide they are."""

from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import numpy as np
from PIL import Image

from data.contract import CROWD, IGNORE_LABEL
from data.decoding.images import BadImageError, EncodedImage, open_image, stored_values
from data.decoding.structure import is_deep
from data.inspection.widths import count_widths

Item = TypeVar("Item")
Look = TypeVar("Look")
Progress = Callable[[str, int, int], None]


@dataclasses.dataclass(frozen=True)
class Pair:
    """What one image and its mask look like.

    Attributes:
      height: pixels.
      width: pixels.
      is_gray: whether red, green and blue are the same everywhere, or there is one band.
      widths: [256, len(WIDTHS)], pixels of each class id by the width of the structure that they are in, as
        `data.inspection.widths.count_widths` counts them.
      bands: how many; 3 of pictures, even of gray ones.
      objects: [256], objects of each class id; None if they are not told apart.
    """

    height: int
    width: int
    is_gray: bool
    widths: np.ndarray
    bands: int = 3
    objects: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class Sample:
    """What the pairs of a data set look like, by some of them.

    Attributes:
      pairs: those that could be read.
      unusable: the others, each with the reason.
    """

    pairs: list[Pair]
    unusable: list[tuple[str, str]]

    @property
    def is_gray(self) -> bool:
        """Whether no image has a color."""
        return all(pair.is_gray for pair in self.pairs)

    @property
    def bands(self) -> int:
        """How many bands the images have."""
        return max((pair.bands for pair in self.pairs), default=3)

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """Height and width of each image."""
        return [(pair.height, pair.width) for pair in self.pairs]


def look_at_pair(image: EncodedImage, class_ids: np.ndarray, instances: np.ndarray | None = None) -> Pair:
    """Describes an image and its labels, as `data.formats.LabeledImage` has them.

    Raises:
      BadImageError: if the image does not decode.
    """
    is_gray, bands = _look_at_bands(image.encoded)
    objects = None if instances is None else _count_objects(class_ids, instances)
    return Pair(image.height, image.width, is_gray, count_widths(class_ids), bands, objects)


def _count_objects(class_ids: np.ndarray, instances: np.ndarray) -> np.ndarray:
    is_object = (instances > 0) & (instances < CROWD) & (class_ids != IGNORE_LABEL)
    found = np.unique(instances[is_object].astype(np.int64) * 256 + class_ids[is_object])
    return np.bincount(found % 256, minlength=256)


def _look_at_bands(encoded: bytes) -> tuple[bool, int]:
    """Whether an image is gray, and how many bands it has."""
    if not is_deep(encoded):
        return _is_gray(encoded), 3
    values = stored_values(encoded)
    bands = 1 if values.ndim == 2 else values.shape[2]
    are_pictures = bands in (1, 3) and values.dtype == np.uint16
    return bands == 1 or (bands == 3 and bool(np.ptp(values, axis=2).max() == 0)), 3 if are_pictures else bands


def _is_gray(encoded: bytes) -> bool:
    try:
        image = open_image(encoded)
        if image.mode in ("1", "L"):
            return True
        image.draft("RGB", (64, 64))  # JPEGs are decoded at an eighth of their size, which is enough to see colors.
        image.thumbnail((64, 64), Image.Resampling.NEAREST)
        pixels = np.asarray(image.convert("RGB"), np.int16)
    except Exception as error:  # Pillow's decoders raise nearly anything on broken files.
        raise BadImageError(f"unreadable: {error}") from None
    # JPEG's chroma is rounded: gray photographs stored in color are off by a level or two.
    return bool(np.ptp(pixels, axis=-1).max() <= 4)


def spread(items: Sequence[Item], most: int) -> list[Item]:
    """At most so many items, evenly from all; any first part of them is spread evenly as well."""
    count = min(most, len(items))
    chosen = [items[index * len(items) // count] for index in range(count)]
    bits = max(count - 1, 0).bit_length()
    reverse = (int(f"{index:0{bits}b}"[::-1], 2) if bits else 0 for index in range(1 << bits))
    return [chosen[index] for index in reverse if index < count]


def look_at_all(
    items: Sequence[Item],
    look: Callable[[Item], Look],
    name: Callable[[Item], str],
    pixels: Callable[[Look], int],
    most_pixels: int,
    progress: Callable[[int, int], None],
) -> tuple[list[Look], list[tuple[str, str]]]:
    """Looks at items with all cores until enough pixels were read; decoders let other threads run.

    Returns:
      What was seen, in the order of the items, and the names of those that cannot be used, with reasons.
    """
    seen: list[Look] = []
    unusable: list[tuple[str, str]] = []
    total = 0

    def attempt(item: Item) -> Look | tuple[str, str]:
        try:
            return look(item)
        except (BadImageError, OSError) as error:
            return name(item), str(error)

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for done, part in enumerate(_batches(items, 16)):
            for result in pool.map(attempt, part):
                if isinstance(result, tuple):
                    unusable.append(result)
                else:
                    seen.append(result)
                    total += pixels(result)
            progress(min((done + 1) * 16, len(items)), len(items))
            if total > most_pixels:
                break
    return seen, unusable


def _batches(items: Sequence[Item], size: int) -> Iterator[list[Item]]:
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, size)):
        yield batch


def most_common(reasons: Sequence[tuple[str, str]]) -> list[tuple[str, str, int]]:
    """A file, the reason, and how many files have it, by reason; the most frequent first."""
    counts = collections.Counter(reason for _, reason in reasons)
    first = {reason: path for path, reason in reversed(reasons)}
    return [(first[reason], reason, count) for reason, count in counts.most_common()]
