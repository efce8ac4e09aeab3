"""What answers for a version: the SavedModel in TensorFlow, or an export in a runtime that may be faster."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import tempfile
import time
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING

from data.base.errors import UserError, one_line
from data.base.files import join, read_bytes
from models.exports import FORMATS, SAVED_MODEL
from models.exports.exports import FOLDER

if TYPE_CHECKING:
    from models.exports.export_format import Segment

# The fastest of those that are there and compute as the SavedModel does: what integers lose is taken only if asked for.
AUTO = "auto"
# Calls that are timed, and when to be content with fewer.
_CALLS, _SECONDS = 5, 1.0


class NoRuntimeError(UserError):
    """The runtime that was asked for is missing here, or the version does not hold what it runs."""


@dataclasses.dataclass(frozen=True)
class Runtime:
    """What answers.

    Attributes:
      name: `SAVED_MODEL`, or a key of `FORMATS`.
      segment: of an export; None for the SavedModel's own functions.
      milliseconds: for one image, by name, of those that were compared.
      remarks: why something else was not taken.
    """

    name: str = SAVED_MODEL
    segment: Segment | None = None
    milliseconds: Mapping[str, float] = dataclasses.field(default_factory=dict)
    remarks: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """What to tell whoever waits for it; nothing if there was nothing to choose."""
        is_plain = self.name == SAVED_MODEL and not self.milliseconds
        return [*self.remarks, *([] if is_plain else [f"Running as {self.describe()}"])]

    def describe(self) -> str:
        """The name, and how long each takes."""
        times = dict(self.milliseconds)
        if self.name not in times:
            return self.name
        own = times.pop(self.name)
        others = ", ".join(f"{name} {value:.1f}" for name, value in times.items())
        return f"{self.name}, {own:.1f} ms an image" + (f" ({others})" if others else "")


def require(wanted: str, folder: str, exports: Collection[str]) -> None:
    """Says early that a runtime cannot be had.

    Args:
      wanted: `AUTO`, `SAVED_MODEL` or a key of `FORMATS`.
      folder: of the version.
      exports: names of those that it holds.

    Raises:
      NoRuntimeError: if the version does not hold what is wanted, or the package that runs it is missing.
    """
    if wanted in (AUTO, SAVED_MODEL):
        return
    if wanted not in exports:
        there = ", ".join(name for name in exports if name != SAVED_MODEL) or "no other one"
        raise NoRuntimeError(
            f"{folder} holds no export {wanted}, but {there}; `export: [{wanted}]` in the configuration of a run puts "
            "it there; or leave --runtime out"
        )
    if not FORMATS[wanted].runs_here():
        raise NoRuntimeError(
            f"{wanted} needs {FORMATS[wanted].runtime}, which is not installed: pip install 'segpipe[export]'; or "
            "leave --runtime out"
        )


def choose(wanted: str, folder: str, exports: Collection[str], answer: Callable[[Segment | None], object]) -> Runtime:
    """Makes a runtime ready, after a first call, which takes longer than those that follow.

    Args:
      wanted: `AUTO` for the fastest, or which one; see `require`.
      folder: of the version.
      exports: names of those that it holds.
      answer: answers for one image at the model's size by an export, or by the SavedModel if that is None.

    Raises:
      NoRuntimeError: if the one that is wanted does not run.
      Exception: nearly anything, if the SavedModel does not.
    """
    if wanted not in (AUTO, SAVED_MODEL):
        try:
            segment = _load(wanted, folder)
            answer(segment)
        except Exception as error:  # The runtimes raise nearly anything.
            raise NoRuntimeError(f"{folder}: {_does_not_run(wanted, error)}; choose another --runtime") from None
        return Runtime(wanted, segment)
    tried = [
        name
        for name in exports
        if wanted == AUTO and name in FORMATS and not FORMATS[name].is_quantized and FORMATS[name].runs_here()
    ]
    if not tried:
        answer(None)
        return Runtime()
    best: Segment | None = None
    milliseconds, remarks = {SAVED_MODEL: _milliseconds(lambda: answer(None))}, []
    for name in tried:  # One after the other, so that no more than two of them are in memory.
        try:
            segment = _load(name, folder)
            took = _milliseconds(lambda segment=segment: answer(segment))  # type: ignore[misc]
        except Exception as error:  # Likewise; the SavedModel is there all the same.
            remarks.append(_does_not_run(name, error))
            continue
        if took < min(milliseconds.values()):
            best = segment
        milliseconds[name] = took
    return Runtime(min(milliseconds, key=milliseconds.__getitem__), best, milliseconds, tuple(remarks))


def _load(name: str, folder: str) -> Segment:
    form = FORMATS[name]()
    # The runtimes read no buckets, and a version may go away while they are at work.
    with tempfile.TemporaryDirectory(prefix="segpipe-runtime-") as scratch:
        path = os.path.join(scratch, form.file)
        pathlib.Path(path).write_bytes(read_bytes(join(folder, FOLDER, form.file)))
        return form.load(path)


def _does_not_run(name: str, error: Exception) -> str:
    return f"{FORMATS[name].file} does not run here: {one_line(error)}"


def _milliseconds(call: Callable[[], object]) -> float:
    """Of one call: the least of a few, as whatever else the machine does can only make it longer."""
    took: list[float] = []
    while len(took) <= _CALLS and sum(took) < _SECONDS:
        started = time.perf_counter()
        call()
        took.append(time.perf_counter() - started)
    return 1000 * min(took)
