"""Draws scenes of objects whose pixels are known, which any labeling tool could have stored."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from data.annotations.shapes import Polygon
from data.contract import IGNORE_LABEL
from tests.fuzz.data_sets import NAMES, SPLITS

CLASSES = [
    "cat", "big dog", "straße", "é", "no", "1", "null", "it's", 'q"t', "<&>", "x, y", "[z]", "# h", "100%", "a: b",
    "{r}", "汽车", "-", "~", "A", "Road",
]  # fmt: skip
_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".bmp": "BMP", ".tif": "TIFF", ".webp": "WEBP", ".jpeg": "JPEG"}
_ORIENTATION = 0x0112


@dataclasses.dataclass(frozen=True)
class Thing:
    """An object.

    Attributes:
      name: of its class.
      rings: its outlines, x and y in turn; none if only its pixels are known.
      mask: its pixels, [height, width] bool.
      is_rectangle: whether its only outline goes along the axes.
    """

    name: str
    rings: list[list[float]]
    mask: np.ndarray
    is_rectangle: bool = False

    def is_inside(self, height: int, width: int) -> bool:
        """Whether no corner lies beyond the lower and the right border of an image."""
        return all(max(ring[::2]) <= width and max(ring[1::2]) <= height for ring in self.rings)


@dataclasses.dataclass(frozen=True)
class Picture:
    """An image and the objects in it, the lowest first.

    Attributes:
      name: its path below the folder of images, without a split and without the extension.
      extension: of its file.
      split: of the image; an empty string if nobody says it.
      content: of its file.
      things: the objects.
      height: in pixels, as it is shown.
      width: likewise.
    """

    name: str
    extension: str
    split: str
    content: bytes
    things: list[Thing]
    height: int
    width: int

    @property
    def file(self) -> str:
        """Its path below the folder of images, or of those of its split."""
        return self.name + self.extension


@dataclasses.dataclass(frozen=True)
class Scene:
    """What a data set shows.

    Attributes:
      names: of the classes.
      pictures: three or more. Each split's first one has an object with an outline.
      has_splits: whether these are stated.
      repeats: whether images of different splits have the same names.
    """

    names: list[str]
    pictures: list[Picture]
    has_splits: bool
    repeats: bool

    def painted(self, picture: Picture, things: Sequence[Thing], ignored: Sequence[Thing] = ()) -> np.ndarray:
        """Class ids of an image, [height, width], 0 for no object: things over those before, and those over ignored."""
        ids = np.zeros((picture.height, picture.width), np.int64)
        for thing in ignored:
            ids[thing.mask] = IGNORE_LABEL
        for thing in things:
            ids[thing.mask] = 1 + self.names.index(thing.name)
        return ids


def draw_scene(rng: np.random.Generator, least: int = 3) -> Scene:
    """A scene of three to six images."""
    names = rng.permutation(CLASSES)[: rng.integers(1, 6)].tolist()
    has_splits, repeats, count = rng.random() < 0.5, rng.random() < 0.5, int(rng.integers(least, 7))
    stems = rng.permutation(NAMES)[:count].tolist()
    extensions = rng.choice(sorted(_FORMATS), 2).tolist()
    pictures = []
    for number in range(count):
        height, width = rng.integers(1, 41, 2).tolist()
        things = [_thing(rng, names, height, width) for _ in range(rng.integers(0, 5))]
        if number < len(SPLITS):
            height, width = height + 4, width + 4
            things = [_polygon(rng, names, height, width)]
        extension = str(rng.choice(extensions))
        content = _image(rng, height, width, _FORMATS[extension])
        extension = extension.upper() if rng.random() < 0.2 else extension
        stem = stems[number // len(SPLITS) if has_splits and repeats else number]
        split = SPLITS[number % 3] if has_splits else ""
        pictures.append(Picture(stem, extension, split, content, things, height, width))
    return Scene(names, pictures, has_splits, has_splits and repeats)


def _image(rng: np.random.Generator, height: int, width: int, kind: str) -> bytes:
    """An image of a size; some photographs lie on their side, and say so."""
    exif = Image.Exif()
    if kind == "JPEG" and rng.random() < 0.3:
        exif[_ORIENTATION] = 6
        height, width = width, height
    stored = io.BytesIO()
    options = {"exif": exif} if kind == "JPEG" else {}
    Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)).save(stored, kind, **options)
    return stored.getvalue()


def _thing(rng: np.random.Generator, names: Sequence[str], height: int, width: int) -> Thing:
    if rng.random() < 0.6:
        return _polygon(rng, names, height, width)
    # With holes and several parts.
    mask = rng.random((height, width)) < rng.choice([0.2, 0.8])
    if rng.random() < 0.5:
        mask &= _polygon(rng, names, height, width).mask
    mask[rng.integers(height), rng.integers(width)] = True
    return Thing(str(rng.choice(names)), [], mask)


def _polygon(rng: np.random.Generator, names: Sequence[str], height: int, width: int) -> Thing:
    rings: list[list[float]] = []
    while not rings or not all(_is_outline(ring, height, width) for ring in rings):
        is_rectangle = rng.random() < 0.2
        rings = [_ring(rng, height, width) for _ in range(1 if is_rectangle else rng.choice([1, 1, 1, 2, 3]))]
        if is_rectangle:
            left, top, right, bottom = *rings[0][:2], *rings[0][2:4]
            rings = [[left, top, right, top, right, bottom, left, bottom]]
        if max(map(max, rings)) <= 1:  # Fractions that are all below 1 may be parts of the image.
            rings = [[float(round(value)) for value in ring] for ring in rings]
    return Thing(str(rng.choice(names)), rings, Polygon(rings).mask(height, width), is_rectangle)


def _is_outline(ring: Sequence[float], height: int, width: int) -> bool:
    """Whether it has three corners, even if it is cut off at the borders, and lies in the image."""
    corners = np.reshape(ring, (-1, 2))
    is_one = all(len(np.unique(some, axis=0)) > 2 for some in (corners, corners.clip(0, (width, height))))
    return is_one and bool((corners.max(0) >= 0).all() and (corners.min(0) <= (width, height)).all())


def _ring(rng: np.random.Generator, height: int, width: int) -> list[float]:
    """Corners in quarters of a pixel, none of them in the middle, where shares of an image would round to two sides."""
    corners = rng.integers(0, (4 * width + 1, 4 * height + 1), (rng.integers(3, 9), 2)) / 4
    corners[corners % 1 == 0.5] -= 0.25
    if rng.random() < 0.2:
        # Dragged over the border, but not all of it, as nothing in the image is an error.
        corners[1:] += rng.integers(-1, 2, 2) * min(3, height, width)
    return [float(value) for value in corners.ravel()]
