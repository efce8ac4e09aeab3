"""Turns masks of any origin into class ids."""

from __future__ import annotations

import dataclasses

import numpy as np

from data.contract import IGNORE_LABEL
from data.decoding import mask_consistency as kinds
from data.decoding.edges import values_along_edges
from data.decoding.images import BadImageError
from data.decoding.mask_files import Mask, read_mask
from data.decoding.meaning import Meaning, packed
from data.decoding.notes import note
from data.decoding.palettes import read_palette
from data.decoding.used_values import UsedValues
from data.label_map import LabelMap

__all__ = ["Mask", "class_ids", "read_mask"]

# Values or colors that are nearer to each other cannot be told apart once they were mixed.
_LEAST_GAP = 16
_SMOOTHED = (
    "as smoothing, resizing or lossy compression leave them; save masks exactly as they were drawn, and resize them by "
    "nearest neighbor"
)
_NEAREST = "--nearest takes the nearest instead"


def class_ids(mask: Mask, meaning: Meaning | LabelMap) -> np.ndarray:
    """Turns a mask of values or colors into [height, width] uint8 class ids.

    The same classes stored in any lossless encoding give the same ids, or an error. What only all masks of a data set
    can tell is noted, and judged by `data.decoding.consistency`.

    Args:
      mask: what `read_mask` returned.
      meaning: what its values and colors mean; for a label map, that they are its ids or colors. 255 may always occur.

    Raises:
      BadImageError: if a value or color is of no class, or it is doubtful what the mask holds.
    """
    if isinstance(meaning, LabelMap):
        meaning = Meaning.of(meaning)
    if mask.lossy and not meaning.nearest:
        raise BadImageError(
            f"{mask.lossy} does not keep exact values, so pixels along edges are of wrong classes; save masks as PNG "
            f"from where they were drawn. For values or colors far apart, {_NEAREST}"
        )
    if mask.alpha is None:
        return _opaque_ids(mask, meaning)
    hidden = _hidden(mask, meaning)
    if hidden.all():
        return np.full(hidden.shape, meaning.transparent, np.uint8)
    # Nothing may depend on the values of transparent pixels, which tools change as they like.
    pixels = mask.pixels.copy()
    pixels[hidden] = pixels[~hidden][0]
    ids = _opaque_ids(dataclasses.replace(mask, pixels=pixels, alpha=None), meaning)
    ids[hidden] = meaning.transparent
    return ids


def _hidden(mask: Mask, meaning: Meaning) -> np.ndarray:
    """Which pixels are transparent."""
    assert mask.alpha is not None
    partly = np.count_nonzero((mask.alpha > 0) & (mask.alpha < 255))
    if partly:
        raise BadImageError(
            f"{partly} pixels are partly transparent, so it is doubtful which class they are of; save the mask without "
            "transparency"
        )
    hidden = mask.alpha == 0
    if meaning.transparent is None:
        raise BadImageError(
            f"{np.count_nonzero(hidden)} pixels are transparent, and nothing says which class they are of; give it "
            "with --transparent CLASS, or --transparent ignore"
        )
    return hidden


def _opaque_ids(mask: Mask, meaning: Meaning) -> np.ndarray:
    if mask.palette is not None:
        found = read_palette(mask, meaning)
        if isinstance(found, np.ndarray):
            return found
        mask = found
    return _color_ids(mask, meaning) if mask.pixels.ndim == 3 else _value_ids(mask, meaning)


def _value_ids(mask: Mask, meaning: Meaning) -> np.ndarray:
    used = UsedValues.of(mask.pixels)
    if mask.is_bilevel:
        white = -1 if meaning.white is None else meaning.white
        ids = np.where(used.values == 1, white, meaning.ids_of_values(used.values))
    else:
        ids = meaning.ids_of_values(used.values)
        kinds.note_values(used.values)
    if meaning.nearest and not mask.is_bilevel and (mask.lossy or (ids < 0).any()):
        return _nearest_values(used, ids, meaning)
    ids, is_by_color = _choose(mask, used, ids, meaning)
    if (ids < 0).any():
        raise _unknown_values(mask, used, ids, meaning)
    # Whoever says that masks hold ids, means these too.
    is_doubtful = not is_by_color and not mask.is_bilevel and meaning.kind != "ids"
    if is_doubtful and (edges := values_along_edges(mask.pixels, used)):
        raise BadImageError(
            f"{_some(edges)} lie along edges, between the values of the areas there, {_SMOOTHED}; if they are classes "
            "all the same, --masks-hold ids"
        )
    if not is_by_color and not meaning.is_white_said:
        _note_white(mask, used.values, ids, meaning)
    return used.replaced_by(ids)


