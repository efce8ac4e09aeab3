"""Label maps as people and annotation tools write them: which value and which color of a mask is which class."""

from __future__ import annotations

import csv
import difflib
import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, get_args

import pydantic

from data.base.errors import UserError, explain
from data.base.files import read_bytes
from data.base.yaml_text import read_yaml
from data.contract import IGNORE_LABEL
from data.label_map import Kind, LabelMap, distinct_colors, parse_color

_EXAMPLE = """
A label map has an entry for each class:
  - {id: 0, name: background, color: [0, 0, 0]}
  - {id: 1, name: road, color: '#804080', value: [4, 7]}
  - {ignore: [255]}
Without color a class has only values, without value its id is its value in the masks, and ids may be left out. CVAT's
labelmap.txt, CSV files with the columns name, r, g, b or id, name, color, JSON lists of classes, and text files with a
name on each line are read too."""
# Keys and columns count without upper case, blanks and signs: `Pixel Value` is `pixelvalue`.
_VALUE = ("value", "values")
_ID = ("id", "idx", "index", "pixelvalue", "labelid", "classid", "classindex", "number")
_NAME = ("name", "class", "label", "title", "classname", "labelname")
_KIND = ("kind",)
_COLOR = ("color", "colour", "hex", "rgb", "colorrgb")
_RED_GREEN_BLUE = (("r", "g", "b"), ("red", "green", "blue"))
_LISTS = ("labels", "classes", "categories", "items", "names", "labelclasses", "tools")
# A key as much like one of ours is a slip; Mapillary's `evaluate` is less like `value`.
_SLIP = 0.8
_NUMBERED_LINE = re.compile(r"(-?\d+)\s*[:;,\t ]\s*(\D.*)")
_COLORED_LINE = re.compile(r"(\d+[, \t]+\d+[, \t]+\d+)[:;,\t ]\s*(\D.*)")


class MaskLabels(pydantic.BaseModel):
    """A label map, and which values of the masks are its classes.

    Attributes:
      label_map: the classes as they are stored: ids 0 to C-1, and 255 for what is ignored.
      values: the class id of each value that masks may hold; 255 in the masks need not be among them.
      has_colors: whether the colors were given, so that they may occur in masks, or made up.
    """

    model_config = pydantic.ConfigDict(frozen=True)

    label_map: LabelMap
    values: dict[int, int]
    has_colors: bool = True

    @classmethod
    def of(cls, label_map: LabelMap, *, has_colors: bool = True) -> MaskLabels:
        """Labels whose values are their ids."""
        return cls(label_map=label_map, values={label.id: label.id for label in label_map.root}, has_colors=has_colors)


