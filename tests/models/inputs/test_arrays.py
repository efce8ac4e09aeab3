"""The graph decodes arrays as Python does, and refuses what it must not take for an image."""

import gzip
import io

import numpy as np
import pytest
import tensorflow as tf

from data.decoding.arrays import TYPES, decode_array, encode_array, no_data
from data.decoding.images import encoded_values
from models.inputs import arrays
from models.inputs.settings import PreprocessingSettings

GENERATOR = np.random.default_rng(0)
REFUSED = (tf.errors.InvalidArgumentError, tf.errors.DataLossError)


def values_of(name: str, bands: int = 13) -> np.ndarray:
    dtype = np.dtype(name)
    if dtype.kind == "f":
        values = GENERATOR.normal(0, 1e6, (5, 7, bands)).astype(dtype)
        values[0, 0, 0], values[0, 1, 0] = np.nan, np.inf
        return values
    limits = np.iinfo(dtype)
    values = GENERATOR.integers(limits.min, limits.max, (5, 7, bands), dtype, endpoint=True)
    values[0, 0, 0], values[0, 1, 0] = limits.min, limits.max
    return values


def decoder(name: str, bands: int = 13):
    def decode(content: tf.Tensor) -> tf.Tensor:
        return arrays.decode_array(content, np.dtype(name).name, bands)

    return tf.function(decode, input_signature=[tf.TensorSpec([], tf.string)], autograph=False)


@pytest.mark.parametrize("name", TYPES)
def test_all_types_are_decoded_as_in_python(name):
    values = values_of(name)
    content, buffer = encode_array(values), io.BytesIO()
    np.save(buffer, values)
    decode = decoder(name)
    for stored in (content, gzip.decompress(content), buffer.getvalue()):
        found = decode(tf.constant(stored)).numpy()
        assert found.dtype == np.dtype(name)
        np.testing.assert_array_equal(found, values)
        np.testing.assert_array_equal(decode_array(stored, 10**6), values)


def header_of(**fields) -> bytes:
    header = {"descr": "<u2", "fortran_order": False, "shape": (5, 7, 13), **fields}
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, header)
    return buffer.getvalue()


def test_what_is_broken_or_something_else_is_refused():
    good = encode_array(values_of("<u2"))
    plain = gzip.decompress(good)
    four_gigabytes = header_of(shape=(12_000, 13_000, 13))
    decode = decoder("<u2")
    broken = [
        *(b"", b"x", b"\x93NUMPY\x01\0", b"\x93NUMPY\x01\0\xff\xff", b"\x1f\x8b", b"\x1f\x8bno gzip"),
        *(good[: len(good) // 2], plain[:-1], plain + b"x", plain[:40], b"\x93NUMPY\x02" + plain[7:]),
        *(four_gigabytes + bytes(2000), gzip.compress(four_gigabytes), header_of(shape=(999999, 999999, 13))),
        *(header_of(fortran_order=True) + plain[128:], header_of(descr=">u2") + plain[128:]),
        *(header_of(descr="<i2") + plain[128:], header_of(shape=(5, 91)) + plain[128:]),
        *(header_of(shape=(0, 7, 13)), header_of(shape=(5, 7, 12)) + plain[128:], header_of(shape=(35, 13, 1))),
    ]
    for content in broken:
        with pytest.raises(REFUSED):
            decode(tf.constant(content))
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"13 bands of uint16 in NumPy.*one is damaged, with"):
        decode(tf.constant(four_gigabytes + bytes(2000)))
    with pytest.raises(tf.errors.InvalidArgumentError, match="this one has"):
        decode(tf.constant(header_of(descr="<f8")))


@pytest.mark.parametrize(
    ("name", "nodata"),
    [*(("<f4", None), ("<f4", 0), ("<f4", -9999), ("<i2", -3), ("<i2", 0)), *(("<u2", 0), ("|u1", None), ("|u1", 255))],
)
def test_what_has_no_data_is_found_as_in_python(name, nodata):
    values = values_of(name, 4)
    missing = np.nan if nodata is None and name == "<f4" else nodata or 0
    values[1:3, 2, 1] = values[3, 4] = values[4, :2, 1:] = missing
    shape = PreprocessingSettings(type=np.dtype(name).name, bands=4, channels=[3, 1], nodata=nodata)
    found, has_data = arrays.decode(tf.constant(encode_array(values)), shape)
    expected = ~no_data(values, nodata)
    assert expected.all() == (nodata is None and name != "<f4")
    np.testing.assert_array_equal(has_data[..., 0], expected)
    np.testing.assert_array_equal(found.numpy()[expected], values[..., [2, 0]][expected].astype(np.float32))
    assert np.isfinite(found).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_of_16_bits_may_be_gray_or_colored_and_arrays(channels):
    shape = PreprocessingSettings(type="uint16", channels=channels)
    gray = GENERATOR.integers(0, 65536, (5, 7), np.uint16)
    for content in (encoded_values(gray).encoded, encode_array(gray)):
        found, has_data = arrays.decode(tf.constant(content), shape)
        np.testing.assert_array_equal(found, np.repeat(gray[..., np.newaxis], channels, axis=2))
        assert tf.reduce_all(has_data)
    eight_bits = encoded_values(gray.astype(np.uint8)).encoded
    with pytest.raises(tf.errors.InvalidArgumentError, match="the model takes images of 16 bits per channel"):
        arrays.decode(tf.constant(eight_bits), shape)


def test_sums_hold_where_values_are_large_and_differ_little():
    values = (10_000 + GENERATOR.normal(0, 1e-2, (50, 60, 2))).astype(np.float32)
    has_data = np.ones([50, 60, 1], bool)
    has_data[:10] = False
    share, *moments = arrays.sums(tf.constant(values), tf.constant(has_data)).numpy()
    mean, squares = np.array(moments[:2]) / share, np.array(moments[2:]) / share
    counted = values[10:].astype(np.float64)
    np.testing.assert_allclose(mean, counted.mean(axis=(0, 1)), rtol=1e-12)
    np.testing.assert_allclose(squares - mean**2, counted.var(axis=(0, 1)), rtol=1e-2)
