"""Which values or colors do masks hold, before anyone has said what they mean?"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable

import numpy as np

from data.masks.edges import values_along_edges
from data.masks.files import Mask
from data.masks.meaning import packed
from data.masks.used_values import UsedValues

Color = tuple[int, int, int]
# In a photograph hardly two neighbors are equal; in a mask most are.
_FEWEST_EQUAL = 0.7
_FEWEST_IN_A_PICTURE = 16


@dataclasses.dataclass(frozen=True)
class MaskLook:
    """What one mask holds. Transparent pixels are not counted.

    Attributes:
      path: the file.
      size: height and width in pixels.
      ids: pixels of each value; empty for a mask of colors.
      colors: pixels of each color; empty for a mask of gray values.
      has_palette: whether values stand for colors, so that either may be meant.
      transparent: pixels that are not opaque.
      edges: values that lie along edges only, as smoothing and lossy storage leave them.
      is_picture: whether it has hardly any areas of one value.
      lossy: the name of its format if that keeps no exact values, or an empty string.
    """

    path: str
    size: tuple[int, int]
    ids: dict[int, int]
    colors: dict[Color, int]
    has_palette: bool
    transparent: int
    edges: int
    is_picture: bool
    lossy: str


@dataclasses.dataclass(frozen=True)
class MaskValues:
    """What the masks of a data set hold.

    Attributes:
      looks: the masks that could be read.
      unreadable: paths of those that could not, each with the reason.
    """

    looks: list[MaskLook]
    unreadable: list[tuple[str, str]] = dataclasses.field(default_factory=list)

    def ids(self) -> dict[int, int]:
        """Pixels of each value, by value."""
        return dict(sorted(_total(look.ids for look in self.looks).items()))

    def colors(self) -> dict[Color, int]:
        """Pixels of each color; black first, then the most frequent."""
        found = _total(look.colors for look in self.looks)
        return dict(sorted(found.items(), key=lambda item: (item[0] != (0, 0, 0), -item[1], item[0])))

    def palette(self) -> dict[int, Color] | None:
        """The color of each index, or None if files disagree; empty without palettes."""
        found: dict[int, Color] = {}
        for look in self.looks:
            if look.has_palette:
                # As many as there are: `look_at_mask` keeps the order.
                for index, color in zip(look.ids, look.colors, strict=False):
                    if len(look.ids) != len(look.colors) or found.setdefault(index, color) != color:
                        return None
        return found


def look_at_mask(path: str, mask: Mask) -> MaskLook:
    """Counts the values of the mask in a file.

    Raises:
      BadImageError: if it is none that can hold classes.
    """
    pixels = mask.pixels
    size = (int(pixels.shape[0]), int(pixels.shape[1]))
    is_color = pixels.ndim == 3
    if is_color and (pixels == pixels[..., :1]).all():
        pixels, is_color = pixels[..., 0], False  # The value in all three channels.
    brightness = pixels
    if is_color:
        brightness = pixels.sum(axis=-1, dtype=np.int32)  # Which is what smoothing makes mixtures of.
        pixels = packed(pixels)
    edges = len(values_along_edges(brightness, UsedValues.of(brightness)))
    opaque = size[0] * size[1]
    counted = pixels
    if mask.alpha is not None:
        counted = pixels[mask.alpha > 0][np.newaxis]
        opaque = counted.size
    used = UsedValues.of(counted) if opaque else None
    counts = {} if used is None else dict(zip(used.values.tolist(), used.counts.tolist(), strict=True))
    equal = float(np.mean(pixels[:, 1:] == pixels[:, :-1])) if size[1] > 1 else 1.0
    is_picture = equal < _FEWEST_EQUAL and len(counts) > _FEWEST_IN_A_PICTURE
    ids = {} if is_color else counts
    colors = {(value >> 16, value >> 8 & 255, value & 255): n for value, n in counts.items()} if is_color else {}
    if mask.palette is not None:
        colors = _total({_color(mask.palette[index]): count} for index, count in ids.items())
    return MaskLook(
        path, size, ids, colors, mask.palette is not None, size[0] * size[1] - opaque, edges, is_picture, mask.lossy
    )


def _color(rgb: np.ndarray) -> Color:
    red, green, blue = (int(channel) for channel in rgb)
    return red, green, blue


def _total(counts: Iterable[dict]) -> dict:
    total: collections.Counter = collections.Counter()
    for each in counts:
        total.update(each)
    return dict(total)
