"""Lists of examples that a conversion leaves out: a name a line, as a person edits them."""

from __future__ import annotations

from collections.abc import Collection, Iterable

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


def proposed_exclusions(names: Iterable[str], excluded: Collection[str], remarks: Iterable[str]) -> str:
    """A file for `read_exclusions` that excludes nothing new: names are remarks until a person has looked.

    Args:
      names: of the examples that are proposed.
      excluded: names that stay excluded.
      remarks: lines that come first.
    """
    proposed = [f"{_REMARK}{name}" for name in names if name not in excluded]
    return "".join(f"{line}\n" for line in (*(f"{_REMARK} {line}" for line in remarks), *excluded, *proposed))
