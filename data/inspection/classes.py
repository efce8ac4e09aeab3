"""Which classes do the values in masks stand for? A label map, and the reasons for it."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from data.base.errors import UserError
from data.base.files import read_bytes
from data.contract import IGNORE_LABEL
from data.decoding.images import BadImageError
from data.decoding.masks import class_ids, read_mask
from data.inspection.class_names import NameFile
from data.inspection.mask_values import Color, MaskLook, MaskValues
from data.label_map import LabelMap

_MOST_CLASSES = 254
_RENAME = "rename them in labels.yaml"
# The names and the order of the PASCAL VOC challenge (Everingham et al., "The PASCAL Visual Object Classes Challenge: A
# Retrospective", IJCV 2015), whose palette many tools use for classes of their own.
_VOC = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class ClassProposal:
    """What the values in masks are taken for.

    Attributes:
      label_map: the classes.
      reasons: what speaks for it.
      assumptions: what nobody can know from the files, and was decided all the same.
    """

    label_map: LabelMap
    reasons: tuple[str, ...]
    assumptions: tuple[str, ...] = ()


def propose_classes(values: MaskValues, name_files: Sequence[NameFile], max_pixels: int) -> ClassProposal:
    """A label map for masks.

    Args:
      values: what the masks hold.
      name_files: files that may name the classes.
      max_pixels: larger masks are not read.

    Raises:
      UserError: if the masks cannot hold classes, or two readings are possible; says what to do.
    """
    _check_areas(values)
    ids, colors = _ids_or_colors(values)
    if colors:
        return _from_colors(colors, name_files)
    _check_instances(values, ids, max_pixels)
    if len(ids) < 2:
        raise UserError(
            f"each of the {len(values.looks)} masks that were read holds nothing but {_join(ids)}, and a model "
            "needs two classes at least; is this the folder of the masks?"
        )
    return _from_ids(ids, values, name_files)


def _check_areas(values: MaskValues) -> None:
    """Masks are areas of one value each; photographs and lossy copies of masks are not."""
    pictures = [look for look in values.looks if look.is_picture]
    if len(pictures) * 2 > len(values.looks):
        raise UserError(
            f"{pictures[0].path} looks like a photograph, not like a mask: hardly two pixels beside each other are "
            f"equal, and so do {len(pictures)} of {len(values.looks)} masks that were read. A mask has one value or "
            "color for each class. If images and masks are in other folders, name them: segpipe convert --format "
            "mask-folder --help"
        )
    if lossy := values.lossy():
        look = lossy[0]
        count = len(look.ids or look.colors)
        why = f"is stored as {look.file_format}, which keeps no exact values"
        if look.is_ragged:
            why = f"has {count} values, most of them along edges only, as JPEG, resizing or smoothing leave them"
        raise UserError(
            f"{look.path} {why}, and so it is with {len(lossy)} of {len(values.looks)} masks that were read. "
            "Export the masks anew from the tool that made them, as PNG and without resizing or smoothing. "
            f"{LOSSY_REMEDY}"
        )


LOSSY_REMEDY = "segpipe convert --format mask-folder --help lists what it can do with masks of two values on request."


def _ids_or_colors(values: MaskValues) -> tuple[dict[int, int], dict[Color, int]]:
    """What counts in these masks: their values, or their colors."""
    in_color = [look for look in values.looks if look.colors and not look.palette]
    in_gray = [look for look in values.looks if look.ids and not look.palette]
    if in_color and in_gray:
        gray, color = in_gray[0], in_color[0]
        if set(gray.ids) - {0, 255} or set(values.colors()).isdisjoint(_grays(gray)):
            raise UserError(
                f"{gray.path} holds gray values ({_join(gray.ids)}), {color.path} holds colors; nothing says which "
                "value is which color. Save all masks alike"
            )
        return {}, {**values.colors(), **{gray: 0 for gray in _grays(gray) if gray not in values.colors()}}
    if in_color or (values.palette() is None and len(values.colors()) <= _MOST_CLASSES):
        return {}, values.colors()
    return values.ids(), {}


def _grays(look: MaskLook) -> list[Color]:
    return [(value, value, value) for value in look.ids]


def _check_instances(values: MaskValues, ids: dict[int, int], max_pixels: int) -> None:
    """Objects that are numbered are not classes."""
    if len(ids) <= 20:
        return
    crowded = sorted(values.looks, key=lambda look: -len(look.ids))[:10]
    fills = [fill for look in crowded for fill in _fills(look.path, max_pixels)]
    is_numbered = bool(fills) and float(np.median(fills)) > 0.45
    if not is_numbered and len(ids) <= _MOST_CLASSES:
        return
    look = crowded[0]
    raise UserError(
        f"the masks seem to number objects (instance ids): {look.path} holds {len(look.ids)} values up to "
        f"{max(look.ids)}, each in one place. segpipe learns classes. To learn objects against background, write masks "
        "with 0 for background and 1 for any object, such as\n"
        "  Image.fromarray((numpy.asarray(Image.open(path)) > 0).astype('uint8')).save(new_path)\n"
        "with Pillow and NumPy, and start again with the new masks"
    )


def _fills(path: str, max_pixels: int) -> list[float]:
    """How much of its bounding box each value but 0 fills: much for one object, little for what is all over a mask."""
    try:
        mask = read_mask(read_bytes(path), max_pixels)
    except (BadImageError, OSError):
        return []
    mask = mask[..., 0] if mask.ndim == 3 else mask
    rows, columns = np.nonzero(mask)
    values, inverse, counts = np.unique(mask[rows, columns], return_inverse=True, return_counts=True)
    boxes = []
    for places in (rows, columns):
        low, high = np.full(len(values), np.iinfo(np.int64).max), np.zeros(len(values), np.int64)
        np.minimum.at(low, inverse, places)
        np.maximum.at(high, inverse, places)
        boxes.append(high - low + 1)
    return list(counts / (boxes[0] * boxes[1]))


def _from_colors(colors: dict[Color, int], name_files: Sequence[NameFile]) -> ClassProposal:
    if len(colors) > _MOST_CLASSES:
        raise UserError(
            f"the masks hold {len(colors)} colors, more than {_MOST_CLASSES} classes can have; if only some of them "
            "are classes, write a labels.yaml with those, and give it to segpipe convert --format mask-folder --labels"
        )
    if len(colors) < 2:
        raise UserError(f"each mask is {list(next(iter(colors)))} all over; a model needs two classes at least")
    found = f"the masks hold {len(colors)} colors"
    unused: list[str] = []
    for file in name_files:
        if file.label_map and _fits(np.array([list(colors)], np.uint8), file.label_map):
            return ClassProposal(file.label_map, (f"{found}, all of them in {file.path}",), tuple(unused))
        unused.append(_unused(file, found))
    names = _numbered(len(colors), has_background=(0, 0, 0) in colors)
    entries = [{"id": i, "name": name, "color": color} for i, (name, color) in enumerate(zip(names, colors))]
    return ClassProposal(
        LabelMap.model_validate(entries),
        (f"{found}; black comes first, the others by their share of the pixels",),
        (*unused, f"no file names the colors: the classes are called {names[0]}, {names[1]}, …; {_RENAME}"),
    )


def _from_ids(ids: dict[int, int], values: MaskValues, name_files: Sequence[NameFile]) -> ClassProposal:
    found = f"the masks hold the values {_join(ids)}"
    unused: list[str] = []
    for file in name_files:
        if file.label_map and _fits(np.array([list(ids)], np.int64), file.label_map):
            return ClassProposal(file.label_map, (f"{found}, all of them in {file.path}",), tuple(unused))
        if file.label_map:
            unused.append(_unused(file, found))
    classes, reasons, assumptions = _classes(ids, values)
    reasons = [found, *reasons]
    for file in name_files:
        if not file.label_map:
            if named := _named(classes, file.names):
                label_map = _label_map(named, values)
                why = f"{file.path} has the names, in this order: {', '.join(label_map.names)}"
                return ClassProposal(label_map, (*reasons, why), (*unused, *assumptions))
            unused.append(_unused(file, found))
    if _is_voc(classes, values):
        why = "21 classes in PASCAL VOC's colors: they have its names"
        return ClassProposal(_label_map(list(zip(_VOC, classes)), values), (*reasons, why), tuple(assumptions))
    has_background = classes[0][0] == 0
    if len(classes) == 2 and has_background:
        names = ["background", "foreground"]
    else:
        names = ["background" if each[0] == 0 else f"class_{each[0]}" for each in classes]
    assumed = f"no file names the values: the classes are called {', '.join(names[:3])}{' …' * (len(names) > 3)}"
    label_map = _label_map(list(zip(names, classes)), values)
    return ClassProposal(label_map, tuple(reasons), (*unused, *assumptions, f"{assumed}; {_RENAME}"))


def _classes(ids: dict[int, int], values: MaskValues) -> tuple[list[tuple[int, ...]], list[str], list[str]]:
    """The values of each class, with reasons and assumptions; without 255 where that means ignore."""
    found = sorted(ids)
    others = [value for value in found if value not in (0, IGNORE_LABEL)]
    if IGNORE_LABEL not in found:
        return [(value,) for value in found], [], []
    if len(others) == 1 and 0 in found and not any({others[0], IGNORE_LABEL} <= set(look.ids) for look in values.looks):
        one = others[0]
        why = f"no mask holds both {one} and 255: some masks have 255 for what others have {one} for"
        return [(0,), (one, IGNORE_LABEL)], [], [f"{why}, so both are the foreground"]
    if len(found) == 2:
        return [(value,) for value in found], ["with one other value, 255 is a class, and nothing is ignored"], []
    steps = [after - before for before, after in itertools.pairwise(found)]
    if min(steps) > 16 and max(steps) <= 1.2 * min(steps):
        why = "the values are spread evenly from 0 to 255, so 255 is a class here"
        return [(value,) for value in found], [why], [f"{why}; if it means ignore, take it out of labels.yaml"]
    why = "255, beside other ids, is ignored: neither learned nor counted"
    return [(value,) for value in found if value != IGNORE_LABEL], [why], []


def _named(classes: list[tuple[int, ...]], names: tuple[str, ...]) -> list[tuple[str, tuple[int, ...]]]:
    """Names with the values that they stand for; empty if these names cannot be those of these values."""
    last = max(value for values in classes for value in values)
    if last < len(names) >= 2:
        return [(name, (index,)) for index, name in enumerate(names)]
    if len(names) == len(classes):
        return list(zip(names, classes))
    if classes[0] != (0,):
        numbered = [(name, (index,)) for index, name in enumerate(names, start=1)]
        return numbered if last <= len(names) >= 2 else []
    if len(names) == len(classes) - 1:
        return [("background", classes[0]), *zip(names, classes[1:])]
    if last <= len(names):
        return [("background", (0,)), *((name, (index,)) for index, name in enumerate(names, start=1))]
    return []


def _label_map(named: Sequence[tuple[str, tuple[int, ...]]], values: MaskValues) -> LabelMap:
    """A label map in the order of the ids, with the masks' own colors where they have any."""
    labels = LabelMap.from_names([name for name, _ in named]).root
    palette = values.palette() or {}
    colors = [palette.get(of_class[0]) for _, of_class in named]
    are_used = all(colors) and len(set(colors)) == len(colors) and any(len(set(color or ())) > 1 for color in colors)
    entries: list[dict[str, Any]] = []
    for label, color, (_, of_class) in zip(labels, colors, named, strict=True):
        entry = {"id": label.id, "name": label.name, "color": color if are_used else label.color}
        if of_class != (label.id,):
            entry["value"] = of_class[0] if len(of_class) == 1 else list(of_class)
        entries.append(entry)
    return LabelMap.model_validate(entries)


