"""A run's log: everything that this process and its children print, without secrets."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
import subprocess
import sys
import uuid
from collections.abc import Iterable, Iterator

import absl.logging
from google.protobuf import text_encoding

from pipeline.runners import redaction

_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
# It takes milliseconds; the limit is for a disk that hangs.
_MAX_WAIT_SECONDS = 30.0


@contextlib.contextmanager
def run_log(path: str, secrets: Iterable[str]) -> Iterator[None]:
    """Sends whatever this process and its children print, C++ libraries included, to a log.

    TFX and Beam log what they connect with; secrets become asterisks, whoever prints them.

    Args:
      path: of the log, which is appended to.
      secrets: what must not get into it.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    root = logging.getLogger()
    former_handlers, former_level = root.handlers[:], root.level
    former_verbosity = absl.logging.get_verbosity()
    with _writer(path, secrets) as descriptor, open(os.dup(descriptor), "w", encoding="utf-8") as stream:
        handler = logging.StreamHandler(stream)
        handler.setFormatter(logging.Formatter(_FORMAT))
        kept = {standard: os.dup(standard) for standard in (1, 2)}
        try:
            root.handlers[:] = [handler]
            root.setLevel(logging.INFO)
            absl.logging.set_verbosity(absl.logging.INFO)
            for standard in kept:
                os.dup2(descriptor, standard)
            yield
        except Exception:
            root.exception("the run failed")
            raise
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for standard, copy in kept.items():
                os.dup2(copy, standard)
                os.close(copy)
            root.handlers[:] = former_handlers
            root.setLevel(former_level)
            absl.logging.set_verbosity(former_verbosity)


@contextlib.contextmanager
def _writer(path: str, secrets: Iterable[str]) -> Iterator[int]:
    """A file descriptor, whose output another process writes to a log, without the secrets.

    A thread would do, were it not for the last words of a process that is killed or crashes. At the end everything
    written so far is in the log; children that live on can still write.
    """
    open(path, "a").close()  # If that is not possible, nothing begins.
    marker = uuid.uuid4().hex
    orders = {"log": path, "marker": marker, "secrets": [form for secret in secrets for form in _forms(secret)]}
    process = subprocess.Popen(
        # Isolated and without site-packages: it needs nothing, and starts at once.
        [sys.executable, "-I", "-S", redaction.__file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        bufsize=0,
        start_new_session=True,  # Signals to the group of this process, such as Ctrl-C's, do not concern it.
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdin, process.stdout:
        _write(process.stdin.fileno(), json.dumps(orders) + "\n")
        try:
            yield process.stdin.fileno()
        finally:
            # Not the end of the process, which waits for children that outlive the run, such as Beam's job servers.
            with contextlib.suppress(OSError):
                _write(process.stdin.fileno(), marker)
                select.select([process.stdout], [], [], _MAX_WAIT_SECONDS)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(1)


def _forms(secret: str) -> list[str]:
    """A secret as it is, and as protocol buffers print it; none of an empty one."""
    return [secret, text_encoding.CEscape(secret, True), text_encoding.CEscape(secret, False)] if secret else []


def _write(descriptor: int, text: str) -> None:
    data = text.encode()
    while data:
        data = data[os.write(descriptor, data) :]
