"""Palette images: do the indices count, or the colors that they stand for?"""

from __future__ import annotations

import dataclasses

import numpy as np

from data.contract import IGNORE_LABEL
from data.decoding import mask_consistency as kinds
from data.decoding.images import BadImageError
from data.decoding.mask_files import Mask
from data.decoding.meaning import Meaning, packed
from data.decoding.notes import note
from data.decoding.used_values import UsedValues

# Colors that differ by less in each channel may be the same color, after a tool has chosen its own palette.
_NEAR = 32


@dataclasses.dataclass(frozen=True)
class _Palette:
    """The indices that occur in a mask, and two ways to read them.

    Attributes:
      used: the indices.
      colors: [n, 3] of each, -1 where the palette has none.
      by_index: [n] class ids if indices count, -1 where there is none.
      by_color: [n] class ids if the label map's colors count, likewise.
    """

    used: UsedValues
    colors: np.ndarray
    by_index: np.ndarray
    by_color: np.ndarray

    @property
    def are_indices_ids(self) -> bool:
        return bool((self.by_index >= 0).all())

    @property
    def are_colors_known(self) -> bool:
        return bool((self.by_color >= 0).all())

    @property
    def differs(self) -> bool:
        return bool((self.by_index != self.by_color).any())

    @property
    def has_all_colors(self) -> bool:
        return bool((self.colors >= 0).all())

    @property
    def is_gray(self) -> bool:
        return self.has_all_colors and bool((self.colors == self.colors[:, :1]).all())

    @property
    def shows_indices(self) -> bool:
        """Whether each index is a gray of the same value, so that others store the same in gray."""
        return self.is_gray and np.array_equal(self.colors[:, 0], self.used.values)

    @property
    def is_black_and_white(self) -> bool:
        return self.is_gray and set(self.colors[:, 0].tolist()) <= {0, 255} and not self.shows_indices

    @property
    def repeats_colors(self) -> bool:
        return len(np.unique(packed(self.colors))) < len(self.colors)


def read_palette(mask: Mask, meaning: Meaning) -> np.ndarray | Mask:
    """Reads a palette image by its indices or by its colors.

    If all colors that occur are in the label map, colors count, in whatever order the tool put them. If they are not,
    indices count, provided that no color contradicts them.

    Returns:
      [height, width] uint8 class ids; or the mask without its palette, in gray or RGB, if that is what counts.

    Raises:
      BadImageError: if it can be read in neither way; or in both, with different results.
    """
    assert mask.palette is not None
    used = UsedValues.of(mask.pixels)
    colors = mask.palette[used.values]
    palette = _Palette(used, colors, meaning.ids_of_values(used.values), meaning.ids_of_colors(packed(colors)))
    if meaning.kind == "ids":
        return _by_index(palette, meaning)
    if palette.shows_indices:
        return dataclasses.replace(mask, palette=None)
    if palette.are_colors_known and meaning.has_colors:
        if meaning.kind == "auto" and palette.are_indices_ids and palette.differs and palette.repeats_colors:
            raise _doubt("different indices have the same color", palette, meaning)
        if palette.differs:
            note(kinds.PALETTE_BY_COLOR)
        if meaning.kind == "auto" and meaning.has_ambiguous_grays:  # Whether they are ids, other masks may tell.
            return dataclasses.replace(mask, pixels=mask.palette.astype(np.uint8)[mask.pixels], palette=None)
        return used.replaced_by(palette.by_color)
    if palette.has_all_colors:
        is_inexact = not palette.are_indices_ids and meaning.nearest and meaning.has_colors
        if meaning.kind == "colors" or is_inexact or _grays_count(palette, meaning):
            return _without_palette(mask, palette)
    return _by_index(palette, meaning)


