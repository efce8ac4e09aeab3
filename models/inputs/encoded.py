"""What the bytes of an encoded image say, found out inside the graph, so that every server of the model knows.

`data/decoding/orientation.py` says the same in Python, and nothing here may differ.
"""

from __future__ import annotations

import functools
from typing import Any

import tensorflow as tf

from data.decoding import orientation, structure

# What the refusal of an image of more than 8 bits begins with, also by models of earlier releases; and the refusal.
IS_DEEP = "the image has 16 bits per channel"
NO_DEPTH = f"{IS_DEEP}, and the model learned from images of 8"


def _read(content: tf.Tensor, place: tf.Tensor | int, size: int) -> tf.Tensor:
    """[size] int64, the bytes at a place; 0 beyond the end."""
    length = tf.strings.length(content)
    start = tf.minimum(tf.cast(place, tf.int64), tf.cast(length, tf.int64))
    found = tf.strings.substr(content, start, tf.constant(size, tf.int64))
    return tf.cast(tf.io.decode_raw(found, tf.uint8, fixed_length=size), tf.int64)


def _length(content: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.strings.length(content), tf.int64)


def _number(values: tf.Tensor) -> tf.Tensor:
    """The number that bytes, the last dimension, stand for, the most significant one first."""
    powers = [256**power for power in reversed(range(values.shape[-1]))]
    return tf.reduce_sum(values * tf.constant(powers, tf.int64), axis=-1)


def _equals(values: tf.Tensor, expected: bytes) -> tf.Tensor:
    return tf.reduce_all(values == tf.constant(list(expected), tf.int64))


def _nowhere() -> tuple[tf.Tensor, tf.Tensor]:
    return tf.constant(0, tf.int64), tf.constant(0, tf.int64)


def _walk(content: tf.Tensor, start: int, step: Any) -> tuple[tf.Tensor, tf.Tensor]:
    """Goes from part to part of a file.

    Args:
      content: the file.
      start: place of the first part.
      step: from a place to the place of the next part, whether there is one, and start and end of the EXIF if it is
        here.

    Returns:
      Start and end of the block of EXIF; 0 and 0 if there is none.
    """

    def body(place: tf.Tensor, go_on: tf.Tensor, _: tf.Tensor, __: tf.Tensor) -> tuple[tf.Tensor, ...]:
        return step(place)

    zero = tf.constant(0, tf.int64)
    _, _, begin, end = tf.while_loop(
        lambda _, go_on, *found: go_on,
        body,
        (tf.constant(start, tf.int64), tf.constant(True), zero, zero),
        maximum_iterations=structure.MOST_PARTS,
        parallel_iterations=1,
    )
    return begin, end


