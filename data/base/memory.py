"""How much memory a process may use."""

from __future__ import annotations

import contextlib
import os
import pathlib


def usable_memory() -> int:
    """Bytes of memory that this process may use: the machine's, or a container's limit (cgroup 2 or 1)."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):  # No such file, or it says "max".
            limits.append(int(pathlib.Path(path).read_text()))
    return min(limits)
