"""Which classes do the values in masks stand for? A label map, and the reasons for it."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Sequence
from typing import Any

from data.base.errors import UserError
from data.contract import IGNORE_LABEL
from data.inspection.class_names import NameFile
from data.inspection.mask_values import Color, MaskLook, MaskValues
from data.inspection.not_classes import MOST_CLASSES, check_meaning
from data.label_map import LabelMap, distinct_colors
from data.label_map_files import MaskLabels

_RENAME = "rename them in labels.yaml"
_BLACK = (0, 0, 0)
# The names and the order of the PASCAL VOC challenge (Everingham et al., "The PASCAL Visual Object Classes Challenge: A
# Retrospective", IJCV 2015), whose palette many tools use for classes of their own.
_VOC = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip

Values = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class ClassProposal:
    """What the values in masks are taken for.

    Attributes:
      labels: the classes.
      reasons: what speaks for it.
      assumptions: what nobody can know from the files, and was decided all the same.
      options: options of the format that it takes, beside the labels.
    """

    labels: MaskLabels
    reasons: tuple[str, ...]
    assumptions: tuple[str, ...] = ()
    options: dict[str, Any] = dataclasses.field(default_factory=dict)


def propose_classes(values: MaskValues, name_files: Sequence[NameFile], max_pixels: int) -> ClassProposal:
    """The classes of masks.

    Args:
      values: what the masks hold.
      name_files: files that may name the classes.
      max_pixels: larger masks are not read.

    Raises:
      UserError: if the masks cannot hold classes, or two readings are possible; says what to do.
    """
    ids, colors = _ids_or_colors(values)
    check_meaning(values, ids, max_pixels)
    transparent = sum(look.transparent > 0 for look in values.looks)
    adds_background = transparent and (_BLACK not in colors if colors else 0 not in ids)
    if adds_background and colors:
        colors = {_BLACK: 0, **colors}
    elif adds_background:
        ids = {0: 0, **ids}
    if len(ids or colors) < 2:
        found = join(ids) if ids else list(next(iter(colors), ()))
        raise UserError(
            f"each of the {len(values.looks)} masks that were read holds nothing but {found or 'transparent pixels'}, "
            "and a model needs two classes at least; are these the masks?"
        )
    if colors and (indices := _voc_indices(colors)):
        proposal = _from_voc_colors(colors, indices, values, name_files)
    elif colors:
        proposal = _from_colors(colors, values, name_files)
    else:
        proposal = _from_ids(ids, values.palette() or {}, f"the masks hold the values {join(ids)}", values, name_files)
    if not transparent:
        return proposal
    meaning = proposal.labels.label_map.names[0] if adds_background else "ignore"
    shown = f"transparent pixels, in {transparent} masks, are {meaning if adds_background else 'ignored'}"
    return dataclasses.replace(
        proposal,
        assumptions=(*proposal.assumptions, f"{shown}; --transparent takes ignore or a class"),
        options={**proposal.options, "transparent": meaning},
    )


def _ids_or_colors(values: MaskValues) -> tuple[dict[int, int], dict[Color, int]]:
    """What counts in these masks: their values, or their colors."""
    in_color = [look for look in values.looks if look.colors and not look.has_palette]
    in_gray = [look for look in values.looks if look.ids and not look.has_palette]
    if in_color and in_gray:
        # Black and white are also colors, and a mask in color may happen to have no others.
        unclear = [look for look in in_gray if not set(_grays(look)) <= {*values.colors(), _BLACK}]
        if unclear:
            raise UserError(
                f"{unclear[0].path} holds gray values ({join(unclear[0].ids)}), {in_color[0].path} holds colors; "
                "nothing says which value is which color. Save all masks alike"
            )
        return {}, {**({_BLACK: 0} if any(0 in look.ids for look in in_gray) else {}), **values.colors()}
    if in_color or (values.palette() is None and len(values.colors()) <= MOST_CLASSES):
        return {}, values.colors()
    return values.ids(), {}


def _grays(look: MaskLook) -> list[Color]:
    return [(value, value, value) for value in look.ids]


def _from_colors(colors: dict[Color, int], values: MaskValues, name_files: Sequence[NameFile]) -> ClassProposal:
    found = f"the masks hold {len(colors)} colors"
    options = {}
    if values.palette() is None:
        found += ", whose places in the palettes differ from file to file"
        options = {"masks_hold": "colors"}
    unused: list[str] = []
    for file in name_files:
        if file.has_colors(colors):
            return ClassProposal(file.labels, (f"{found}, all of them in {file.path}",), tuple(unused), options)
        unused.append(_unused(file, found))
    names = [
        "background" if color == _BLACK else f"class_{index}"
        for index, color in enumerate(colors, _BLACK not in colors)
    ]
    named = [(name, (index,)) for index, name in enumerate(names)]
    why = f"{found}; black comes first, the others by their share of the pixels"
    assumed = f"no file names the colors: the classes are called {_some(names)}; {_RENAME}"
    return ClassProposal(_labels(named, list(colors)), (why,), (*unused, assumed), options)


def _from_voc_colors(
    colors: dict[Color, int], indices: dict[Color, int], values: MaskValues, name_files: Sequence[NameFile]
) -> ClassProposal:
    """Colors that stand for indices of PASCAL VOC's palette, void among them, which is ignored."""
    ids = {index: colors[color] for color, index in indices.items() if index != IGNORE_LABEL}
    palette = {index: _voc_color(index) for index in range(IGNORE_LABEL + 1)}
    found = f"the masks hold {len(ids)} colors of PASCAL VOC's palette, the indices {join(ids)}"
    proposal = _from_ids(ids, palette, found, values, name_files)
    ignored = {"id": IGNORE_LABEL, "name": "(ignored)", "color": palette[IGNORE_LABEL]}
    classes = [one.model_dump() for one in proposal.labels.label_map.classes]
    labels = proposal.labels.model_copy(update={"label_map": LabelMap.model_validate([*classes, ignored])})
    why = "its color of void, 224,224,192, is ignored: neither learned nor counted"
    options = {"masks_hold": "colors"} if values.palette() is None else {}
    return dataclasses.replace(proposal, labels=labels, reasons=(*proposal.reasons, why), options=options)