def _without_palette(mask: Mask, palette: _Palette) -> Mask:
    """The mask as if it had been stored in gray, in one bit, or in RGB."""
    if not palette.is_gray:
        table = np.zeros((256, 3), np.uint8)
        table[palette.used.values] = palette.colors
        return dataclasses.replace(mask, pixels=table[mask.pixels], palette=None)
    grays = palette.used.replaced_by(palette.colors[:, 0])
    if palette.is_black_and_white:
        return dataclasses.replace(mask, pixels=grays // 255, palette=None, is_bilevel=True)
    return dataclasses.replace(mask, pixels=grays, palette=None)


def _grays_count(palette: _Palette, meaning: Meaning) -> bool:
    """Whether the palette holds grays that are the values; if they may be no more than a picture of them, notes it.

    Raises:
      BadImageError: if the colors speak against the indices, and do not count themselves.
    """
    if palette.is_gray:
        grays = palette.colors[:, 0]
        by_gray = meaning.ids_of_values(grays)
        if palette.is_black_and_white:
            by_gray[grays == 255] = -1 if meaning.white is None else meaning.white
            if meaning.is_white_said or not palette.are_indices_ids or (palette.by_index == by_gray).all():
                return True
            raise _doubt("it is black and white", dataclasses.replace(palette, by_color=by_gray), meaning)
        if not palette.are_indices_ids:
            if is_gray := bool((by_gray >= 0).all()):
                note(kinds.PALETTE_BY_GRAY)
            return is_gray
        if (by_gray >= 0).all() and (by_gray != palette.by_index).any() and not palette.repeats_colors:
            note(kinds.PALETTE_DOUBTFUL)
            return False
    if palette.are_indices_ids:
        _check_colors(palette, meaning)
        note(kinds.PALETTE_BY_INDEX)
        kinds.note_palette(palette.used.values, palette.colors)
        black = palette.used.values[(palette.colors == 0).all(axis=-1)]
        # Where palettes were filled up with black, it says nothing; and 255 is ignored.
        if len(black) == 1 and black[0] not in (0, IGNORE_LABEL):
            note(f"{kinds.PALETTE_BLACK}{black[0]}")
    return False


def _check_colors(palette: _Palette, meaning: Meaning) -> None:
    """Raises if the colors speak against the indices, though not all of them are in the label map."""
    is_known = palette.by_color >= 0
    if not meaning.has_colors:
        if palette.are_colors_known and palette.differs:
            raise _doubt("its colors are those that segpipe gives to classes", palette, meaning)
        return
    if (is_known & (palette.by_color != palette.by_index)).any():
        raise _doubt("only some of its colors are in the label map", palette, meaning)
    known = np.array([label.color for label in meaning.label_map.root])
    distances = np.abs(palette.colors[:, np.newaxis] - known).max(axis=-1)
    near = np.array([label.id for label in meaning.label_map.root])[distances.argmin(axis=1)]
    if (distances.min(axis=1) <= _NEAR).all() and (near != palette.by_index).any():
        raise _doubt("its colors are near those of the label map", dataclasses.replace(palette, by_color=near), meaning)


def _by_index(palette: _Palette, meaning: Meaning) -> np.ndarray:
    kinds.note_values(palette.used.values)
    if not palette.are_indices_ids:
        raise _neither(palette, meaning)
    has_objects = bool(((palette.by_index != 0) & (palette.by_index != IGNORE_LABEL)).any())
    if not meaning.is_white_said and IGNORE_LABEL in palette.used.values:
        note(kinds.OBJECTS_AND_255 if has_objects else kinds.ONLY_0_AND_255)
    if has_objects:
        note(kinds.OBJECTS_OF_TWO if len(meaning.label_map) == 2 else kinds.OBJECTS)
        if len(meaning.label_map) > 2 and not meaning.is_white_said:
            note(kinds.OBJECTS_OF_MANY)
    return palette.used.replaced_by(palette.by_index)


def _doubt(why: str, palette: _Palette, meaning: Meaning) -> BadImageError:
    differs = palette.by_index != palette.by_color
    is_known = differs & (palette.by_color >= 0)
    place = int(np.flatnonzero(is_known if is_known.any() else differs)[0])
    by_index, by_color = (meaning.name(int(ids[place])) for ids in (palette.by_index, palette.by_color))
    return BadImageError(
        f"a palette image that could be read in two ways ({why}): index {palette.used.values[place]}, shown as "
        f"{kinds.hex_color(palette.colors[place])}, is {by_index} by its index, and {by_color} by its color; say what "
        "counts with --masks-hold ids or --masks-hold colors"
    )


def _neither(palette: _Palette, meaning: Meaning) -> BadImageError:
    kinds.note_unknown(palette.used.values[palette.by_index < 0])
    no_id = palette.used.values[palette.by_index < 0][0]
    message = f"a palette image whose index {no_id} is no class id"
    if not meaning.has_colors:
        kinds.note_colors(packed(palette.colors))
        return BadImageError(f"{message}; if its colors count, --labels takes a file with the color of each class")
    if palette.are_colors_known:
        return BadImageError(f"{message}; its colors are all in the label map, but --masks-hold ids was given")
    no_color = palette.colors[palette.by_color < 0][0]
    return BadImageError(f"{message}, and whose color {kinds.hex_color(no_color)} is not in the label map")
