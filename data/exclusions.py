"""Lists of examples that a conversion leaves out: a name a line, as a person edits them."""

from __future__ import annotations

from collections.abc import Iterable

from data.base.errors import UserError
from data.base.files import read_bytes

_REMARK = "#"


def read_exclusions(path: str) -> list[str]:
    """The names in a file; empty lines, and those that begin with `#`, are none.

    Raises:
      UserError: if the file cannot be read.
    """
    try:
        text = read_bytes(path).decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"--exclude {path} cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise UserError(f"--exclude {path} is no text in UTF-8; it takes a name of an image a line") from None
    lines = (line.strip() for line in text.splitlines())
    return [line for line in dict.fromkeys(lines) if line and not line.startswith(_REMARK)]


def proposed_exclusions(names: Iterable[str], remarks: Iterable[str]) -> str:
    """A file for `read_exclusions` that excludes nothing yet: each name is a remark until a person has looked.

    Args:
      names: of the examples.
      remarks: lines that come first.
    """
    return "".join(f"{_REMARK} {line}\n" for line in remarks) + "".join(f"{_REMARK}{name}\n" for name in names)
