"""Which images look alike? Perceptual hashes, and a search for those that are close.

The hash is pHash: the signs, against their median, of the 16×16 lowest frequencies of a cosine transform of a gray
thumbnail. It is described in Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions" (2010, the
hash "based on the DCT", https://www.phash.org/docs/pubs/thesis_zauner.pdf), and computed by the package `imagehash`.
Copies that were encoded, resized, stretched or brightened again are found; crops, mirror images and rotations are not.

With 64 bits, as is usual, slices of one organ or frames of one kind of scene are hard to tell from copies. With these
256 bits, different photographs of pets and different micrographs differ in 84 bits and more, slices of one brain that
are 5 mm apart in 44 and more; copies in JPEG of quality 25, at a quarter or 1.7 times the size, or a tenth brighter
differ in 2 to 10 bits as a rule and in 26 at most. `MAX_DISTANCE` lies well below what is different, as a wrong pair
costs more trust than a copy that is missed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import imagehash
import numpy as np
from PIL import Image

HASH_BYTES = 32
MAX_DISTANCE = 20
_SIDE = 16
# Pixels a side of what the hash is computed of; images should have twice as many, or as many as there are.
THUMBNAIL = 64
# Thumbnails with a smaller standard deviation, in gray levels, show nothing: what the hash then sees is noise, and all
# that are of one color would be the same.
_LEAST_DEVIATION = 2.0
_BITS_SET = np.array([bin(value).count("1") for value in range(2**16)], np.uint8)


def perceptual_hash(pixels: np.ndarray) -> int | None:
    """The hash of an image, a number of 256 bits; None if the image is too plain to be told from others.

    Args:
      pixels: [height, width, channels] uint8, gray or RGB; alpha does not count.
    """
    height, width, channels = pixels.shape
    image = Image.fromarray(np.ascontiguousarray(pixels[:, :, :3] if channels > 2 else pixels[:, :, 0]))
    # The mean of whole pixels first, which is faster than the resizing that follows.
    image = image.reduce(max(1, min(height, width) // (2 * THUMBNAIL))).convert("L")
    thumbnail = image.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX)
    if np.asarray(thumbnail).std() < _LEAST_DEVIATION:
        return None
    bits = imagehash.phash(thumbnail, hash_size=_SIDE, highfreq_factor=THUMBNAIL // _SIDE).hash
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def pack(hashes: Iterable[int]) -> np.ndarray:
    """[hashes, `HASH_BYTES`] uint8, of hashes of `perceptual_hash`."""
    packed = np.frombuffer(b"".join(int(value).to_bytes(HASH_BYTES, "big") for value in hashes), np.uint8)
    return packed.reshape(-1, HASH_BYTES)


def are_near(packed: np.ndarray, one: np.ndarray, max_distance: int = MAX_DISTANCE) -> np.ndarray:
    """Which of some hashes differ from another one in few bits: [n] bool.

    Args:
      packed: [n, `HASH_BYTES`], of `pack`.
      one: [`HASH_BYTES`], likewise.
      max_distance: how many bits may differ.
    """
    return _BITS_SET[packed.view(np.uint16) ^ one.view(np.uint16)].sum(axis=1, dtype=np.int64) <= max_distance


def near_pairs(
    hashes: Sequence[int],
    max_distance: int = MAX_DISTANCE,
    parts: Sequence[int] | None = None,
    most: int = 100_000,
) -> np.ndarray:
    """Pairs of hashes that differ in few bits.

    Two hashes that differ in at most d bits are the same in one of d + 1 bands of bits, at least (Manku, Jain and Das
    Sarma, "Detecting Near-Duplicates for Web Crawling", 2007, section 3). Only those that share a band are compared:
    100,000 hashes take seconds, not 5,000,000,000 comparisons.

    Args:
      hashes: of `perceptual_hash`.
      max_distance: how many bits may differ.
      parts: a number for each hash; then only pairs of different parts count.
      most: the search ends once that many pairs are found.

    Returns:
      [pairs, 3] int64: the indexes of two hashes, the smaller first, and in how many bits they differ; those that
      differ least come first.
    """
    packed = pack(hashes)
    part_of = np.arange(len(packed)) if parts is None else np.asarray(parts)
    bits = np.unpackbits(packed, axis=1)
    words = packed.view(np.uint16)
    found: set[tuple[int, int, int]] = set()
    for band in np.array_split(bits, max_distance + 1, axis=1):
        order, band_of = _sharing(band, part_of)
        starts: np.ndarray = np.arange(len(order))
        for step in range(1, len(order)):
            # Pairs of the k-th and the k+step-th of a band; once a step leaves it, longer ones do so, too.
            starts = starts[starts < len(order) - step]
            starts = starts[band_of[starts] == band_of[starts + step]]
            if not len(starts) or len(found) >= most:
                break
            first, second = order[starts], order[starts + step]
            differ = part_of[first] != part_of[second]
            first, second = first[differ], second[differ]
            distances = _BITS_SET[words[first] ^ words[second]].sum(axis=1, dtype=np.int64)
            near = distances <= max_distance
            low, high = np.minimum(first[near], second[near]), np.maximum(first[near], second[near])
            found.update(zip(low.tolist(), high.tolist(), distances[near].tolist(), strict=True))
    pairs = sorted(found, key=lambda pair: (pair[2], pair[0], pair[1]))[:most]
    return np.array(pairs, np.int64).reshape(-1, 3)


def _sharing(band: np.ndarray, part_of: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The indexes of hashes that share a band of bits with one of another part, in the order of bands; their bands."""
    if not len(band):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    _, band_of = np.unique(np.packbits(band, axis=1), axis=0, return_inverse=True)
    band_of = band_of.ravel()
    order = np.lexsort((part_of, band_of))
    band_of, part_of = band_of[order], part_of[order]
    begins = np.flatnonzero(np.diff(band_of, prepend=-1))
    ends = np.append(begins[1:], len(order))
    is_shared = np.repeat(part_of[begins] != part_of[ends - 1], ends - begins)
    return order[is_shared], band_of[is_shared]
