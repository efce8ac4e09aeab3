"""Beam's local runner without what takes it a fifth of the time of a small job, and is of no use here."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import google_crc32c
from apache_beam.io import tfrecordio
from apache_beam.runners.worker import statecache
from apache_beam.transforms import core

# What a side input counts for in the cache of 100 MB that workers keep. Ours are a few numbers and short lists.
_SIDE_INPUT_BYTES = 1000


def make_quick() -> None:
    """Changes Beam in this process: arguments are looked at once, side inputs not measured, and checksums fast.

    For each bundle it asks Python for the arguments of ten methods of each DoFn. It measures all objects that a
    side input refers to, TensorFlow's graphs among them, however few bytes it is. And for the checksum of each TFRecord
    it takes a package that knows none of the processor's instructions for it, which is half of what StatisticsGen does.
    """
    if not isinstance(core.get_function_args_defaults, _Remembered):
        core.get_function_args_defaults = _Remembered(core.get_function_args_defaults)
    statecache.get_deep_size = lambda *_: _SIDE_INPUT_BYTES
    tfrecordio._default_crc32c_fn.fn = google_crc32c.value


class _Remembered:
    """A function of functions, called once for each; methods of several objects are one function."""

    def __init__(self, describe: Callable[[Any], Any]):
        self._describe = describe
        self._bound: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()
        self._free: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()

    def __call__(self, function: Any) -> Any:
        plain = getattr(function, "__func__", function)
        known = self._free if plain is function else self._bound
        try:
            found = known.get(plain)
        except TypeError:  # Some callables have no hash or no weak references.
            return self._describe(function)
        if found is None:
            found = self._describe(function)
            known[plain] = found
        names, defaults = found
        return list(names), list(defaults)
