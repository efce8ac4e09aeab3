"""What is noted while masks are read, and what it says about the data set once all of them were."""

from __future__ import annotations

import json

import numpy as np

from data.base.errors import UserError
from data.contract import IGNORE_LABEL
from data.decoding.notes import Notes, note
from data.label_map import LabelMap

# A mask of 0 and 255, where 255 was read as "ignore".
ONLY_0_AND_255 = "mask: 0 and 255 alone"
OBJECTS_AND_255 = "mask: 255 beside ids other than 0"
OBJECTS = "mask: ids other than 0"
OBJECTS_OF_TWO = "mask: id 1 of two classes"
OBJECTS_OF_MANY = "mask: ids other than 0, of more than two classes and in more than one bit"
WHITE_BIT = "mask: white of one bit, read as id 1"

PALETTE_BY_COLOR = "mask: palette read by colors, unlike its indices"
PALETTE_BY_INDEX = "mask: palette read by indices, unlike its colors"
PALETTE_BLACK = "mask: palette that has black, though not at index 0: "
PALETTE_BY_GRAY = "mask: palette of grays read by grays, unlike its indices"
PALETTE_DOUBTFUL = "mask: palette of grays read by indices, though the grays are ids too"
GRAY_BY_COLOR = "mask: gray read by the label map's colors"
GRAY_ONLY_VALUES = "mask: gray that holds ids only"
GRAY_DOUBTFUL = "mask: gray read as ids, though the label map has these grays too"
COLOR_CERTAIN = "mask: the label map's colors, and no ids"
COLOR_DOUBTFUL = "mask: read by colors, though its grays are ids too"

NEAREST_MASKS = "mask: read as the nearest values or colors"
NEAREST_PIXELS = "mask: pixels read as the nearest value or color"

# What was seen of masks counts even if they cannot be used, for a proposal.
SEEN = "mask holds "
_VALUE, _COLOR = f"{SEEN}value ", f"{SEEN}color "
UNKNOWN_VALUES = f"{SEEN}values of no class"
_UNKNOWN = f"{SEEN}no class for value "
_PALETTE = "mask: palette index "
_MOST = 64
# Colors of palettes are noted in steps; the same index with colors further apart stands for something else.
_STEP, _FAR = 32, 96
# A value in a smaller share of the masks is a slip, if the classes have their values without it.
_SLIP = 0.25


def note_values(values: np.ndarray) -> None:
    """Notes the values of a mask, unless they are too many to be classes."""
    if len(values) <= _MOST:
        for value in values:
            note(f"{_VALUE}{int(value)}")


def note_unknown(values: np.ndarray) -> None:
    """Notes the values of a mask that no class has."""
    note(UNKNOWN_VALUES)
    for value in values[:_MOST]:
        note(f"{_UNKNOWN}{int(value)}")


def note_colors(colors: np.ndarray) -> None:
    """Notes the packed colors of a mask, unless they are too many to be classes."""
    if len(colors) <= _MOST:
        for color in colors:
            note(f"{_COLOR}#{int(color):06x}")


def note_palette(indices: np.ndarray, colors: np.ndarray) -> None:
    """Notes about which color each index stands for."""
    for index, color in zip(indices, colors, strict=True):
        note(f"{_PALETTE}{int(index)} is {','.join(str(int(channel) // _STEP * _STEP) for channel in color)}")


def hex_color(color: np.ndarray) -> str:
    """A color such as #ff8000."""
    return "no color" if color[0] < 0 else "#" + "".join(f"{int(channel):02x}" for channel in color)


def check_masks(notes: Notes) -> None:
    """Raises a UserError if masks were read in ways that contradict each other."""
    _check_white(notes)
    for one, other in (
        (PALETTE_BY_COLOR, PALETTE_BY_INDEX),
        (PALETTE_BY_GRAY, PALETTE_BY_INDEX),
        (PALETTE_BY_GRAY, PALETTE_DOUBTFUL),
        (GRAY_BY_COLOR, GRAY_ONLY_VALUES),
        (GRAY_BY_COLOR, GRAY_DOUBTFUL),
        # Where some masks hold ids and others colors, nothing tells what those hold that could be either.
        (COLOR_CERTAIN, GRAY_DOUBTFUL),
        (PALETTE_BY_COLOR, GRAY_DOUBTFUL),
        (COLOR_DOUBTFUL, GRAY_ONLY_VALUES),
        (COLOR_DOUBTFUL, PALETTE_BY_INDEX),
    ):
        if one in notes.counts and other in notes.counts:
            raise _contradiction(notes, one, other)
    for doubtful, certain in (
        (PALETTE_DOUBTFUL, PALETTE_BY_INDEX),
        (GRAY_DOUBTFUL, GRAY_ONLY_VALUES),
        (COLOR_DOUBTFUL, COLOR_CERTAIN),
    ):
        if doubtful in notes.counts and certain not in notes.counts:
            raise UserError(
                f"{notes.counts[doubtful]} masks can be read both as values and by their grays, with different "
                f"results, and no other mask tells which is meant ({notes.first[doubtful]}); say what counts with "
                "--masks-hold ids or --masks-hold colors"
            )
    _check_palettes(notes)


