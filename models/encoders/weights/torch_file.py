"""State dictionaries that PyTorch wrote in its older file format, read without PyTorch."""

from __future__ import annotations

import collections
import dataclasses
import math
import pickle
from typing import Any, BinaryIO

import numpy as np

from data.base.errors import UserError

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_COUNT_BYTES = 8


@dataclasses.dataclass
class _Storage:
    """Numbers in a row, of which tensors are views; they follow after all pickles."""

    dtype: np.dtype
    count: int
    values: np.ndarray | None = None


@dataclasses.dataclass
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def array(self) -> np.ndarray:
        """The tensor's values: its neighbors along an axis are `strides` apart, and need not lie in a row."""
        values = self.storage.values if self.storage.values is not None else np.empty(0)
        last = self.offset + sum((size - 1) * stride for size, stride in zip(self.shape, self.strides, strict=True))
        is_outside = min((self.offset, *self.strides, *self.shape)) < 0 or last >= len(values)
        if is_outside or math.prod(self.shape) > self.storage.count:
            raise ValueError("a tensor lies outside of its numbers")
        strides = [stride * values.itemsize for stride in self.strides]
        return np.array(np.lib.stride_tricks.as_strided(values[self.offset :], self.shape, strides, writeable=False))


def _rebuild(storage: Any, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any) -> _Tensor:
    if not isinstance(storage, _Storage):
        raise pickle.UnpicklingError("a tensor has no numbers")
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


class _Unpickler(pickle.Unpickler):
    """Knows four names, those of a dictionary of tensors: whatever else a pickle asks for, it does not get."""

    _NAMES = {
        ("collections", "OrderedDict"): collections.OrderedDict,
        ("torch._utils", "_rebuild_tensor_v2"): _rebuild,
        ("torch", "FloatStorage"): np.dtype("<f4"),
        ("torch", "LongStorage"): np.dtype("<i8"),
    }

    def __init__(self, file: BinaryIO, storages: dict[str, _Storage]):
        super().__init__(file)
        self._storages = storages

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._NAMES:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return self._NAMES[module, name]

    def persistent_load(self, described: Any) -> _Storage:
        kind, dtype, key, _, count, *_ = described
        if kind != "storage" or not isinstance(dtype, np.dtype):
            raise pickle.UnpicklingError("it refers to something other than numbers")
        return self._storages.setdefault(str(key), _Storage(dtype, int(count)))


def read_torch_file(path: str) -> dict[str, np.ndarray]:
    """Reads a state dictionary: tensors by their names.

    The format (`torch.save` with `_use_new_zipfile_serialization=False`): pickles of a magic number, the protocol,
    facts about the machine, the dictionary, and the keys of the storages; then for each key the count of its numbers in
    8 bytes, and the numbers. Of what a pickle may do, only building this dictionary is allowed.

    Args:
      path: a local file.

    Raises:
      UserError: if it is no such file, or damaged.
    """
    storages: dict[str, _Storage] = {}
    try:
        with open(path, "rb") as file:
            if [_Unpickler(file, {}).load() for _ in range(3)][:2] != [_MAGIC, _PROTOCOL]:
                raise pickle.UnpicklingError("it has another format")
            tensors = _Unpickler(file, storages).load()
            for key in _Unpickler(file, {}).load():
                storage = storages[key]
                count = int.from_bytes(file.read(_COUNT_BYTES), "little")
                storage.values = np.frombuffer(file.read(storage.count * storage.dtype.itemsize), storage.dtype)
                if count != storage.count or len(storage.values) != count:
                    raise EOFError("it is cut off")
        return {str(name): tensor.array() for name, tensor in tensors.items()}
    except (
        OSError,
        pickle.UnpicklingError,
        EOFError,
        ArithmeticError,
        LookupError,
        TypeError,
        ValueError,
        AttributeError,
        MemoryError,
    ) as error:
        raise UserError(f"{path} is not a state dictionary in PyTorch's older file format: {error}") from error