def _choose(mask: Mask, used: UsedValues, ids: np.ndarray, meaning: Meaning) -> tuple[np.ndarray, bool]:
    """The ids of gray values taken as values, or as the gray colors of the label map, and whether it is the latter."""
    if not meaning.has_colors or meaning.kind == "ids":
        return ids, False
    grays = used.values * 255 if mask.is_bilevel else used.values
    is_gray = (grays >= 0) & (grays <= 255)
    by_color = meaning.ids_of_colors(np.where(is_gray, grays * 0x010101, -1))
    are_values, are_colors = (ids >= 0).all(), (by_color >= 0).all()
    if are_colors and meaning.kind == "colors":
        return by_color, True
    if are_colors and are_values and (ids != by_color).any():
        if mask.is_bilevel:
            place = int(np.flatnonzero(ids != by_color)[0])
            shown = "white" if used.values[place] else "black"
            raise BadImageError(
                f"black and white of one bit: {shown} is {meaning.name(int(ids[place]))} as a value, and "
                f"{meaning.name(int(by_color[place]))} by the label map's colors; say what counts with --masks-hold "
                "ids or --masks-hold colors"
            )
        # A color that the user gave weighs more than the meaning that 255 has by default.
        if (used.values[ids != by_color] == IGNORE_LABEL).all() and not meaning.is_white_said:
            note(kinds.GRAY_BY_COLOR)
            return by_color, True
        note(kinds.GRAY_DOUBTFUL)
    elif are_values and not are_colors:
        note(kinds.GRAY_ONLY_VALUES)
    elif are_colors and not are_values:
        note(kinds.GRAY_BY_COLOR)
        return by_color, True
    return ids, False


def _note_white(mask: Mask, values: np.ndarray, ids: np.ndarray, meaning: Meaning) -> None:
    """Notes what tells whether 255 means "ignore", or white and thereby an object."""
    has_objects = ((ids != 0) & (ids != IGNORE_LABEL)).any()
    if mask.is_bilevel:
        if has_objects:
            note(kinds.WHITE_BIT)
    elif IGNORE_LABEL in values:
        note(kinds.OBJECTS_AND_255 if has_objects else kinds.ONLY_0_AND_255)
    if has_objects:
        note(kinds.OBJECTS_OF_TWO if len(meaning.label_map) == 2 else kinds.OBJECTS)
        if len(meaning.label_map) > 2 and not mask.is_bilevel:
            note(kinds.OBJECTS_OF_MANY)


def _color_ids(mask: Mask, meaning: Meaning) -> np.ndarray:
    colors = packed(mask.pixels)
    ids = meaning.ids_of_colors(colors)
    is_known = ids >= 0
    is_exact = is_known.all()
    if is_exact and meaning.has_colors and meaning.kind != "ids" and not mask.lossy:
        if meaning.has_ambiguous_grays and meaning.kind == "auto":
            _note_color(mask, ids, meaning)
        return ids.astype(np.uint8)
    if (mask.pixels == mask.pixels[..., :1]).all():  # An id in all three channels.
        return _value_ids(dataclasses.replace(mask, pixels=mask.pixels[..., 0]), meaning)
    if is_exact and not mask.lossy:
        return ids.astype(np.uint8)
    if meaning.nearest and meaning.has_colors:
        return _nearest_colors(mask, colors, meaning)
    row, column = np.argwhere(~is_known)[0] if not is_exact else (0, 0)
    unknown = np.unique(colors[~is_known])
    message = f"color {mask.pixels[row, column].tolist()} at row {row}, column {column} is not in the label map"
    if len(unknown) > 1:
        message += f", and neither are {len(unknown) - 1} others"
    if not meaning.has_colors:
        kinds.note_colors(np.unique(colors))
        message += "; for masks of colors, --labels takes a file with the color of each class"
    elif len(unknown) > 8:
        message += f"; so many are there {_SMOOTHED}; {_NEAREST}"
    raise BadImageError(message)