def _exif_in_png(content: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    size = _length(content)

    def step(place: tf.Tensor) -> tuple[tf.Tensor, ...]:
        head = _read(content, place, 8)
        end = place + 8 + _number(head[:4])
        is_complete = end + 4 <= size
        found = is_complete & _equals(head[4:], b"eXIf")
        go_on = is_complete & ~found & ~_equals(head[4:], b"IEND")
        return end + 4, go_on, tf.where(found, place + 8, 0), tf.where(found, end, 0)

    return _walk(content, len(structure.PNG_SIGNATURE), step)


def _exif_in_jpeg(content: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    size = _length(content)

    def step(place: tf.Tensor) -> tuple[tf.Tensor, ...]:
        head = _read(content, place, 10)
        marker, length = head[1], _number(head[2:4])
        is_fill = marker == 0xFF
        is_segment = ((marker >= 0xC0) & (marker <= 0xCF)) | ((marker >= 0xDB) & (marker <= 0xFE))
        end = place + 2 + length
        is_complete = is_segment & (length >= 2) & (end <= size)
        # The length covers itself, two bytes, and the prefix.
        found = is_complete & (marker == 0xE1) & (length >= 8) & _equals(head[4:], orientation.EXIF_PREFIX)
        begins = (head[0] == 0xFF) & (place + 4 <= size)
        found &= begins
        go_on = begins & (is_fill | (is_complete & ~found))
        return tf.where(is_fill, place + 1, end), go_on, tf.where(found, place + 10, 0), tf.where(found, end, 0)

    return _walk(content, 2, step)


def _block_orientation(content: tf.Tensor, start: tf.Tensor, end: tf.Tensor) -> tf.Tensor:
    """The orientation in a block of EXIF, 1 to 8."""
    block = tf.strings.substr(content, start, end - start)
    size = end - start
    header = _read(block, 0, 8)
    is_big = _equals(header[:4], orientation.BIG_ENDIAN)

    def number(values: tf.Tensor) -> tf.Tensor:
        return _number(tf.where(is_big, values, tf.reverse(values, [-1])))

    directory = number(header[4:])
    count = tf.minimum(number(_read(block, directory, 2)), (size - directory - 2) // 12)
    is_valid = (is_big | _equals(header[:4], orientation.LITTLE_ENDIAN)) & (size >= 8) & (directory + 2 <= size)
    count = tf.where(is_valid, tf.maximum(count, 0), 0)
    first = tf.minimum(directory + 2, size)
    entries = tf.io.decode_raw(tf.strings.substr(block, first, 12 * count), tf.uint8)
    entries = tf.cast(tf.reshape(entries, [-1, 12]), tf.int64)
    # A row of zeros in front of it stands for no entry at all.
    is_tag = tf.concat([[False], number(entries[:, :2]) == orientation.TAG], axis=0)
    entry = tf.concat([tf.zeros([1, 12], tf.int64), entries], axis=0)[tf.argmax(tf.cast(is_tag, tf.int32))]
    value = number(entry[8:10])
    is_orientation = (number(entry[2:4]) == 3) & (number(entry[4:8]) == 1) & (value >= 1) & (value <= 8)
    return tf.where(is_orientation, tf.cast(value, tf.int32), 1)


def exif_orientation(content: tf.Tensor) -> tf.Tensor:
    """How EXIF in a JPEG or PNG says the image is to be turned, 1 to 8, int32; 1, upright, if nothing does."""
    head = _read(content, 0, 8)
    is_png = _equals(head, structure.PNG_SIGNATURE)
    is_jpeg = _equals(head[:3], structure.JPEG_SIGNATURE)
    start, end = tf.cond(
        is_jpeg,
        functools.partial(_exif_in_jpeg, content),
        lambda: tf.cond(is_png, functools.partial(_exif_in_png, content), _nowhere),
    )
    return tf.cond(end > 0, lambda: _block_orientation(content, start, end), lambda: tf.constant(1))


def upright(images: tf.Tensor) -> tf.Tensor:
    """Turns JPEG and PNG images upright, as their EXIF says.

    Args:
      images: [batch] encoded images.

    Returns:
      [batch] encoded images; those that are upright as they are stored keep their bytes, the others are PNGs.
    """
    # Most images have no EXIF, which a search shows faster than a walk through their parts.
    is_png = tf.strings.substr(images, 0, 4) == structure.PNG_SIGNATURE[:4]
    has_exif = tf.cond(
        tf.reduce_any(is_png),
        lambda: _any_holds(images, orientation.EXIF_PREFIX) | _any_holds(images, b"eXIf"),
        lambda: _any_holds(images, orientation.EXIF_PREFIX),
    )
    return tf.cond(has_exif, lambda: _turn_each(images), lambda: images)


def size_of(content: tf.Tensor) -> tf.Tensor:
    """Height and width of an encoded image: [2] int32, from the header of a JPEG or PNG."""

    def of_png() -> tf.Tensor:
        # PNG specification, section 11.2.1: width and height are the bytes 16 to 23.
        return tf.cast(_number(tf.reshape(_read(content, 16, 8), [2, 4]))[::-1], tf.int32)

    def of_others() -> tf.Tensor:
        return tf.shape(tf.io.decode_image(content, expand_animations=False))[:2]

    is_png = _equals(_read(content, 0, len(structure.PNG_SIGNATURE)), structure.PNG_SIGNATURE)
    return tf.case(
        [(tf.io.is_jpeg(content), lambda: tf.io.extract_jpeg_shape(content)[:2]), (is_png, of_png)],
        default=of_others,
    )


def _any_holds(images: tf.Tensor, mark: bytes) -> tf.Tensor:
    parts = tf.raw_ops.StringSplitV2(input=images, sep=mark, maxsplit=1)
    return tf.reduce_any(parts.indices[:, 1] > 0)


def _turn_each(images: tf.Tensor) -> tf.Tensor:
    orientations = tf.map_fn(exif_orientation, images, fn_output_signature=tf.TensorSpec([], tf.int32))

    def turn(item: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        content, turns = item
        return tf.cond(turns > 1, lambda: _turned(content, turns), lambda: content)

    def turn_all() -> tf.Tensor:
        # One at a time, as an image of 12 million pixels takes 36 MB once decoded.
        signature = tf.TensorSpec([], tf.string)
        return tf.map_fn(turn, (images, orientations), fn_output_signature=signature, parallel_iterations=1)

    return tf.cond(tf.reduce_any(orientations > 1), turn_all, lambda: images)


def _turned(content: tf.Tensor, turns: tf.Tensor) -> tf.Tensor:
    def turn(pixels: tf.Tensor) -> tf.Tensor:
        pixels = tf.cond(turns >= 5, lambda: tf.transpose(pixels, [1, 0, 2]), lambda: pixels)
        for axis, flipped in ((1, (2, 3, 6, 7)), (0, (3, 4, 7, 8))):
            is_flipped = tf.reduce_any(turns == tf.constant(flipped))
            pixels = tf.cond(is_flipped, lambda p=pixels, a=axis: tf.reverse(p, [a]), lambda p=pixels: p)
        # Uncompressed: the transform decodes it again at once.
        return tf.io.encode_png(pixels, compression=0)

    return tf.cond(
        is_deep(content),
        lambda: turn(tf.io.decode_png(content, dtype=tf.uint16)),
        lambda: turn(tf.ensure_shape(tf.io.decode_image(content, expand_animations=False), [None, None, None])),
    )


def is_deep(content: tf.Tensor) -> tf.Tensor:
    """Whether it is a PNG of 16 bits per channel."""
    head = _read(content, 0, 25)
    return _equals(head[:8], structure.PNG_SIGNATURE) & (head[24] == 16)


def of_eight_bits(content: tf.Tensor) -> tf.Tensor:
    """The same encoded image; a PNG of 16 bits per channel is an error, as its high bytes alone may be all black."""
    with tf.control_dependencies([tf.debugging.Assert(~is_deep(content), [NO_DEPTH])]):
        return tf.identity(content)
