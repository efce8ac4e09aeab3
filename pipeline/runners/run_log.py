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
# It takes milliseconds; without the limit, a disk that hangs would keep a run that has ended.
_MAX_WAIT_SECONDS = 30.0


@contextlib.contextmanager
def run_log(path: str, secrets: Iterable[str]) -> Iterator[None]:
    """Sends whatever this process and its children print, C++ libraries included, to a log.

    TFX and Beam log what they connect with; secrets become asterisks, wherever they are printed. Another process writes
    the file, so that the last words of one that is killed get there too.

    Args:
      path: of the log, which is appended to.
      secrets: that must not get into it.
    """
    open(path, "a").close()  # If that fails, nothing is redirected yet.
    marker = uuid.uuid4().hex
    orders = {"log": path, "marker": marker, "secrets": [form for secret in secrets for form in _forms(secret)]}
    sys.stdout.flush()
    sys.stderr.flush()
    writer = subprocess.Popen(
        # Isolated and without site-packages: it needs nothing, and starts at once.
        [sys.executable, "-I", "-S", redaction.__file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        bufsize=0,
        start_new_session=True,  # Signals to the group of this process, such as Ctrl-C's, do not concern it.
    )
    assert writer.stdin is not None
    assert writer.stdout is not None
    _write(writer.stdin.fileno(), json.dumps(orders) + "\n")
    kept = {descriptor: os.dup(descriptor) for descriptor in (1, 2)}
    root = logging.getLogger()
    former_handlers, former_level = root.handlers[:], root.level
    former_verbosity = absl.logging.get_verbosity()
    with open(os.dup(writer.stdin.fileno()), "w", encoding="utf-8") as stream:
        handler = logging.StreamHandler(stream)
        handler.setFormatter(logging.Formatter(_FORMAT))
        root.handlers[:] = [handler]
        root.setLevel(logging.INFO)
        absl.logging.set_verbosity(absl.logging.INFO)
        try:
            for descriptor in kept:
                os.dup2(writer.stdin.fileno(), descriptor)
            yield
        except Exception:
            root.exception("the run failed")
            raise
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for descriptor, copy in kept.items():
                os.dup2(copy, descriptor)
                os.close(copy)
            root.handlers[:] = former_handlers
            root.setLevel(former_level)
            absl.logging.set_verbosity(former_verbosity)
    # Not its end, which comes when children that outlive the run, such as Beam's job servers, no longer print.
    with contextlib.suppress(OSError):
        _write(writer.stdin.fileno(), marker)
        select.select([writer.stdout], [], [], _MAX_WAIT_SECONDS)
    writer.stdin.close()
    writer.stdout.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        writer.wait(1)


def _forms(secret: str) -> list[str]:
    """A secret as it is, and as protocol buffers print it; none of an empty one."""
    return [secret, text_encoding.CEscape(secret, True), text_encoding.CEscape(secret, False)] if secret else []


def _write(descriptor: int, text: str) -> None:
    data = text.encode()
    while data:
        data = data[os.write(descriptor, data) :]