def _check_white(notes: Notes) -> None:
    remedy = (
        "If 255 is an object, give --foreground 255, or value: 255 for its class in a labels.yaml; if it is to be "
        "ignored, add - {ignore: [255]} to the labels.yaml"
    )
    if ONLY_0_AND_255 not in notes.counts:
        others = next((kind for kind in (OBJECTS_AND_255, OBJECTS_OF_MANY) if kind in notes.counts), "")
        if WHITE_BIT in notes.counts and others:
            # What shrinks files stores 0 and 255 in one bit, too.
            raise UserError(
                f"some masks are black and white ({notes.first[WHITE_BIT]}), where white is id 1, or a 255 that a tool "
                f"stored in one bit and that means ignore; others hold ids in more bits ({notes.first[others]}). If "
                "white is id 1, add - {ignore: [255]} to the file given to --labels; if not, save the black and white "
                "masks anew with 8 bits"
            )
        return
    white = notes.first[ONLY_0_AND_255]
    others = OBJECTS_OF_TWO if OBJECTS_OF_TWO in notes.counts else OBJECTS
    # Of two classes, masks of one bit count among those with objects.
    has_ones = others == OBJECTS_OF_TWO and notes.counts[others] > notes.counts.get(WHITE_BIT, 0)
    if has_ones:
        remedy = (
            "If 255 is the same as 1, give --labels a labels.yaml with value: [1, 255] for its class; if it is to be "
            "ignored, add - {ignore: [255]} to the labels.yaml"
        )
    if GRAY_DOUBTFUL in notes.counts:
        remedy = f"If the masks hold the colors of --labels, give --masks-hold colors. {remedy}"
    if WHITE_BIT in notes.counts:
        raise UserError(
            f"some masks are black and white of one bit ({notes.first[WHITE_BIT]}), where white is id 1, and others "
            f"hold 0 and 255 ({white}), where 255 means ignore. {remedy}"
        )
    if others not in notes.counts:
        raise UserError(
            f"the masks hold 0 and 255, and nothing else; 255 means ignore, so only one class is left ({white}). "
            f"{remedy}"
        )
    if others == OBJECTS_OF_TWO and OBJECTS_AND_255 not in notes.counts:
        raise UserError(
            f"some masks hold 0 and 1 ({notes.first[others]}), others 0 and 255 ({white}), none all three; 255 means "
            f"ignore, but here it may be what 1 is elsewhere. {remedy}"
        )


def _contradiction(notes: Notes, one: str, other: str) -> UserError:
    return UserError(
        f"the masks contradict each other: {notes.counts[one]} {_plain(one)} ({notes.first[one]}), and "
        f"{notes.counts[other]} {_plain(other)} ({notes.first[other]}); say what counts with --masks-hold colors or "
        "--masks-hold ids"
    )


def _plain(kind: str) -> str:
    return kind.removeprefix("mask: ")


def _check_palettes(notes: Notes) -> None:
    seen: dict[str, list[tuple[np.ndarray, str]]] = {}
    for kind, name in notes.first.items():
        if kind.startswith(_PALETTE):
            index, _, color = kind.removeprefix(_PALETTE).partition(" is ")
            here = np.array([int(channel) for channel in color.split(",")])
            for other, other_name in seen.setdefault(index, []):
                if np.abs(here - other).max() >= _FAR:
                    raise UserError(
                        f"the palettes differ: index {index} is about {hex_color(other)} in {other_name}, and about "
                        f"{hex_color(here)} in {name}, so the order of the palette is probably the tool's, and not the "
                        "classes'. Give the color of each class with --labels FILE; if the indices are the ids all the "
                        "same, --masks-hold ids"
                    )
            seen[index].append((here, name))
    # Of the index 0, which other masks may have.
    if seen.get("0") and all(color.any() for color, _ in seen["0"]):
        for kind, name in notes.of_kinds(PALETTE_BLACK).first.items():
            raise UserError(
                f"index {kind.removeprefix(PALETTE_BLACK)} is black in the palette of {name}, and index 0 is not, but "
                f"about {hex_color(seen['0'][0][0])}. Black is mostly the background, so the order of the palette is "
                "probably the tool's, and not the classes'. Give the color of each class with --labels FILE; if the "
                "indices are the ids all the same, --masks-hold ids"
            )