def _name(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("YAML takes this for true or false; put it in quotes")
    return str(value).strip() if isinstance(value, (str, int)) else value


def _values(value: Any) -> Any:
    if isinstance(value, str):
        value = [part for part in re.split(r"[\s,;\[\]]+", value) if part]
    given = value if isinstance(value, list) else [value]
    if not given:
        raise ValueError("there is none; value: [4, 7] names those in the masks, without value it is the id")
    if not all(isinstance(one, (int, str)) and re.fullmatch(r"-?\d+", str(one)) for one in given):
        raise ValueError("takes whole numbers, such as 4 or [4, 7]")
    return [int(one) for one in given]


def _kind(value: Any) -> Any:
    kinds, word = get_args(Kind), str(value).strip().casefold()
    if word not in kinds and difflib.get_close_matches(word, kinds):
        raise ValueError(f"takes {' or '.join(kinds)}, got {value!r}")
    return word if word in kinds else None  # Other tools mean something else by it.


class _Entry(pydantic.BaseModel):
    """A class as a file describes it; other keys are the tool's own."""

    id: int | None = None
    name: Annotated[str, pydantic.BeforeValidator(_name)]
    color: Any = None
    value: Annotated[list[int] | None, pydantic.BeforeValidator(_values)] = None
    kind: Annotated[Kind | None, pydantic.BeforeValidator(_kind)] = None


def load_labels(path: str) -> MaskLabels:
    """Reads a label map of any kind.

    Ids that do not run from 0 without a gap, as tools write them, are the values in the masks; the classes get ids in
    their order.

    Raises:
      UserError: if the file cannot be read, or is none; with an example.
    """
    try:
        text = read_bytes(path).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the label map {path}: {error}") from None
    return parse_labels(text, path)


def parse_labels(text: str, source: str) -> MaskLabels:
    """Reads the text of a label map; `source` is its path, whose ending says what it is.

    Raises:
      UserError: if it is none; with an example.
    """
    if not text.strip():
        raise UserError(f"the label map {source} is empty{_EXAMPLE}")
    try:
        content, ignored = _without_ignored(_content(text, source.lower()))
        entries = [_Entry.model_validate(entry) for entry in content]
        return _labels(entries, ignored)
    except pydantic.ValidationError as error:
        raise UserError(explain(error, source) + _EXAMPLE) from None
    except (ValueError, csv.Error) as error:  # Also json's, and read_yaml's.
        hint = ""
        if re.search(r":\s*#[0-9a-fA-F]{3}", text) and "quotes" not in str(error):
            hint = "\nA color such as '#ff8000' needs quotes, since # begins a comment in YAML."
        raise UserError(f"{source} is no label map that can be read: {error}{hint}{_EXAMPLE}") from None


def _content(text: str, path: str) -> Any:
    if path.endswith((".csv", ".tsv")):
        return _from_csv(text)
    if path.endswith(".json"):
        return json.loads(text)
    if path.endswith(".txt"):
        return _from_lines(text)
    return read_yaml(text)


def _key(text: Any) -> str:
    """A key or the name of a column, in one spelling."""
    return re.sub(r"[\W_]", "", str(text)).lower()


def _columns(text: str) -> tuple[list[str], str]:
    """The columns that a first line names, and what is between them."""
    first = text.lstrip().partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    return next(csv.reader([first], delimiter=delimiter), []), delimiter


def _from_csv(text: str) -> list[dict[str, Any]]:
    columns, delimiter = _columns(text)
    keys = [_key(column) for column in columns]
    if not set(_NAME) & set(keys):
        raise ValueError(f"its first line names no column {' or '.join(_NAME[:3])}; there are {', '.join(columns)}")
    lines = text.lstrip().splitlines()[1:]
    rows = [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=delimiter) if any(row)]
    if not {*_ID, *_VALUE, *_COLOR, *_RED_GREEN_BLUE[0], *_RED_GREEN_BLUE[1]} & set(keys):
        for column, cells in zip(columns, zip(*rows, strict=False), strict=False):
            if len({int(cell) for cell in cells if re.fullmatch(r"-?\d+", cell)}) == len(rows):
                raise ValueError(
                    f"its column {column.strip()} has a different number in each row; if these are the values in the "
                    "masks, call it id, and otherwise remove it"
                )
    return [dict(zip(keys, row, strict=False)) for row in rows]


