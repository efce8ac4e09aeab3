"""What the sections of the configuration are made of."""

from __future__ import annotations

from typing import Annotated, Any

import pydantic

Share = Annotated[float, pydantic.Field(ge=0, lt=1)]


class Section(pydantic.BaseModel):
    """A section of the configuration: unknown keys are errors, values do not change once read."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


def set_value(values: dict[str, Any], key: str, value: Any) -> None:
    """Sets a value of nested dictionaries at a dotted key.

    Raises:
      ValueError: if a part of the key is a value, not a section.
    """
    *sections, last = key.split(".")
    for section in sections:
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            raise ValueError(f"{section} is a value, not a section")
    values[last] = value