def _note_color(mask: Mask, ids: np.ndarray, meaning: Meaning) -> None:
    """Notes whether a mask of the label map's colors could hold ids instead, in all three channels."""
    if (mask.pixels == mask.pixels[..., :1]).all():
        used = UsedValues.of(np.ascontiguousarray(mask.pixels[..., 0]))
        by_value = meaning.ids_of_values(used.values)
        if (by_value >= 0).all() and not np.array_equal(used.replaced_by(by_value), ids):
            note(kinds.COLOR_DOUBTFUL)
            return
    note(kinds.COLOR_CERTAIN)


def _nearest_values(used: UsedValues, ids: np.ndarray, meaning: Meaning) -> np.ndarray:
    known = np.array(sorted(meaning.all_values))
    if len(known) < 2 or np.diff(known).min() < _LEAST_GAP:
        raise BadImageError(
            f"--nearest needs values of the classes at least {_LEAST_GAP} apart, and these are {_listed(known)}; masks "
            "of 0 and 255 need --foreground 255 too"
        )
    nearest = known[np.abs(used.values[:, np.newaxis] - known).argmin(axis=1)]
    _note_nearest(int(used.counts[ids < 0].sum()))
    return used.replaced_by(meaning.ids_of_values(nearest))


def _nearest_colors(mask: Mask, colors: np.ndarray, meaning: Meaning) -> np.ndarray:
    known = np.array([label.color for label in meaning.label_map.root])
    gaps = np.abs(known[:, np.newaxis] - known).max(axis=-1)
    if gaps[~np.eye(len(known), dtype=bool)].min() < _LEAST_GAP:
        raise BadImageError(f"--nearest needs colors that differ by at least {_LEAST_GAP} in a channel")
    used, index = np.unique(colors, return_inverse=True)
    channels = np.stack([used >> 16, used >> 8 & 255, used & 255], axis=-1).astype(np.int64)
    distances = np.stack([((channels - color) ** 2).sum(axis=-1) for color in known])
    ids = np.array([label.id for label in meaning.label_map.root])[distances.argmin(axis=0)]
    _note_nearest(int(np.count_nonzero(distances.min(axis=0)[index] > 0)))
    return ids[index].reshape(colors.shape).astype(np.uint8)


def _note_nearest(pixels: int) -> None:
    if pixels:
        note(kinds.NEAREST_MASKS)
        note(kinds.NEAREST_PIXELS, pixels)


def _unknown_values(mask: Mask, used: UsedValues, ids: np.ndarray, meaning: Meaning) -> BadImageError:
    kinds.note_unknown(used.values[ids < 0])
    if mask.is_bilevel:
        return BadImageError(
            "black and white of one bit, and no class has the value 1 or 255, or two have; name its value with "
            "--foreground, or with value: in a labels.yaml"
        )
    row, column = np.argwhere(used.replaced_by((ids < 0).astype(np.uint8)))[0]
    known = sorted(meaning.values)
    allowed = _listed([value for value in known if value != IGNORE_LABEL])
    ignored = "" if meaning.all_values[IGNORE_LABEL] != IGNORE_LABEL else f", and {IGNORE_LABEL} for ignore"
    message = (
        f"class id {int(mask.pixels[row, column])} at row {row}, column {column} is not in the label map "
        f"({allowed}{ignored}){mask.remark}"
    )
    if edges := values_along_edges(mask.pixels, used):
        message += f"; {_some(edges)} lie along edges, {_SMOOTHED}; for values far apart, {_NEAREST}"
    elif len(used.values) > 2:
        message += f"; the mask holds {_listed(used.values)}"
    return BadImageError(message)


def _some(edges: list[int]) -> str:
    return f"{len(edges)} values ({_listed(edges)})"


def _listed(values: list[int] | np.ndarray) -> str:
    """Values as a reader takes them in: a range, or the first ones."""
    numbers = [int(value) for value in values]
    if len(numbers) > 2 and numbers == list(range(numbers[0], numbers[-1] + 1)):
        return f"{numbers[0]} to {numbers[-1]}"
    return ", ".join(str(number) for number in numbers[:10]) + (", …" if len(numbers) > 10 else "")
