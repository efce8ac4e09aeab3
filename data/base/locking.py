"""Lets one process at a time write to a folder."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator

from data.base.errors import UserError


@contextlib.contextmanager
def exclusive(folder: str, purpose: str) -> Iterator[None]:
    """Holds an exclusive lock on a local folder, which is made if it does not exist.

    The operating system releases the lock when the process ends, so a crash leaves nothing to clean up.

    Args:
      folder: the folder to lock.
      purpose: what the process does, for the message to another one that comes later.

    Raises:
      UserError: if another process holds the lock, or the folder cannot be made.
    """
    try:
        os.makedirs(folder, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise UserError(f"cannot use the folder {folder}: {error.strerror}") from None
    try:
        if not _lock(descriptor):
            raise UserError(f"another process is {purpose} in {folder}; wait for it to end, or stop it")
        yield
    finally:
        os.close(descriptor)


def is_locked(folder: str) -> bool:
    """Whether a process holds the lock on a folder."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        return not _lock(descriptor)
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    # More than once, as `is_locked` holds the lock for an instant.
    for _ in range(5):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.02)
        else:
            return True
    return False
