"""What is measured of one image and its mask: little enough to be kept of many."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from PIL import Image
from scipy import ndimage

from data.contract import IGNORE_LABEL
from data.decoding.image_type import ImageType
from data.decoding.images import EncodedImage, open_image
from data.decoding.pictures import picture_of
from data.decoding.structure import is_deep
from data.near_duplicates import perceptual_hash

# Objects are counted by powers of two of their pixels, 1 to 2^31.
SIZES = 32
# A connected region of fewer pixels than these is a speck, if it is also less than this share of its mask.
SPECK_PIXELS = 10
_SPECK_SHARE = 0.001
# Values are counted in a sample of so many rows and columns.
_SAMPLED_SIDE = 256
# In a larger mask, objects are not counted: it would take seconds and 100 MB.
_MOST_PIXELS = 25_000_000
_EIGHT_NEIGHBORS = np.ones((3, 3), bool)


@dataclasses.dataclass(frozen=True)
class ClassMeasures:
    """A class in a mask.

    Attributes:
      pixels: how many.
      inner: those whose four neighbors are of the same class.
      objects: [SIZES] connected regions by the power of two of their pixels; None if the mask is too large.
      specks: regions of a few pixels.
    """

    pixels: int
    inner: int
    objects: np.ndarray | None
    specks: int


@dataclasses.dataclass(frozen=True)
class Measures:
    """An image and its mask.

    Attributes:
      height: pixels.
      width: pixels.
      classes: by class id, of those that occur.
      ignored: pixels without a class.
      values: [256] counts of the values in a sample of the pixels, by channel; empty for other images than gray and RGB
        of 8 bits.
      is_blank: whether all pixels have one color.
      fingerprint: what near-duplicates of the image have nearly the same of; None if it is too plain.
    """

    height: int
    width: int
    classes: dict[int, ClassMeasures]
    ignored: int
    values: dict[str, np.ndarray]
    is_blank: bool
    fingerprint: int | None


def measure(image: EncodedImage, ids: np.ndarray) -> Measures:
    """Measures an image and its mask, [height, width] uint8 class ids."""
    pixels = np.bincount(ids.ravel(), minlength=256)
    inner = np.bincount(ids[_inner(ids)], minlength=256)
    boxes = ndimage.find_objects(ids.astype(np.int32) + 1) if ids.size <= _MOST_PIXELS else None
    most = min(SPECK_PIXELS, _SPECK_SHARE * ids.size)
    classes = {}
    for index in map(int, np.flatnonzero(pixels[:IGNORE_LABEL])):
        objects, specks = None, 0
        if boxes is not None:
            regions = _regions(ids[boxes[index]] == index)
            objects = np.bincount(np.log2(regions).astype(int), minlength=SIZES)
            specks = int((regions < most).sum())
        classes[index] = ClassMeasures(int(pixels[index]), int(inner[index]), objects, specks)
    reduced = open_reduced(image)
    sample = np.asarray(reduced)[:: _step(reduced.height), :: _step(reduced.width)]
    small = thumbnail(reduced)
    fingerprint = perceptual_hash(small if small.ndim == 3 else small[..., None])
    values = _values(sample)
    return Measures(
        image.height,
        image.width,
        classes,
        int(pixels[IGNORE_LABEL]),
        {} if is_deep(image.encoded) else values,
        all(np.count_nonzero(counts) == 1 for counts in values.values()),
        fingerprint,
    )


def _inner(ids: np.ndarray) -> np.ndarray:
    """[height, width], whether all four neighbors have the same id; what lies outside of the mask does not count."""
    inner = np.ones(ids.shape, bool)
    across, down = ids[:, 1:] == ids[:, :-1], ids[1:] == ids[:-1]
    inner[:, 1:] &= across
    inner[:, :-1] &= across
    inner[1:] &= down
    inner[:-1] &= down
    return inner


def _regions(mask: np.ndarray) -> np.ndarray:
    """Pixels of each connected region; pixels that touch at a corner are connected."""
    labels, _ = ndimage.label(mask, _EIGHT_NEIGHBORS)
    return np.bincount(labels.ravel())[1:]


def open_reduced(image: EncodedImage, side: int = _SAMPLED_SIDE, images: ImageType | None = None) -> Image.Image:
    """The image as people see it, at `side` pixels or somewhat more where its decoder can do that, or at its own size.

    Args:
      image: as the contract stores it.
      side: of the result.
      images: what images of the data set are, for names of bands.
    """
    if is_deep(image.encoded):
        names, nodata = (images.names, images.nodata) if images else ((), None)
        return Image.fromarray(np.ascontiguousarray(picture_of(image.encoded, names, nodata)))
    opened = open_image(image.encoded)
    opened.draft(None, (side, side))
    opened.load()
    return opened if opened.mode in ("L", "RGB") else opened.convert("RGB")


def _step(length: int) -> int:
    return math.ceil(length / _SAMPLED_SIDE)


def _values(sample: np.ndarray) -> dict[str, np.ndarray]:
    if sample.ndim == 2:
        return {"gray": np.bincount(sample.ravel(), minlength=256)}
    return {
        name: np.bincount(sample[..., channel].ravel(), minlength=256)
        for channel, name in enumerate(("red", "green", "blue"))
    }


def thumbnail(image: Image.Image, side: int = _SAMPLED_SIDE) -> np.ndarray:
    """An image at `side` pixels or less, [height, width] or [height, width, 3] uint8."""
    if max(image.size) > side:
        scale = side / max(image.size)
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        image = image.resize(size, Image.Resampling.BILINEAR, reducing_gap=2)
    return np.asarray(image)