def _voc_indices(colors: Iterable[Color]) -> dict[Color, int]:
    """The index in PASCAL VOC's palette of each color; empty if it lacks one, or void is not among them."""
    known = {_voc_color(index): index for index in range(IGNORE_LABEL + 1)}
    found = {color: known[color] for color in colors if color in known}
    return found if len(found) == len([*colors]) > 2 and {0, IGNORE_LABEL} <= {*found.values()} else {}


def _from_ids(
    ids: dict[int, int], palette: dict[int, Color], found: str, values: MaskValues, name_files: Sequence[NameFile]
) -> ClassProposal:
    classes, reasons, assumptions = _classes(ids, values)
    unused: list[str] = []
    for file in name_files:
        by_color = bool(palette) and file.has_colors(palette.values())
        if by_color or (not file.names and file.has_values(ids)):
            what = "colors" if by_color else "values"
            return ClassProposal(file.labels, (f"{found}; {file.path} names their {what}",), tuple(unused))
        if named := _named(classes, file.names):
            why = f"{file.path} has the names, in this order: {_some([name for name, _ in named])}"
            return ClassProposal(_labels_of(named, palette), (found, *reasons, why), (*unused, *assumptions))
        unused.append(_unused(file, found))
    if _is_voc(classes, palette):
        why = "21 classes in PASCAL VOC's colors: they have its names"
        named = list(zip(_VOC, classes, strict=True))
        return ClassProposal(_labels_of(named, palette), (found, *reasons, why), tuple(assumptions))
    names = ["background" if each[0] == 0 else f"class_{each[0]}" for each in classes]
    if len(classes) == 2 and classes[0] == (0,):
        names[1] = "foreground"
    assumed = f"no file names the values: the classes are called {_some(names)}; {_RENAME}"
    labels = _labels_of(list(zip(names, classes, strict=True)), palette)
    return ClassProposal(labels, (found, *reasons), (*unused, *assumptions, assumed))


