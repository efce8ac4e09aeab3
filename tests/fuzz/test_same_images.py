"""Which pixels an image has, however it is to be turned and however many bits and bands it has: in the conversion, in
the graph that is exported, and where the mask says so."""

from __future__ import annotations

import functools
import gzip
import io
import struct

import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st
from PIL import Image

from data.decoding import orientation
from data.decoding.arrays import decode_array, encode_array
from data.decoding.images import BadImageError, read_image, stored_values
from data.decoding.notes import collecting
from models.inputs import arrays, encoded
from tests.data.decoding import files
from tests.fuzz.cases import CASES, check_message, fuzz, mutated

LIMIT = 1_000_000
PIXELS = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)


def with_exif(pixels: np.ndarray, block: bytes, file_format: str) -> bytes:
    """A file whose pixels EXIF turns."""
    if file_format == "png":
        return files.png(pixels, before=files.chunk(b"eXIf", block))
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG")
    content = orientation.EXIF_PREFIX + block
    return buffer.getvalue()[:2] + b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content + buffer.getvalue()[2:]


def block_of(order: str, turn: int, before: int = 0) -> bytes:
    others = [(0x0100 + number, 3, 1, bytes(4)) for number in range(before)]
    return files.exif_block(order, *others, files.orientation_entry(order, turn))


def pixels_of(content: bytes) -> np.ndarray:
    return tf.io.decode_image(content, channels=3, expand_animations=False).numpy()


@pytest.mark.one_line
@hypothesis.settings(fuzz(CASES // 10))
@hypothesis.given(
    st.integers(1, 8),
    st.sampled_from("<>"),
    st.sampled_from(["png", "jpeg", "tiff"]),
    st.integers(1, 12),
    st.integers(1, 12),
    st.sampled_from([None, "upright", "stored"]),
    st.sampled_from(["as stored", "upright", "other"]),
    st.integers(0, 3),
)
def test_the_stored_image_lies_as_its_mask_does(turn, order, file_format, height, width, option, mask, before):
    pixels = np.random.default_rng(height * 100 + width).integers(0, 256, (height, width, 3), np.uint8)
    if file_format == "tiff":
        content = files.tiff(pixels, order, t274=turn)
    else:
        content = with_exif(pixels, block_of(order, turn, before), file_format)
        pixels = pixels_of(files.png(pixels) if file_format == "png" else content)
    upright = orientation.turned(pixels, turn)
    size = {"as stored": (width, height), "upright": (upright.shape[1], upright.shape[0]), "other": (width + 1, height)}
    fits_stored, fits_upright = (size[mask] == size[way] for way in ("as stored", "upright"))
    if not (fits_stored or fits_upright):
        with pytest.raises(BadImageError, match="sizes differ"):
            read_image(content, size[mask], LIMIT, option)
        return
    with collecting("image") as noted:
        found = pixels_of(read_image(content, size[mask], LIMIT, option).encoded)
    expected = upright if fits_upright and not (fits_stored and option == "stored") else pixels
    np.testing.assert_array_equal(found, expected)
    is_choice = turn > 1 and fits_stored and fits_upright
    assert (orientation.ASSUMED in noted.counts) == (is_choice and option is None)


EXIF = [
    with_exif(PIXELS, block_of(order, turn, before), file_format)
    for order, turn, before in (("<", 6, 0), (">", 3, 2), ("<", 8, 1), (">", 5, 0))
    for file_format in ("png", "jpeg")
]
find_in_graph = tf.function(encoded.exif_orientation, input_signature=[tf.TensorSpec([], tf.string)], autograph=False)
upright_in_graph = tf.function(encoded.upright, input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)


@hypothesis.settings(fuzz(CASES // 5))
@hypothesis.given(mutated(EXIF))
def test_graph_and_conversion_turn_alike(content):
    turn = orientation.exif_orientation(content)
    assert find_in_graph(tf.constant(content)).numpy() == turn
    try:
        image = read_image(content, None, LIMIT)
    except BadImageError as error:
        check_message(error)
        return
    try:
        found = pixels_of(upright_in_graph(tf.constant([content])).numpy()[0])
    except tf.errors.InvalidArgumentError:  # Some chunks stop TensorFlow alone, and the conversion leaves them out.
        return
    np.testing.assert_array_equal(found, pixels_of(image.encoded))


@hypothesis.settings(fuzz(CASES // 10))
@hypothesis.given(st.integers(0, 65535), st.integers(0, 65535), st.sampled_from([1, 2, 3, 4]), st.integers(1, 8))
def test_graph_and_conversion_keep_all_bits(low, high, channels, turn):
    low, high = sorted((low, high))
    shape = (6, 8) if channels == 1 else (6, 8, channels)
    values = np.random.default_rng(low).integers(low, high + 1, shape, np.uint16)
    content = files.png(values, before=files.chunk(b"eXIf", block_of("<", turn)))
    image = read_image(content, None, LIMIT)
    colors = orientation.turned(values[..., :3] if channels >= 3 else values.reshape(6, 8, -1)[..., :1], turn)
    np.testing.assert_array_equal(stored_values(image.encoded).reshape(colors.shape), colors)
    [turned] = upright_in_graph(tf.constant([content])).numpy()
    np.testing.assert_array_equal(tf.io.decode_png(turned, dtype=tf.uint16)[..., : colors.shape[2]], colors)


ARRAYS = [np.arange(6 * 8 * bands).reshape(6, 8, bands).astype(np.int16) - 9 for bands in (2, 13)]
STORED = [encode_array(values) for values in ARRAYS]
IN_GRAPH = [
    tf.function(
        functools.partial(arrays.decode_array, pixel_type="int16", bands=values.shape[2]),
        input_signature=[tf.TensorSpec([], tf.string)],
        autograph=False,
    )
    for values in ARRAYS
]


@hypothesis.settings(fuzz(CASES // 5))
@hypothesis.given(st.sampled_from(range(2)), st.data())
def test_graph_and_conversion_read_arrays_alike(number, data):
    content = data.draw(mutated([STORED[number], gzip.decompress(STORED[number])]))
    try:
        expected = decode_array(content, LIMIT)
    except BadImageError as error:
        check_message(error)
        expected = None
    try:
        found = IN_GRAPH[number](tf.constant(content)).numpy()
    except (tf.errors.InvalidArgumentError, tf.errors.DataLossError):
        return  # The graph takes one type and number of bands, and headers as NumPy writes them.
    # Of gzip, TensorFlow needs no end.
    if expected is not None:
        np.testing.assert_array_equal(found, expected)
    else:
        assert content.startswith(b"\x1f\x8b")
