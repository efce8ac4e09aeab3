"""Which values or colors do masks hold, before anyone has said what they mean?"""

from __future__ import annotations

import collections
import dataclasses
import statistics
from collections.abc import Iterable

import numpy as np

from data.base.files import read_bytes
from data.decoding.images import BadImageError, decode, open_image
from data.decoding.masks import read_mask

Color = tuple[int, int, int]
# Values that come in runs of fewer pixels than this, on average, are edges, not areas.
_AREA_RUN = 2.5
_LOSSY_FORMATS = ("JPEG", "MPO", "WEBP")


@dataclasses.dataclass(frozen=True)
class MaskLook:
    """What one mask holds.

    Attributes:
      path: the file.
      size: height and width in pixels.
      ids: pixels of each value; empty for a mask of colors.
      colors: pixels of each color; empty for a mask of gray values.
      palette: the color of each index that is used; empty if it is no palette image.
      is_ragged: whether most of its values lie along edges, as lossy or smooth storage leaves them.
      is_picture: whether it has hardly any areas of one value at all.
      file_format: Pillow's name of it.
    """

    path: str
    size: tuple[int, int]
    ids: dict[int, int]
    colors: dict[Color, int]
    palette: dict[int, Color]
    is_ragged: bool
    is_picture: bool
    file_format: str


@dataclasses.dataclass
class MaskValues:
    """What the masks of a data set hold.

    Attributes:
      looks: the masks that could be read.
      unreadable: the others, each with the reason.
    """

    looks: list[MaskLook]
    unreadable: list[tuple[str, str]]

    def ids(self) -> dict[int, int]:
        """Pixels of each value, by value."""
        return _total(look.ids for look in self.looks)

    def colors(self) -> dict[Color, int]:
        """Pixels of each color; black first, then the most frequent."""
        found = _total(look.colors for look in self.looks)
        return dict(sorted(found.items(), key=lambda item: (item[0] != (0, 0, 0), -item[1], item[0])))

    def palette(self) -> dict[int, Color] | None:
        """The color of each index, or None if files disagree; empty without palettes."""
        found: dict[int, Color] = {}
        for look in self.looks:
            for index, color in look.palette.items():
                if found.setdefault(index, color) != color:
                    return None
        return found

    def values_in_a_mask(self) -> int:
        """How many values or colors half of the masks have at most."""
        return int(statistics.median(len(look.ids or look.colors) for look in self.looks))

    def lossy(self) -> list[MaskLook]:
        """Masks in a format that keeps no exact values, and masks that look like it."""
        return [look for look in self.looks if look.is_ragged or look.file_format in _LOSSY_FORMATS]


def look_at_mask(path: str, max_pixels: int) -> MaskLook:
    """Reads a mask and counts its values.

    Raises:
      BadImageError: if it is no image, or none that can hold classes.
      OSError: if it cannot be read.
    """
    content = read_bytes(path)
    try:
        header = open_image(content)
    except Exception as error:  # Pillow's decoders raise nearly anything on broken files.
        raise BadImageError(f"unreadable: {error}") from None
    palette: dict[int, Color] = {}
    is_palette = header.mode == "P"
    if is_palette:
        image = decode(content, max_pixels)
        pixels = np.asarray(image)
    else:
        pixels = read_mask(content, max_pixels)
    size = (int(pixels.shape[0]), int(pixels.shape[1]))
    is_color = pixels.ndim == 3
    if is_color and (pixels == pixels[..., :1]).all():
        pixels, is_color = pixels[..., 0], False  # The value in all three channels.
    flat = _packed(pixels) if is_color else pixels.ravel()
    counts, is_ragged, is_picture = _count(flat)
    colors: dict[Color, int] = {}
    ids: dict[int, int] = {}
    if is_color:
        colors = {(value >> 16, value >> 8 & 255, value & 255): count for value, count in counts.items()}
    else:
        ids = counts
    if is_palette:
        table = np.frombuffer(image.convert("P").palette.tobytes(), np.uint8)
        rgb = table[: len(table) // 3 * 3].reshape(-1, 3) if image.palette.mode == "RGB" else None
        if rgb is not None and all(index < len(rgb) for index in ids):
            palette = {index: _color(rgb[index]) for index in ids}
            colors = _total({color: ids[index]} for index, color in palette.items())
    return MaskLook(path, size, ids, colors, palette, is_ragged, is_picture, str(header.format))


def _color(rgb: np.ndarray) -> Color:
    red, green, blue = (int(channel) for channel in rgb)
    return red, green, blue


def _packed(pixels: np.ndarray) -> np.ndarray:
    return (pixels.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)).ravel()


def _count(flat: np.ndarray) -> tuple[dict[int, int], bool, bool]:
    """Pixels of each value, whether most values lie along edges, and whether there are no areas.

    By runs, since masks are flat: there are far fewer runs than pixels.
    """
    starts = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1])
    lengths = np.diff(np.append(starts, len(flat)))
    values, inverse = np.unique(flat[starts], return_inverse=True)
    pixels = np.bincount(inverse, weights=lengths).astype(np.int64)
    runs = np.bincount(inverse)
    if not np.array_equal(values, np.round(values)):
        raise BadImageError("its values are not whole numbers")
    edges = int((pixels / runs < _AREA_RUN).sum())
    is_ragged = edges >= 6 and edges * 2 >= len(values)
    counts = {int(value): int(count) for value, count in zip(values, pixels, strict=True)}
    return counts, is_ragged, is_ragged and len(starts) > 0.3 * len(flat)


def _total(counts: Iterable[dict[object, int]]) -> dict:
    total: collections.Counter = collections.Counter()
    for each in counts:
        total.update(each)
    return dict(sorted(total.items()))
