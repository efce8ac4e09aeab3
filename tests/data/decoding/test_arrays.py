"""Images of any number of bands and any type: how they are stored, and what stands for no data."""

import gzip
import io

import numpy as np
import pytest

from data.decoding.arrays import TYPES, decode_array, encode_array, no_data, note_bands
from data.decoding.errors import BadImageError
from data.decoding.images import encoded_values
from data.decoding.notes import collecting
from data.formats import LabeledImage

LIMIT = 10_000


def values_of(name: str, shape: tuple[int, ...]) -> np.ndarray:
    dtype = np.dtype(name)
    if dtype.kind == "f":
        return np.linspace(-1e6, 1e6, int(np.prod(shape)), dtype=dtype).reshape(shape)
    limits = np.iinfo(dtype)
    return np.linspace(limits.min, limits.max, int(np.prod(shape))).astype(dtype).reshape(shape)


@pytest.mark.parametrize("name", TYPES)
@pytest.mark.parametrize("shape", [(5, 7, 1), (5, 7, 4), (3, 2, 64)])
def test_every_type_comes_back(name, shape):
    values = values_of(name, shape)
    content = encode_array(values)
    assert content == encode_array(values)
    for stored in (content, gzip.decompress(content)):
        found = decode_array(stored, LIMIT)
        assert found.dtype.str == name
        np.testing.assert_array_equal(found, values)
    buffer = io.BytesIO()
    np.save(buffer, values)
    np.testing.assert_array_equal(decode_array(buffer.getvalue(), LIMIT), values)


def test_broken_arrays_are_refused_in_a_sentence():
    good = encode_array(values_of("<u2", (6, 5, 13)))
    huge = io.BytesIO()
    np.lib.format.write_array_header_1_0(huge, {"descr": "<f4", "fortran_order": False, "shape": (32768, 32768, 1)})
    broken = [b"", b"x", good[: len(good) // 2], gzip.decompress(good)[:-1], gzip.decompress(good) + b"x"]
    broken += [gzip.compress(huge.getvalue()), huge.getvalue() + bytes(2000)]
    for content in broken:
        with pytest.raises(BadImageError) as error:
            decode_array(content, LIMIT)
        assert str(error.value)
        assert "\n" not in str(error.value)


def test_no_data_is_what_is_not_finite_or_has_the_value():
    values = np.ones([2, 3, 2], np.float32)
    values[0, 0, 1], values[1, 1, 0], values[1, 2, 1] = np.nan, -np.inf, -9999
    np.testing.assert_array_equal(no_data(values), [[True, False, False], [False, True, False]])
    np.testing.assert_array_equal(no_data(values, -9999.0), [[True, False, False], [False, True, True]])
    np.testing.assert_array_equal(no_data(np.array([[0, 7]], np.uint16), 0), [[True, False]])

    # What may be measured too stands for no data only in all bands.
    dark = np.array([[[0, 0], [0, 7], [9, 9]]])
    for dtype in (np.uint8, np.uint16, np.int16, np.float32):
        np.testing.assert_array_equal(no_data(dark.astype(dtype), 0), [[True, False, False]])
    np.testing.assert_array_equal(no_data(np.array([[[255, 255, 255], [255, 255, 3]]], np.uint8), 255), [[True, False]])
    np.testing.assert_array_equal(no_data(np.array([[[-9999, 5]]], np.int16), -9999), [[True]])
    np.testing.assert_array_equal(no_data(np.array([[[0, np.nan]]], np.float32), 0), [[True]])
    for impossible in (-1, 0.5, 65536, float("nan"), None):
        for shape in ([1, 3], [1, 3, 1]):
            found = no_data(np.array([0, 7, 65535], np.uint16).reshape(shape), impossible)
            np.testing.assert_array_equal(found, [[False] * 3], strict=True)


@pytest.mark.parametrize(
    ("dtype", "bands", "file_format"),
    [
        *((np.uint8, 0, "png"), (np.uint8, 1, "png"), (np.uint8, 3, "png"), (np.uint8, 2, "npy"), (np.uint8, 4, "npy")),
        *((np.uint16, 0, "png"), (np.uint16, 1, "png"), (np.uint16, 3, "png"), (np.uint16, 13, "npy")),
        *((np.int16, 0, "npy"), (np.float32, 3, "npy"), (np.int32, 1, "npy"), (np.uint32, 0, "npy")),
    ],
)
def test_values_become_what_the_contract_stores(dtype, bands, file_format):
    import tensorflow as tf

    values = values_of(np.dtype(dtype).str, (5, 7, bands) if bands else (5, 7))
    with collecting("x") as notes:
        image = encoded_values(values)
    assert (image.format, image.height, image.width, image.no_data) == (file_format, 5, 7, None)
    if file_format == "npy":
        found = decode_array(image.encoded, LIMIT)
    else:
        found = tf.io.decode_png(image.encoded, dtype=values.dtype).numpy()
    np.testing.assert_array_equal(found, values.reshape(found.shape))
    assert {f"image_type {np.dtype(dtype).name}", f"image_bands {max(bands, 1)}"} <= notes.counts.keys()


def test_values_without_data():
    values = np.arange(70, dtype=np.uint16).reshape(5, 7, 2)
    values[0, 2] = 4
    values[0, 3, 0] = 4
    with collecting("x") as notes:
        image = encoded_values(values, nodata=4.0)
        note_bands(["red", "near infrared"])
    assert notes.counts == {
        "image_type uint16": 1,
        "image_bands 2": 1,
        "image_nodata 4": 1,
        'image_band_names ["red", "near infrared"]': 1,
    }
    assert np.argwhere(image.no_data).tolist() == [[0, 2]]
    with collecting("x") as notes:
        image = encoded_values(values.astype(np.float64), nodata=4.0)
    found = decode_array(image.encoded, LIMIT)
    assert np.argwhere(np.isnan(found)).tolist() == [[0, 2, 0], [0, 2, 1], [0, 3, 0]]
    assert found.dtype == np.float32
    assert np.argwhere(image.no_data).tolist() == [[0, 2], [0, 3]]
    found = decode_array(encoded_values(np.array([[[0, 0], [0, 7]]], np.float32), nodata=0).encoded, LIMIT)
    np.testing.assert_array_equal(found, [[[np.nan, np.nan], [0, 7]]])
    assert not any(kind.startswith("image_nodata") for kind in notes.counts)
    for hollow in (np.full([2, 2], np.nan), np.zeros([2, 2, 4], np.uint16)):
        with pytest.raises(BadImageError, match="no pixel with data"):
            encoded_values(hollow, nodata=0)
    for shape in ((0, 4), (2, 2, 65), (2, 2, 0)):
        with pytest.raises(BadImageError):
            encoded_values(np.zeros(shape, np.uint16))


def test_pixels_without_data_are_ignored():
    values = np.arange(6, dtype=np.uint16).reshape(2, 3)
    ids = np.ones([2, 3], np.uint8)
    labeled = LabeledImage(encoded_values(values, nodata=4), ids, ids.astype(np.uint16))
    np.testing.assert_array_equal(labeled.class_ids, [[1, 1, 1], [1, 255, 1]])
    np.testing.assert_array_equal(labeled.instances, [[1, 1, 1], [1, 0, 1]])
    assert (labeled.class_ids.dtype, labeled.instances.dtype, ids.min()) == (np.uint8, np.uint16, 1)
