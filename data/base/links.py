"""Paths without `*`, `?`, `[` and `\\`, which TFX, TensorFlow and Beam would take for patterns.

They look for what they themselves have written, such as the variables of a SavedModel, as if its path were a pattern,
and offer no way to say that it is none. So they get a path without these characters, by a symbolic link.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import uuid
from collections.abc import Iterator

from data.base.errors import UserError
from data.base.files import is_remote

_LETTERS = "*?[]\\"


def pattern_letters(path: str) -> str:
    """The characters of a path that make it a pattern."""
    return "".join(letter for letter in _LETTERS if letter in path)


@contextlib.contextmanager
def plain_path(folder: str) -> Iterator[str]:
    """A path of a folder of this machine without such characters, for as long as the context lasts."""
    folder = folder if is_remote(folder) else os.path.abspath(folder)
    if is_remote(folder) or not pattern_letters(folder):
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="segpipe-") as parent:
        link = os.path.join(parent, "folder")
        os.symlink(folder, link)
        yield link


def lasting_plain_path(folder: str, key: str) -> str:
    """A path of a folder without such characters that stays the same, as what is recorded for later needs.

    The link is in the user's folder for state, `~/.local/state/segpipe`, and is made again if it is lost. The folder is
    made, too.

    Args:
      folder: an absolute path, or a URI.
      key: where the configuration names it.

    Raises:
      UserError: if there is no place for the link.
    """
    if not pattern_letters(folder):
        return folder
    letters = " ".join(pattern_letters(folder))
    if is_remote(folder):
        raise UserError(f"{key}: {folder} holds {letters}, which TFX takes for a pattern; name one without")
    link = os.path.join(_links(), hashlib.sha256(os.fsencode(folder)).hexdigest()[:16])
    if pattern_letters(link):
        raise UserError(f"{key}: {folder} holds {letters}, which TFX takes for a pattern; name one without")
    try:
        os.makedirs(folder, exist_ok=True)
        if not os.path.islink(link) or os.readlink(link) != folder:
            os.makedirs(os.path.dirname(link), exist_ok=True)
            new = f"{link}.{uuid.uuid4().hex}"
            os.symlink(folder, new)
            os.replace(new, link)
    except OSError as error:
        raise UserError(
            f"{key}: {folder} holds {letters}, which TFX takes for a pattern, and no link to it can be made ({error}); "
            "name one without, or set XDG_STATE_HOME to a folder that can be written to"
        ) from None
    return link


def without_link(path: str) -> str:
    """The path that a path through one of the links stands for; other paths as they are."""
    below = os.path.relpath(path, _links()) if os.path.isabs(path) else os.pardir
    name, _, rest = below.partition(os.sep)
    if name in (os.pardir, os.curdir) or not os.path.islink(os.path.join(_links(), name)):
        return path
    return os.path.join(os.readlink(os.path.join(_links(), name)), rest) if rest else os.readlink(_links() + "/" + name)


def _links() -> str:
    state = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return os.path.join(state, "segpipe")
