"""Copies output to a log without its secrets, in a process of its own that outlives the one that prints.

Only the standard library is imported: the process starts in an instant, and stays small.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
from collections.abc import Iterable

_ASTERISKS = b"********"
_CHUNK = 1 << 16


class Redactor:
    """Replaces secrets in a stream of bytes; what may be the beginning of one is held back until more comes.

    Args:
      secrets: what must not come out; of two that begin at the same byte, the longer one is replaced.
    """

    def __init__(self, secrets: Iterable[bytes]):
        self._secrets = sorted(filter(None, set(secrets)), key=len, reverse=True)
        self._pattern = re.compile(b"|".join(map(re.escape, self._secrets)))
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """Takes more of the stream; returns what can be written now."""
        text, position, done = self._held + data, 0, []
        while True:
            unclear = self._unclear(text, position)
            match = self._pattern.search(text, position) if self._secrets else None
            if match is None or match.start() >= unclear:
                break
            done += [text[position : match.start()], _ASTERISKS]
            position = match.end()
        self._held = text[unclear:]
        return b"".join([*done, text[position:unclear]])

    def end(self) -> bytes:
        """Ends the stream; returns what was held back."""
        rest, self._held = self._held, b""
        return self._pattern.sub(_ASTERISKS, rest) if self._secrets else rest

    def _unclear(self, text: bytes, position: int) -> int:
        """From where on the text may be the beginning of a secret."""
        longest = len(self._secrets[0]) if self._secrets else 0
        for start in range(max(position, len(text) - longest + 1), len(text)):
            if any(secret.startswith(text[start:]) for secret in self._secrets):
                return start
        return len(text)


def main() -> None:
    """Copies standard input to a log until nobody can write there any more.

    The first line is JSON: the `log` to append to, the `secrets`, and a `marker` that is not copied. When the marker
    comes, everything before it is in the log, and a line on standard output says so.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # It ends when the writers have ended, and not before.
    buffer = b""
    while b"\n" not in buffer:
        data = os.read(0, _CHUNK)
        if not data:
            return
        buffer += data
    header, _, data = buffer.partition(b"\n")
    orders = json.loads(header)
    marker = orders["marker"].encode()
    redactor = Redactor([secret.encode("utf-8", "surrogateescape") for secret in orders["secrets"]])
    with open(orders["log"], "ab", buffering=0) as log:
        unread = b""
        while True:
            unread += data
            before, found, after = unread.partition(marker)
            if found:
                _write(log.fileno(), redactor.feed(before) + redactor.end())
                with contextlib.suppress(BrokenPipeError):
                    os.write(1, b"\n")
                unread = after
            # What may be the beginning of the marker waits.
            ready = len(unread) - _overlap(unread, marker)
            _write(log.fileno(), redactor.feed(unread[:ready]))
            unread = unread[ready:]
            data = os.read(0, _CHUNK)
            if not data:
                _write(log.fileno(), redactor.feed(unread) + redactor.end())
                return


def _overlap(text: bytes, marker: bytes) -> int:
    """How many bytes at the end of a text are the beginning of the marker."""
    lengths = range(min(len(text), len(marker) - 1), 0, -1)
    return next((length for length in lengths if text.endswith(marker[:length])), 0)


def _write(descriptor: int, data: bytes) -> None:
    """Writes everything; what a full disk has no room for is lost, as whoever prints must not wait for it."""
    while data:
        try:
            data = data[os.write(descriptor, data) :]
        except OSError:
            return


if __name__ == "__main__":
    main()