def _is_voc(classes: list[tuple[int, ...]], values: MaskValues) -> bool:
    palette = values.palette() or {}
    return [each[0] for each in classes] == list(range(len(_VOC))) and all(
        palette.get(index) == _voc_color(index) for index in range(len(_VOC))
    )


def _voc_color(index: int) -> Color:
    """PASCAL VOC's color of an index: its bits, three at a time, from the highest bit of each channel down."""
    red, green, blue = (
        sum((index >> 3 * place + channel & 1) << 7 - place for place in range(3)) for channel in range(3)
    )
    return red, green, blue


def _fits(mask: np.ndarray, label_map: LabelMap) -> bool:
    try:
        class_ids(mask, label_map)
    except BadImageError:
        return False
    return True


def _unused(file: NameFile, found: str) -> str:
    return f"{file.path} was not used: it names {len(file.names or file.label_map or ())} classes, but {found}"


def _numbered(count: int, has_background: bool) -> list[str]:
    return ["background" if not index and has_background else f"class_{index}" for index in range(count)]


def _join(values: Any) -> str:
    """Values in words; of many, the first ones and the last."""
    listed = [str(value) for value in sorted(values)]
    if len(listed) > 12:
        listed = [*listed[:8], "…", listed[-1]]
    return ", ".join(listed)
