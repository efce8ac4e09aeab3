"""What files hold, as short texts: the same where and only where the contents are the same, whatever their times."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from data.base.files import FileInfo, checksum, is_remote

_BLOCK = 1 << 20
_THREADS = 16
_MOST_REMEMBERED = 100_000
# A file that changed so lately may change again without its times telling: file systems count in steps.
_SETTLED_SECONDS = 3.0


class Digests:
    """Digests of files, remembered for as long as the files look unchanged, as git's index does.

    A file of this machine looks unchanged by its size, both times and inode. No program that keeps the time of its last
    change (`rsync -t`, `tar`, `cp -p`) can keep the second time, which is that of the inode.

    Args:
      path: the file that remembers; "" for none. It speeds things up: if it cannot be read or written, nothing fails.
    """

    def __init__(self, path: str = ""):
        self._path = "" if is_remote(path) else path

    def of(self, files: Sequence[FileInfo]) -> list[str]:
        """The digest of each file.

        In a store that knows checksums, such as a bucket, they are asked for; elsewhere, files are read. That of a file
        of this machine that cannot be read is empty: whoever needs it will say why.

        Raises:
          UnreachableError: if a store cannot be asked.
        """
        remembered = self._read()
        known = {path: entry[1] for path, entry in remembered.items()}
        looks = {file.path: _look(file) for file in files}
        missing = [file for file in files if remembered.get(file.path, [None])[0] != looks[file.path]]
        remote = [file for file in missing if is_remote(file.path)]
        with ThreadPoolExecutor(_THREADS) as pool:
            known |= dict(zip((file.path for file in remote), pool.map(_remote_digest, remote), strict=True))
        known |= {file.path: _read_digest(file.path) for file in missing if not is_remote(file.path)}
        settled = [
            file for file in missing if known[file.path] and _is_settled(file) and _look(file) == looks[file.path]
        ]
        if settled and self._path:
            entries = {file.path: [looks[file.path], known[file.path]] for file in settled}
            kept = {path: entry for path, entry in remembered.items() if path not in entries}
            self._write({**kept, **entries})
        return [known[file.path] for file in files]

    def _read(self) -> dict[str, Any]:
        with contextlib.suppress(OSError, ValueError):
            with open(self._path, encoding="utf-8") as file:
                found = json.load(file)
            if isinstance(found, dict):
                return {path: entry for path, entry in found.items() if isinstance(entry, list) and len(entry) == 2}
        return {}

    def _write(self, entries: dict[str, Any]) -> None:
        newest = dict(list(entries.items())[-_MOST_REMEMBERED:])
        with contextlib.suppress(OSError):
            folder = os.path.dirname(self._path)
            os.makedirs(folder or os.curdir, exist_ok=True)
            descriptor, new = tempfile.mkstemp(prefix=".digests-", dir=folder or os.curdir)
            try:
                with open(descriptor, "w", encoding="utf-8") as file:
                    json.dump(newest, file)
                os.replace(new, self._path)
            except OSError:
                os.remove(new)


def _look(file: FileInfo) -> list[float]:
    """What changes when a file is written."""
    if is_remote(file.path):
        return [file.size, file.changed]
    try:
        status = os.stat(file.path)
    except OSError:
        return []
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def _is_settled(file: FileInfo) -> bool:
    with contextlib.suppress(OSError):
        changed = file.changed if is_remote(file.path) else os.stat(file.path).st_ctime
        return not 0 <= time.time() - changed < _SETTLED_SECONDS
    return False


def _remote_digest(file: FileInfo) -> str:
    found = checksum(file.path)
    return f"{file.size} {found}" if found else f"{file.size} {file.changed}"


def _read_digest(path: str) -> str:
    digest, buffer = hashlib.sha256(), memoryview(bytearray(_BLOCK))
    try:
        with open(path, "rb", buffering=0) as file:
            while count := file.readinto(buffer):
                digest.update(buffer[:count])
    except OSError:
        return ""
    return digest.hexdigest()