def _classes(ids: dict[int, int], values: MaskValues) -> tuple[list[Values], list[str], list[str]]:
    """The values of each class, with reasons and assumptions; without 255 where that means ignore."""
    found = sorted(ids)
    others = [value for value in found if value not in (0, IGNORE_LABEL)]
    each: list[Values] = [(value,) for value in found]
    if IGNORE_LABEL not in found:
        return each, [], []
    if found == [0, 1, IGNORE_LABEL] and not any({1, IGNORE_LABEL} <= set(look.ids) for look in values.looks):
        why = "some masks have 255 where others have 1, and none has both: both are the foreground"
        return [(0,), (1, IGNORE_LABEL)], [], [why]
    if not others or found == [others[0], IGNORE_LABEL]:
        return each, ["beside a single other value, 255 is a class, and nothing is ignored"], []
    steps = [after - before for before, after in itertools.pairwise(found)]
    if min(steps) > 16 and max(steps) <= 1.2 * min(steps):
        why = f"the values are spread evenly up to {found[-1]}, so 255 is a class, and not to be ignored"
        return each, [], [why]
    why = "255, beside other ids, is ignored: neither learned nor counted"
    return [each_value for each_value in each if each_value != (IGNORE_LABEL,)], [why], []


def _named(classes: list[Values], names: tuple[str, ...]) -> list[tuple[str, Values]]:
    """Names with the values that they stand for; empty if these names cannot be those of these values."""
    last = max(value for values in classes for value in values)
    numbered: list[tuple[str, Values]] = [(name, (index,)) for index, name in enumerate(names)]
    if last < len(names) >= 2:
        return numbered
    if len(names) == len(classes):
        return list(zip(names, classes, strict=True))
    from_one: list[tuple[str, Values]] = [(name, (index + 1,)) for index, name in enumerate(names)]
    if 0 not in classes[0]:
        return from_one if last <= len(names) >= 2 else []
    if len(names) == len(classes) - 1:
        return [("background", classes[0]), *zip(names, classes[1:], strict=True)]
    return [("background", (0,)), *from_one] if last <= len(names) else []


def _labels_of(named: Sequence[tuple[str, Values]], palette: dict[int, Color]) -> MaskLabels:
    """Labels with the masks' own colors, if each class has one of its own that is not gray."""
    colors = [palette[of_class[0]] for _, of_class in named if of_class[0] in palette]
    is_colored = len(set(colors)) == len(named) and any(len(set(color)) > 1 for color in colors)
    return _labels(named, colors if is_colored else None)


def _labels(named: Sequence[tuple[str, Values]], colors: Sequence[Color] | None) -> MaskLabels:
    entries = [
        {"id": index, "name": name, "color": color}
        for index, ((name, _), color) in enumerate(zip(named, colors or distinct_colors(len(named)), strict=True))
    ]
    values = {value: index for index, (_, of_class) in enumerate(named) for value in of_class}
    return MaskLabels(label_map=LabelMap.model_validate(entries), values=values, has_colors=colors is not None)


def labels_text(labels: MaskLabels) -> str:
    """The text of a labels.yaml that says the same, one class a line."""
    lines = []
    for label, line in zip(labels.label_map.root, labels.label_map.to_yaml().splitlines(), strict=True):
        own = [value for value, class_id in labels.values.items() if class_id == label.id]
        if not labels.has_colors:
            line = f"{line.rpartition(', color: ')[0]}}}"
        if own not in ([], [label.id]):
            line = f"{line[:-1]}, value: {own[0] if len(own) == 1 else own}}}"
        lines.append(line)
    named = {label.id for label in labels.label_map.root}
    ignored = [value for value, class_id in labels.values.items() if class_id == IGNORE_LABEL != value]
    if ignored and IGNORE_LABEL not in named:
        lines.append(f"- {{ignore: {ignored}}}")
    return "\n".join(lines) + "\n"


def _is_voc(classes: list[Values], palette: dict[int, Color]) -> bool:
    return classes == [(index,) for index in range(len(_VOC))] and all(
        palette.get(index) == _voc_color(index) for index in range(len(_VOC))
    )


def _voc_color(index: int) -> Color:
    """PASCAL VOC's color of an index: its bits, three at a time, from the highest bit of each channel down."""
    red, green, blue = (
        sum((index >> (3 * place + channel) & 1) << (7 - place) for place in range(3)) for channel in range(3)
    )
    return red, green, blue


def _unused(file: NameFile, found: str) -> str:
    return f"{file.path} was not used: it names {len(file.names) or len(file)} classes, but {found}"


def _some(names: Sequence[str]) -> str:
    return ", ".join([*names[:4], *(["…"] if len(names) > 4 else [])])


def join(values: Iterable[int]) -> str:
    """Values in words; of many, the first ones and the last."""
    listed = [str(value) for value in sorted(values)]
    return ", ".join(listed if len(listed) <= 12 else [*listed[:8], "…", listed[-1]])
