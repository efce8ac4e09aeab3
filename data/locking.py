"""One writer at a time for a folder."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator

from data.errors import UserError


@contextlib.contextmanager
def exclusive(folder: str, purpose: str) -> Iterator[None]:
    """Holds the only lock on a local folder, which is made if it is not there.

    The operating system drops the lock with the process, so a crash leaves nothing to clean up.

    Args:
      folder: the folder to lock.
      purpose: what the lock is held for, for the message to whoever comes second.

    Raises:
      UserError: if another process holds the lock, or the folder cannot be made.
    """
    try:
        os.makedirs(folder, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise UserError(f"cannot use the folder {folder}: {error.strerror}") from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"another process is {purpose} in {folder}; wait for it to end, or stop it") from None
        yield
    finally:
        os.close(descriptor)
