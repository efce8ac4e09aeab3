"""Mistakes of the user: told in one message that names the input and the remedy, never as a traceback."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


class UserError(Exception):
    """Something that the user can put right; the command line prints the message and exits with 1."""


def explain(error: ValidationError, source: str) -> str:
    """Turns pydantic's report into lines of `key: what is wrong (got …)`.

    Args:
      error: what pydantic raised.
      source: the file that was read, named in the first line.

    Returns:
      One line for the file and one for each wrong key.
    """
    lines = [f"{source} is not valid:"]
    for item in error.errors():
        key = ".".join(str(part) for part in item["loc"])
        if not key:
            lines.append(f"  {item['msg'].removeprefix('Value error, ')}")
        elif item["type"] == "extra_forbidden":
            lines.append(f"  {key}: there is no such key")
        elif item["type"] == "missing":
            lines.append(f"  {key}: missing")
        else:
            message = item["msg"].removeprefix("Value error, ")
            lines.append(f"  {key}: {message}; got {item['input']!r}")
    return "\n".join(lines)
