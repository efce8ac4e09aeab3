"""PyTorch's older file format: strides count, and whatever else a pickle may ask for is refused."""

import collections
import contextlib
import io
import pickle
import struct
import sys
import types

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from data.base.errors import UserError
from models.encoders.weights.torch_file import read_torch_file

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001


class Tensor:
    """Pickled as PyTorch pickles a tensor."""

    def __init__(self, key, values, offset, shape, strides):
        self.key, self.values, self.rest = key, values, (offset, shape, strides, False, collections.OrderedDict())

    def __reduce__(self):
        return sys.modules["torch._utils"]._rebuild_tensor_v2, (Storage(self.key, self.values), *self.rest)


class Storage:
    def __init__(self, key, values):
        self.key, self.values = key, values


class Pickler(pickle.Pickler):
    def persistent_id(self, obj):
        if not isinstance(obj, Storage):
            return None
        kind = sys.modules["torch"].FloatStorage if obj.values.dtype == "<f4" else sys.modules["torch"].LongStorage
        return ("storage", kind, obj.key, "cpu", len(obj.values), None)


@pytest.fixture(autouse=True)
def torch(monkeypatch):
    """Modules of PyTorch's names, so that pickles refer to them; reading needs none."""
    main, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for module, name in ((main, "FloatStorage"), (main, "LongStorage"), (utils, "_rebuild_tensor_v2")):
        setattr(module, name, type(name, (), {"__module__": module.__name__, "__qualname__": name}))
    main._utils = utils
    monkeypatch.setitem(sys.modules, "torch", main)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)


def written(tensors, storages):
    file = io.BytesIO()
    for facts in (MAGIC, PROTOCOL, {"little_endian": True}):
        pickle.dump(facts, file, protocol=2)
    Pickler(file, protocol=2).dump(collections.OrderedDict(tensors))
    pickle.dump(list(storages), file, protocol=2)
    for values in storages.values():
        file.write(struct.pack("<q", len(values)) + values.tobytes())
    return file.getvalue()


VALUES = np.arange(24, dtype="<f4")
COUNT = np.array([7], dtype="<i8")


def example():
    tensors = {
        "contiguous": Tensor("1", VALUES, 0, (2, 3, 4), (12, 4, 1)),
        "channels_last": Tensor("1", VALUES, 0, (2, 3, 4), (1, 2, 6)),
        "part": Tensor("1", VALUES, 5, (3,), (2,)),
        "number": Tensor("2", COUNT, 0, (), ()),
    }
    return written(tensors, {"1": VALUES, "2": COUNT})


def read(content, tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    return read_torch_file(str(path))


def test_tensors_have_their_strides(tmp_path):
    tensors = read(example(), tmp_path)
    assert list(tensors) == ["contiguous", "channels_last", "part", "number"]
    np.testing.assert_array_equal(tensors["contiguous"], VALUES.reshape(2, 3, 4))
    np.testing.assert_array_equal(tensors["channels_last"], VALUES.reshape(4, 3, 2).T)
    np.testing.assert_array_equal(tensors["part"], [5, 7, 9])
    assert tensors["number"] == 7


class Harm:
    def __reduce__(self):
        return print, ("harm",)


def test_a_pickle_that_asks_for_more_is_refused(tmp_path, capsys):
    with pytest.raises(UserError, match=r"weights\.pth is not a state dictionary.* asks for __builtin__\.print"):
        read(written({"weight": Harm()}, {}), tmp_path)
    assert not capsys.readouterr().out


@pytest.mark.parametrize(
    "tensor",
    [
        Tensor("1", VALUES, 20, (5,), (1,)),
        Tensor("1", VALUES, -1, (1,), (1,)),
        Tensor("1", VALUES, 0, (3,), (-1,)),
        Tensor("1", VALUES, 0, (1 << 40, 1 << 40), (1, 1)),
        Tensor("1", VALUES, 0, (1 << 40,), (0,)),
        Tensor("1", VALUES, 0, (2, 2), (1,)),
    ],
    ids=["end", "begin", "back", "huge", "expanded", "axes"],
)
def test_a_tensor_outside_of_its_numbers_is_refused(tmp_path, tensor):
    with pytest.raises(UserError, match="is not a state dictionary"):
        read(written({"weight": tensor}, {"1": VALUES}), tmp_path)


@pytest.mark.parametrize(
    "content", [b"", b"PK\3\4 a newer file", pickle.dumps([1, 2])], ids=["empty", "newer", "pickle"]
)
def test_another_file_is_refused(tmp_path, content):
    with pytest.raises(UserError, match="is not a state dictionary"):
        read(content, tmp_path)


def test_a_file_that_is_cut_off_is_refused(tmp_path):
    with pytest.raises(UserError, match="is not a state dictionary"):
        read(example()[:-8], tmp_path)


@hypothesis.settings(
    max_examples=300, derandomize=True, deadline=None, suppress_health_check=list(hypothesis.HealthCheck)
)
@hypothesis.given(st.data())
def test_damaged_files_are_read_or_refused(tmp_path, data):
    content = bytearray(example())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(UserError):
        read(bytes(content), tmp_path)
