"""Label maps: the name and the color of each class id, in `labels.yaml` beside the TFRecords."""

from __future__ import annotations

import colorsys
import json
import pathlib
import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import pydantic
import yaml

from data.base.errors import UserError, explain
from data.base.files import read_bytes
from data.base.yaml_text import read_yaml
from data.contract import IGNORE_LABEL

Channel = Annotated[int, pydantic.Field(ge=0, le=255)]


def parse_color(value: Any) -> Any:
    """Red, green and blue of a color such as `#ff8000`, `#f80` or `#ff8000ff`; any other value is returned as it is."""
    pattern = r"\s*(?:#|0x)?([0-9a-fA-F]{6}|[0-9a-fA-F]{3})(?:(?<=[0-9a-fA-F]{6})[0-9a-fA-F]{2})?\s*"
    found = re.fullmatch(pattern, value) if isinstance(value, str) else None
    if not found:
        return value
    digits = found[1] if len(found[1]) == 6 else "".join(2 * digit for digit in found[1])
    return tuple(bytes.fromhex(digits))


def _check_color(value: Any) -> Any:
    if value is None:
        raise ValueError("there is none; a color such as '#ff8000' needs quotes, since # begins a comment in YAML")
    if isinstance(value, int):
        raise ValueError("YAML takes this for a number; a color such as '804080' needs quotes")
    if isinstance(color := parse_color(value), str):
        raise ValueError("a color is red, green and blue, such as [255, 128, 0] or '#ff8000'")
    return color


def _check_name(name: str) -> str:
    if found := yaml.reader.Reader.NON_PRINTABLE.search(name):
        raise ValueError(f"has the character {found[0]!r}, which YAML files cannot hold; rename the class")
    return name


Color = Annotated[tuple[Channel, Channel, Channel], pydantic.BeforeValidator(_check_color)]

# Okabe and Ito's palette, which color-blind people can tell apart (https://jfly.uni-koeln.de/color/).
_PALETTE = (
    (0, 114, 178),
    (230, 159, 0),
    (0, 158, 115),
    (204, 121, 167),
    (86, 180, 233),
    (213, 94, 0),
    (240, 228, 66),
)


Kind = Literal["thing", "stuff"]


class Label(pydantic.BaseModel):
    """One class: its id, its name, its color as red, green, blue (0 to 255), and whether it has objects.

    A `thing` has objects, which are told apart; `stuff`, such as the sky, has none. Without a kind, the data says so.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    id: Annotated[int, pydantic.Field(ge=0, le=IGNORE_LABEL)]
    name: Annotated[str, pydantic.Field(min_length=1, pattern=r"^[^\n]+$"), pydantic.AfterValidator(_check_name)]
    color: Color
    kind: Kind | None = None

    @pydantic.model_serializer(mode="wrap")
    def _leave_out_no_kind(self, serialize: pydantic.SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in serialize(self).items() if name != "kind" or value}


class LabelMap(pydantic.RootModel[tuple[Label, ...]]):
    """All classes of a data set, ids 0 to C-1 in order; an entry with id 255 may give "ignore" a color."""

    model_config = pydantic.ConfigDict(frozen=True)

    @pydantic.field_validator("root")
    @classmethod
    def _check(cls, labels: tuple[Label, ...]) -> tuple[Label, ...]:
        labels = tuple(sorted(labels, key=lambda label: label.id))
        ids = [label.id for label in labels if label.id != IGNORE_LABEL]
        if len(ids) < 2 or ids != list(range(len(ids))):
            raise ValueError(f"ids must run from 0 without a gap, and there must be at least two classes (ids: {ids})")
        for what in ("id", "name", "color"):
            values = [getattr(label, what) for label in labels]
            twice = {value for value in values if values.count(value) > 1}
            if twice:
                raise ValueError(f"each {what} may occur only once (more than once: {sorted(twice)})")
        return labels

    @property
    def classes(self) -> tuple[Label, ...]:
        """The labels that are learned: all except "ignore"."""
        return tuple(label for label in self.root if label.id != IGNORE_LABEL)

    @property
    def names(self) -> tuple[str, ...]:
        """Class names, by id."""
        return tuple(label.name for label in self.classes)

    @property
    def palette(self) -> list[tuple[int, int, int]]:
        """Class colors, by id."""
        return [label.color for label in self.classes]

    def __len__(self) -> int:
        return len(self.classes)

    @classmethod
    def from_names(cls, names: Sequence[str]) -> LabelMap:
        """A label map with ids in the order of `names` and colors that are easy to tell apart.

        Raises:
          UserError: if there are fewer than two names or more than 255, or one occurs twice.
        """
        if len(names) > IGNORE_LABEL:
            raise UserError(
                f"{len(names)} class names are too many: ids run from 0 to {IGNORE_LABEL - 1}, and {IGNORE_LABEL} "
                "means ignore; merge some classes"
            )
        colors = distinct_colors(len(names))
        labels = [{"id": index, "name": name, "color": colors[index]} for index, name in enumerate(names)]
        try:
            return cls.model_validate(labels)
        except pydantic.ValidationError as error:
            raise UserError(explain(error, f"the class list {','.join(names)}")) from None

    @classmethod
    def parse(cls, text: str, source: str) -> LabelMap:
        """Reads the YAML of a `labels.yaml`; `source` is what error messages call it.

        Raises:
          UserError: if the text is not YAML, or not a label map.
        """
        try:
            return cls.model_validate(read_yaml(text))
        except pydantic.ValidationError as error:
            raise UserError(explain(error, source)) from None
        except ValueError as error:
            raise UserError(f"{source} is not YAML: {error}") from None

    @classmethod
    def load(cls, path: str | pathlib.Path) -> LabelMap:
        """Reads a `labels.yaml`.

        Raises:
          UserError: if the file cannot be read, or is not a label map.
        """
        try:
            text = read_bytes(str(path)).decode()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"cannot read the label map {path}: {error}") from None
        return cls.parse(text, str(path))

    def to_yaml(self) -> str:
        """The text of a `labels.yaml`, one class a line."""
        lines = (
            f"- {{id: {label.id}, name: {json.dumps(label.name, ensure_ascii=False)}, color: {list(label.color)}"
            + (f", kind: {label.kind}}}" if label.kind else "}")
            for label in self.root
        )
        return "\n".join(lines) + "\n"


def distinct_colors(count: int) -> list[tuple[int, int, int]]:
    """Colors that are easy to tell apart."""
    colors = list(_PALETTE[:count])
    for index in range(count - len(colors)):
        # Golden-ratio steps around the color circle never come back to the same hue.
        hue = (index * 0.618034) % 1.0
        red, green, blue = colorsys.hsv_to_rgb(hue, 0.55 + 0.4 * (index % 2), 0.9 - 0.3 * (index // 2 % 2))
        colors.append((round(red * 255), round(green * 255), round(blue * 255)))
    return colors


def _split_names(value: Any) -> Any:
    return [name.strip() for name in value.split(",")] if isinstance(value, str) else value


# Class names in the order of their ids; as text, separated by commas. A label map has names with commas, too.
ClassNames = Annotated[tuple[str, ...], pydantic.BeforeValidator(_split_names), pydantic.Field(title="A,B,…")]
