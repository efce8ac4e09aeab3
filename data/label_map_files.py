"""Label maps as people and annotation tools write them: which value and which color of a mask is which class."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Mapping
from typing import Annotated, Any

import pydantic

from data.base.errors import UserError, explain
from data.base.files import read_bytes
from data.base.yaml_text import read_yaml
from data.contract import IGNORE_LABEL
from data.label_map import LabelMap, distinct_colors, parse_color

_EXAMPLE = """
A label map has an entry for each class:
  - {id: 0, name: background, color: [0, 0, 0]}
  - {id: 1, name: road, color: '#804080', value: [4, 7]}
  - {ignore: [255]}
Without color a class has only values, without value its id is its value in the masks, and ids may be left out. CVAT's
labelmap.txt, CSV files with the columns name, r, g, b or id, name, color, JSON lists of classes, and text files with a
name on each line are read too."""
_ID = ("id", "pixel value", "label_id", "index", "class_id")
_NAME = ("name", "class", "label", "title", "class_name", "label_name")
_COLOR = ("color", "colour", "hex", "rgb", "color_rgb")
_RED_GREEN_BLUE = (("r", "g", "b"), ("red", "green", "blue"))
_LISTS = ("labels", "classes", "categories", "items")


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


class _Entry(pydantic.BaseModel):
    """A class as a file describes it; other keys are the tool's own."""

    id: int | None = None
    name: Annotated[str, pydantic.BeforeValidator(_name)]
    color: Any = None
    value: int | list[int] | None = None


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
    try:
        content, ignored = _without_ignored(_content(text, source.lower()))
        entries = [_Entry.model_validate(entry) for entry in content]
        return _labels(entries, ignored)
    except pydantic.ValidationError as error:
        raise UserError(explain(error, source) + _EXAMPLE) from None
    except (ValueError, csv.Error) as error:  # Also json's, and read_yaml's.
        raise UserError(f"{source} is no label map that can be read: {error}{_EXAMPLE}") from None


def _content(text: str, path: str) -> Any:
    if path.endswith((".csv", ".tsv")):
        return _from_csv(text)
    if path.endswith(".json"):
        return json.loads(text)
    if path.endswith(".txt"):
        return _from_lines(text)
    return read_yaml(text)


def _from_csv(text: str) -> list[dict[str, Any]]:
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    rows = [
        {str(key).strip().lower(): (value or "").strip() for key, value in row.items() if isinstance(value, str)}
        for row in csv.DictReader(text.splitlines(), delimiter=delimiter)
    ]
    columns = [name.strip().lower() for name in next(csv.reader([first], delimiter=delimiter), [])]
    if not set(_NAME) & set(columns):
        raise ValueError(f"its first line names no column {' or '.join(_NAME[:3])}; there are {', '.join(columns)}")
    return [row for row in rows if any(row.values())]


def _from_lines(text: str) -> list[Any]:
    """CVAT's `name:r,g,b:parts:actions`, or names alone."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if not any(":" in line for line in lines):
        return list(lines)
    entries = []
    for line in lines:
        found = re.fullmatch(r"(.+?):(\d+,\s*\d+,\s*\d+)?:[^:]*:[^:]*", line)
        if not found:
            raise ValueError(f"the line {line!r} is not name:red,green,blue:parts:actions")
        entries.append({"name": found[1], "color": found[2]})
    return entries


def _without_ignored(content: Any) -> tuple[list[dict[str, Any]], list[int]]:
    """Entries with the keys id, name, color and value, and the values of the entry `ignore`."""
    if isinstance(content, Mapping):
        inner = next((content[key] for key in _LISTS if isinstance(content.get(key), (list, dict))), content)
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
    """An entry of a mapping: name to id, id to name, or name to color."""
    if isinstance(value, Mapping):
        return {"name": key, **value}
    if isinstance(value, int):
        return {"name": key, "id": value}
    is_color = isinstance(value, list) or (isinstance(value, str) and value.startswith("#"))
    return {"name": key, "color": value} if is_color else {"id": key, "name": value}


def _normal(entry: Any) -> dict[str, Any]:
    if not isinstance(entry, Mapping):
        return {"name": entry} if isinstance(entry, str) else entry
    entry = {str(key).lower(): value for key, value in entry.items()}
    normal = {"value": entry["value"]} if "value" in entry else {}
    for key, names in (("id", _ID), ("name", _NAME), ("color", _COLOR)):
        given = [entry[name] for name in names if entry.get(name, "") != ""]
        if given:
            normal[key] = given[0]
    for channels in _RED_GREEN_BLUE:
        if all(channel in entry for channel in channels):
            normal["color"] = [entry[channel] for channel in channels]
    if isinstance(normal.get("color"), str) and isinstance(parse_color(normal["color"]), str):
        normal["color"] = re.findall(r"\d+", normal["color"])
    if normal.get("name") in (None, ""):
        raise ValueError(f"the entry {entry} has no name")
    return normal


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
        own = [id_] if entry.value is None else [entry.value] if isinstance(entry.value, int) else entry.value
        for value in own:
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
        {"id": class_id, "name": entry.name, "color": color}
        for (class_id, entry, _), color in zip(meant, colors, strict=True)
    ]
    return MaskLabels(label_map=LabelMap.model_validate(labels), values=values, has_colors=any(colored))


def _load(value: Any) -> Any:
    if isinstance(value, LabelMap):
        return MaskLabels.of(value)
    return load_labels(value) if isinstance(value, str) else value


# Labels; as text, the path of their file, which is read at once: the workers may not see it.
LabelMapFile = Annotated[MaskLabels, pydantic.BeforeValidator(_load), pydantic.Field(title="FILE")]
