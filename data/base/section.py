"""What the sections of the configuration are made of."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, get_args

import pydantic

Share = Annotated[float, pydantic.Field(ge=0, lt=1)]
_QUOTED = re.compile(r"""(?:"([^"]*)"|'([^']*)')(?=[.=]|$)""")


class Section(pydantic.BaseModel):
    """A section of the configuration: unknown keys are errors, values do not change once read."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    @pydantic.field_validator("*", mode="before")
    @classmethod
    def _refuse_true_for_one(cls, value: Any, info: pydantic.ValidationInfo) -> Any:
        if isinstance(value, bool):
            annotation = cls.model_fields[str(info.field_name)].annotation
            taken = get_args(annotation) or (annotation,)
            if bool not in taken and {int, float}.intersection(taken):
                raise ValueError("takes a number")
        return value


def split_override(text: str) -> tuple[list[str], str | None]:
    """The parts of a dotted key and the text of its value, of `key=value`.

    A part in quotes may hold dots and `=`, as in `gate.min.iou."a=b"=0.5`.

    Returns:
      The parts, and the value; None if there is no `=`.
    """
    parts, rest = [], text
    while True:
        if quoted := _QUOTED.match(rest):
            part = quoted[1] if quoted[1] is not None else quoted[2]
            end = quoted.end()
        else:
            end = next((index for index, letter in enumerate(rest) if letter in ".="), len(rest))
            part = rest[:end]
        parts.append(part)
        if not rest[end:]:
            return parts, None
        if rest[end] == "=":
            return parts, rest[end + 1 :]
        rest = rest[end + 1 :]


def set_value(values: dict[str, Any], key: Sequence[str], value: Any) -> None:
    """Sets a value of nested dictionaries.

    Args:
      values: the dictionaries.
      key: its parts, the outermost first.
      value: to set.

    Raises:
      ValueError: if a part of the key is a value, not a section.
    """
    *sections, last = key
    for section in sections:
        # A section whose keys are all left out, or commented out, is there without any.
        if values.get(section) is None:
            values[section] = {}
        values = values[section]
        if not isinstance(values, dict):
            raise ValueError(f"{section} is a value, not a section")
    values[last] = value
