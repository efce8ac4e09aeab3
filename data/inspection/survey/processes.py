"""Processes that read inputs, so that all processors do and no memory fills up."""

from __future__ import annotations

import collections
import multiprocessing
import signal
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from types import TracebackType
from typing import Any, TypeVar

from data.base.errors import UserError
from data.inspection.survey.inputs import Input, Inputs

# Inputs that wait for each process: enough that none idles, few enough for any memory.
_WAITING = 8
_Result = TypeVar("_Result")


class Processes:
    """A number of processes that have the inputs; with one, this process does all itself."""

    def __init__(self, inputs: Inputs, count: int):
        self.inputs = inputs
        self._count = count
        # Neither TensorFlow's threads nor any locks of this process are in a process that is started anew.
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(count, context, _start, (inputs,)) if count > 1 else None

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._pool:
            self._pool.shutdown(cancel_futures=True)

    def map(self, function: Callable[..., _Result], items: Iterable[Input], *arguments: Any) -> Iterator[_Result]:
        """The results of `function(inputs, source, content, *arguments)`, in the order of the items.

        Raises:
          UserError: if the system ends a process.
        """
        if self._pool is None:
            for item in items:
                yield function(self.inputs, *item, *arguments)
            return
        waiting: collections.deque[Future[_Result]] = collections.deque()
        try:
            for item in items:
                # A process that starts takes this over: Ctrl-C waits until it ignores it, and then is this process's.
                signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
                try:
                    waiting.append(self._pool.submit(_call, function, item, arguments))
                finally:
                    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
                if len(waiting) >= self._count * _WAITING:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool:
            raise UserError(
                "the system ended a process that read images, perhaps for lack of memory; try --workers 1"
            ) from None


_STARTED: list[Inputs] = []


def _start(inputs: Inputs) -> None:
    """Prepares a process."""
    # Ctrl-C goes to all processes of the terminal; the first one ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Of packages about themselves, once in every process.
    warnings.simplefilter("ignore")
    _STARTED[:] = [inputs]


def _call(function: Callable[..., _Result], item: Input, arguments: tuple[Any, ...]) -> _Result:
    return function(_STARTED[0], *item, *arguments)