def proposal(notes: Notes, label_map: LabelMap) -> str:
    """Lines of a labels.yaml that would fit the values or colors of all masks; empty if there is nothing to propose."""
    colors = sorted(kind.removeprefix(_COLOR) for kind in notes.counts if kind.startswith(_COLOR))
    values = sorted(int(kind.removeprefix(_VALUE)) for kind in notes.counts if kind.startswith(_VALUE))
    if colors:
        return _proposed_colors(colors, label_map)
    count = len(label_map)
    # Negative numbers mostly stand for "no data".
    unlabeled = [value for value in values if value < 0 and len(values) == count + 1]
    classes = [value for value in values if value != IGNORE_LABEL or len(values) == count]
    if UNKNOWN_VALUES not in notes.counts or len(classes) < 2:
        return ""
    listed = ", ".join(str(value) for value in values)
    unknown = [int(kind.removeprefix(_UNKNOWN)) for kind in notes.counts if kind.startswith(_UNKNOWN)]
    known = [value for value in classes if value not in unknown]
    most = max(notes.counts[f"{_VALUE}{value}"] for value in values)
    if len(known) >= count and notes.counts[UNKNOWN_VALUES] < _SLIP * most:
        return _slips(sorted(unknown), notes, label_map, known)
    if len(classes) == count:
        lines = _lines(label_map, classes)
    elif len(unlabeled) == 1 and len(classes) == count + 1:
        lines = [*_lines(label_map, classes[1:]), f"- {{ignore: {unlabeled}}}"]
    elif len(classes) == count + 1 and classes[0] == 0:
        lines = [*_lines(label_map, classes[1:]), "- {ignore: [0]}"]
    else:
        return (
            f"\nThe masks hold {listed}, and there are {count} classes. A labels.yaml, given to --labels, says which "
            "values each class has, and which are ignored:\n  "
            f"- {{id: 0, name: {_quoted(label_map.names[0])}, value: [{classes[0]}, {classes[1]}]}}\n  …\n  "
            f"- {{ignore: [{classes[-1]}]}}"
        )
    is_binary = len(classes) == count == 2 and classes[0] == 0 < classes[1]
    other = f"\nor give --foreground {classes[1]}" if is_binary else ""
    return (
        f"\nThe masks hold {listed}. If the classes have these values in their order, write a labels.yaml with these "
        "lines, and give it to --labels:\n  " + "\n  ".join(lines) + other
    )


def _slips(unknown: list[int], notes: Notes, label_map: LabelMap, known: list[int]) -> str:
    found = ", ".join(map(str, unknown))
    start = (
        f"\nValues of no class ({found}) are in some masks ({notes.counts[UNKNOWN_VALUES]}), such as that of "
        f"{notes.first[UNKNOWN_VALUES]}. If these are slips, mend the masks; if they do not count, "
    )
    if known != list(range(len(label_map))):
        return f"{start}add - {{ignore: [{found}]}} to the labels.yaml"
    lines = [f"- {{id: {label.id}, name: {_quoted(label.name)}}}" for label in label_map.classes]
    text = "\n  ".join([*lines, f"- {{ignore: [{found}]}}"])
    return f"{start}write a labels.yaml with these lines, and give it to --labels:\n  {text}"


def _proposed_colors(colors: list[str], label_map: LabelMap) -> str:
    pairs = zip(label_map.names, colors, strict=False)
    lines = [f"- {{name: {_quoted(name)}, color: '{color}'}}" for name, color in pairs]
    rest = colors[len(label_map) :]
    more = f"\nThe masks also hold {', '.join(rest)}." if rest else ""
    return (
        "\nThe masks hold colors. Write a labels.yaml with the color of each class, and give it to --labels instead of "
        "--classes. Which color is which class only you know; these are in no order:\n  " + "\n  ".join(lines) + more
    )


def _quoted(name: str) -> str:
    return json.dumps(name, ensure_ascii=False)


def _lines(label_map: LabelMap, values: list[int]) -> list[str]:
    return [
        f"- {{id: {label.id}, name: {_quoted(label.name)}, value: {value}}}"
        for label, value in zip(label_map.classes, values, strict=True)
    ]