def _from_lines(text: str) -> list[Any]:
    """CVAT's `name:r,g,b:parts:actions`, CamVid's `r g b name`, numbers and names, names alone, or a table."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    columns, _ = _columns(text)
    if len(columns) > 1 and set(_NAME) & {_key(column) for column in columns}:
        return _from_csv(text)
    for pattern, key in ((_COLORED_LINE, "color"), (_NUMBERED_LINE, "id")):
        found = [pattern.fullmatch(line) for line in lines]
        if all(found):
            return [{key: match[1], "name": match[2]} for match in found if match]
    if not any(":" in line for line in lines):
        return list(lines)
    entries = []
    for line in lines:
        match = re.fullmatch(r"(.+?):(\d+,\s*\d+,\s*\d+)?(:[^:]*:[^:]*)?", line)
        if not match:
            raise ValueError(f"the line {line!r} is not name:red,green,blue:parts:actions")
        entries.append({"name": match[1], "color": match[2]})
    return entries


def _without_ignored(content: Any) -> tuple[list[dict[str, Any]], list[int]]:
    """Entries with the keys id, name, color and value, and the values of the entry `ignore`."""
    if isinstance(content, Mapping):
        lists = {_key(key): value for key, value in content.items() if isinstance(value, (list, dict))}
        inner = next((lists[key] for key in _LISTS if key in lists), content)
        if inner is not content and "ignore" in content:
            raise ValueError("ignore is an entry of the list: - {ignore: [0]}")
        content = [_pair(key, value) for key, value in inner.items()] if isinstance(inner, Mapping) else inner
    if not isinstance(content, list):
        raise ValueError("it holds no list of classes")
    entries, ignored = [], []
    for entry in content:
        if isinstance(entry, Mapping) and set(entry) == {"ignore"}:
            values = entry["ignore"] if isinstance(entry["ignore"], list) else [entry["ignore"]]
            if not all(type(value) is int for value in values):
                raise ValueError(f"ignore takes values of the masks, such as [0]; got {entry['ignore']!r}")
            ignored += values
        else:
            entries.append(_normal(entry))
    return entries, ignored


def _pair(key: Any, value: Any) -> Any:
    """An entry of a mapping: name to id, id to name, name to color, or color to name."""
    if isinstance(value, Mapping):
        return {"name": key, **value}
    if isinstance(value, int):
        return {"name": key, "id": value}
    if isinstance(key, str) and key.startswith("#"):
        return {"name": value, "color": key}
    is_color = isinstance(value, list) or (isinstance(value, str) and value.startswith("#"))
    return {"name": key, "color": value} if is_color else {"id": key, "name": value}


def _normal(entry: Any) -> dict[str, Any]:
    if isinstance(entry, str):
        return {"name": entry}
    if not isinstance(entry, Mapping):
        raise ValueError(f"an entry is a name, or has one; got {entry!r}")
    entry = {_key(key): value for key, value in entry.items()}
    _check_keys(entry)
    normal: dict[str, Any] = {}
    for key, names in (("value", _VALUE), ("id", _ID), ("name", _NAME), ("color", _COLOR), ("kind", _KIND)):
        given = [entry[name] for name in names if entry.get(name, "") != ""]
        if given:
            normal[key] = given[0]
    for channels in _RED_GREEN_BLUE:
        if all(channel in entry for channel in channels):
            normal["color"] = [entry[channel] for channel in channels]
    color = normal.get("color")
    if isinstance(color, str) and isinstance(parse_color(color), str) and len(parts := re.findall(r"\d+", color)) == 3:
        normal["color"] = parts
    if normal.get("name") in (None, ""):
        raise ValueError(f"the entry {entry} has no name")
    return normal


def _check_keys(entry: Mapping[str, Any]) -> None:
    """Raises a ValueError for what would be passed over though it says something about values."""
    if entry.get("ignore") not in (None, False, 0, "", "0"):
        raise ValueError("ignore is an entry of its own, with the values of masks that do not count: - {ignore: [0]}")
    for key in entry:
        if key not in (*_VALUE, "ignore") and difflib.get_close_matches(key, ("value", "ignore"), cutoff=_SLIP):
            raise ValueError(f"the key {key} is none; an entry takes id, name, color, value and kind")


def _labels(entries: list[_Entry], ignored: list[int]) -> MaskLabels:
    if any(entry.id is None for entry in entries) and any(entry.id is not None for entry in entries):
        raise ValueError("some entries have an id, others do not; give all of them one, or none")
    for entry in entries:  # Those without an id have the place in the list.
        if entry.color is None and "color" in entry.model_fields_set:
            raise ValueError(f"{entry.name} has no color; one such as '#ff8000' needs quotes in YAML")
    ids = [index if entry.id is None else entry.id for index, entry in enumerate(entries)]
    classes = [(id_, entry) for id_, entry in zip(ids, entries, strict=True) if id_ != IGNORE_LABEL]
    classes.sort(key=lambda item: item[0])
    in_order = [id_ for id_, _ in classes]
    if len(set(in_order)) < len(in_order):
        raise ValueError(f"each id may occur only once (ids: {in_order})")
    if in_order != list(range(len(classes))) and any(entry.value is not None for _, entry in classes):
        raise ValueError(f"with values, ids run from 0 without a gap (ids: {in_order}), or are left out")
    values: dict[int, int] = {}
    meant = [(class_id, entry, id_) for class_id, (id_, entry) in enumerate(classes)]
    meant += [(IGNORE_LABEL, entry, id_) for id_, entry in zip(ids, entries, strict=True) if id_ == IGNORE_LABEL]
    for class_id, entry, id_ in meant:
        for value in [id_] if entry.value is None else entry.value:
            if values.setdefault(value, class_id) != class_id:
                raise ValueError(f"the value {value} belongs to two classes")
    for value in ignored:
        if values.setdefault(value, IGNORE_LABEL) != IGNORE_LABEL:
            raise ValueError(f"the value {value} is ignored, and belongs to a class; give that class other values")
    colored = [entry.color is not None for _, entry, _ in meant]
    if any(colored) and not all(colored):
        raise ValueError("some classes have a color, others do not; give all of them one, or none")
    colors = [entry.color for _, entry, _ in meant] if any(colored) else distinct_colors(len(meant))
    labels = [
        {"id": class_id, "name": entry.name, "color": color, "kind": entry.kind}
        for (class_id, entry, _), color in zip(meant, colors, strict=True)
    ]
    return MaskLabels(label_map=LabelMap.model_validate(labels), values=values, has_colors=any(colored))


def _load(value: Any) -> Any:
    if isinstance(value, LabelMap):
        return MaskLabels.of(value)
    return load_labels(value) if isinstance(value, str) else value


# Labels; as text, the path of their file, which is read at once: the workers may not see it.
LabelMapFile = Annotated[MaskLabels, pydantic.BeforeValidator(_load), pydantic.Field(title="FILE")]
