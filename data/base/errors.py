"""Mistakes of the user: reported in one message that names the input and the remedy, never as a traceback."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError


# No name of a file is as long. Values of options, with commas, may be up to a point, and are there to be copied.
_ENDLESS = re.compile(r"([^\s/]{60})[^\s/]{20000,}|([^\s/,]{60})[^\s/,]{240,}")
# Python objects in other packages' messages: urllib3 puts its connection before what is wrong.
_PREFIX = re.compile(r"<[^<>]* at 0x[0-9a-fA-F]+>: ")
_ADDRESS = re.compile(r"(<[^<>]*?)(?: object)? at 0x[0-9a-fA-F]+>")
# What moves the cursor or changes colors of a terminal. Line breaks and tabs stay.
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def readable(text: str) -> str:
    """A message that may quote what files hold, such as a name of 5,000 letters, or one with control characters.

    Where it quotes Python's objects, their addresses in memory go.
    """
    text = _ADDRESS.sub(r"\1>", _PREFIX.sub("", text))
    return _CONTROLS.sub(lambda found: ascii(found[0])[1:-1], _ENDLESS.sub(r"\1\2…", text))


class UserError(Exception):
    """Something that the user can fix; the command line prints the message and exits with 1."""

    def __init__(self, message: str = "") -> None:
        super().__init__(readable(message))


def explain(error: ValidationError, source: str, model: type[BaseModel] | None = None) -> str:
    """Turns pydantic's report into lines of `key: what is wrong (got …)`.

    Args:
      error: what pydantic raised.
      source: the file that was read, named in the first line.
      model: what the file should hold, so that the message can list the keys that exist.

    Returns:
      A line for the file, then one for each wrong key.
    """
    lines = [f"{source} is not valid:"]
    for item in error.errors():
        key = ".".join(str(part) for part in item["loc"])
        if not key:
            lines.append(f"  {item['msg'].removeprefix('Value error, ')}")
        elif item["type"] == "extra_forbidden":
            known = _keys(model, item["loc"][:-1])
            guess = did_you_mean(str(item["loc"][-1]), known)
            lines.append(f"  {key}: there is no such key{guess}" + (f"; there are {', '.join(known)}" if known else ""))
        elif item["type"] == "missing":
            lines.append(f"  {key}: missing")
        else:
            message = item["msg"].removeprefix("Value error, ")
            got = "" if isinstance(item["input"], dict) else f"; got {item['input']!r}"
            if item["type"] == "string_type" and isinstance(item["input"], int | float):
                got += "; put it in quotes"
            lines.append(f"  {key}: {message}{got}")
    return "\n".join(lines)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """What to add to the message that there is no such name: the known one most like it; "" if none is like it."""
    close = difflib.get_close_matches(name, known, n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def _keys(model: Any, location: tuple[int | str, ...]) -> list[str]:
    """The keys of a model's section, as far as its fields tell."""
    for part in location:
        model = getattr(getattr(model, "model_fields", {}).get(part), "annotation", None)
    return list(getattr(model, "model_fields", {}))


def one_line(error: BaseException) -> str:
    """The first line of an error's message, or its type if it has none."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
