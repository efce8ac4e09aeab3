"""What the sections of the configuration are made of."""

from __future__ import annotations

from typing import Annotated, Any

import pydantic
from pydantic_core import InitErrorDetails

Share = Annotated[float, pydantic.Field(ge=0, lt=1)]


class Section(pydantic.BaseModel):
    """A section of the configuration: unknown keys are errors, values do not change once read."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


def located(error: pydantic.ValidationError, *location: str) -> pydantic.ValidationError:
    """The same error one or more keys further down, for a validator that reads a part of its input by itself."""
    details = [
        InitErrorDetails(
            type=item["type"],
            loc=(*location, *item["loc"]),
            input=item["input"],
            ctx=item.get("ctx", {}),
        )
        for item in error.errors()
    ]
    return pydantic.ValidationError.from_exception_data(error.title, details)


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
