"""Images of any type and number of bands, inside the graph, so that every server of the model takes them.

`data/decoding/arrays.py` says the same in Python, and nothing here may differ.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from data.decoding import arrays
from models.inputs import encoded
from models.inputs.encoded import is_deep
from models.inputs.settings import PreprocessingSettings

# What refusals begin with, for whoever shows them to people.
REFUSAL = "the model takes"
# Of version 1.0 of NumPy's format: its name and version, then the length of the header.
_START = arrays.MAGIC + b"\x01\0"
_PREFIX_BYTES = len(_START) + 2
# The most of a header that a message shows.
_SHOWN_BYTES = 120
# TensorFlow's decoder of raw bytes knows no unsigned numbers of 32 bits.
_READ_AS = {"uint32": tf.int32}
# Of each image, for percentiles over all images.
_SAMPLED_PIXELS = 4096


def decode(content: tf.Tensor, settings: PreprocessingSettings) -> tuple[tf.Tensor, tf.Tensor]:
    """The channels that the network takes of an encoded image, and which pixels have data.

    Args:
      content: JPEG or PNG bytes, or an array as `data.decoding.arrays.encode_array` and `numpy.save` write them.
      settings: what images are, and which bands are the channels.

    Returns:
      [h, w, channels] float32, 0 where there is no data; and [h, w, 1] bool.

    Raises:
      InvalidArgumentError: if it is of another type, has other bands, or is damaged; DataLossError if zlib finds that.
    """
    chosen = settings.chosen_bands()
    bands = settings.num_channels if settings.has_pictures and chosen is None else settings.num_bands
    if settings.has_pictures:
        values = tf.cond(
            _is_array(content),
            lambda: tf.broadcast_to(*_broadcast(decode_array(content, settings.type, bands, may_be_gray=True), bands)),
            lambda: _decode_picture(content, settings.type, bands),
        )
    else:
        values = decode_array(content, settings.type, bands)
    values = tf.ensure_shape(values, [None, None, bands])
    has_data = tf.ones_like(values[..., :1], tf.bool)
    if settings.type == "float32":
        has_data &= tf.reduce_all(tf.math.is_finite(values), axis=-1, keepdims=True)
    own = arrays.own_nodata(np.dtype(settings.type), settings.nodata)
    if own is not None:
        of_bands = tf.reduce_all if arrays.may_be_measured(own) else tf.reduce_any
        has_data &= ~of_bands(values == tf.constant(own), axis=-1, keepdims=True)
    values = tf.cast(values, tf.float32)
    if chosen is not None:
        values = tf.gather(values, chosen, axis=-1)
    return tf.where(has_data, values, 0.0) if settings.may_lack_data else values, has_data


def size_of(content: tf.Tensor) -> tf.Tensor:
    """Height and width of an image that `decode` takes: [2] int32, from its header."""
    of_any_type = "|".join(map(re.escape, arrays.TYPES))
    return tf.cond(
        _is_array(content),
        lambda: tf.cast(_unpacked(content).shape(f"(?:{of_any_type})", r"\d{1,2}")[1][:2], tf.int32),
        lambda: encoded.size_of(content),
    )


def _is_array(content: tf.Tensor) -> tf.Tensor:
    start = tf.strings.substr(content, 0, len(arrays.MAGIC))
    return (start == arrays.MAGIC) | (tf.strings.substr(start, 0, 2) == arrays.GZIP_SIGNATURE)


def _broadcast(values: tf.Tensor, bands: int) -> tuple[tf.Tensor, tf.Tensor]:
    return values, tf.concat([tf.shape(values)[:2], [bands]], axis=0)


def _decode_picture(content: tf.Tensor, pixel_type: str, channels: int) -> tf.Tensor:
    is_right = is_deep(content) if pixel_type == "uint16" else ~is_deep(content)
    bits = 16 if pixel_type == "uint16" else 8
    message = f"{REFUSAL} images of {bits} bits per channel, and this one has another number"
    with tf.control_dependencies([tf.debugging.Assert(is_right, [message])]):
        content = tf.identity(content)
    if pixel_type == "uint16":
        return tf.io.decode_png(content, channels, tf.uint16)
    return tf.io.decode_image(content, channels, expand_animations=False)


class _Array(NamedTuple):
    """An array without gzip: its bytes, whether it is one, the header, and where the values start."""

    content: tf.Tensor
    is_array: tf.Tensor
    header: tf.Tensor
    start: tf.Tensor

    def shape(self, of_type: str, count: str) -> tuple[tf.Tensor, tf.Tensor]:
        """Whether the header has a type and number of bands, both patterns; and its shape, [3] int64, 0 if not."""
        # As NumPy writes it. No more digits than can be multiplied.
        pattern = (
            rf"\{{'descr': '{of_type}', 'fortran_order': False, "
            rf"'shape': \((\d{{1,6}}), (\d{{1,6}}), ({count})\), \}} *\n"
        )
        matches = tf.strings.regex_full_match(self.header, pattern)
        numbers = tf.where(matches, tf.strings.regex_replace(self.header, pattern, r"\1 \2 \3"), "0 0 0")
        return matches, tf.ensure_shape(tf.strings.to_number(tf.strings.split(numbers), tf.int64), [3])


def _unpacked(content: tf.Tensor) -> _Array:
    is_gzip = tf.strings.substr(content, 0, 2) == arrays.GZIP_SIGNATURE
    content = tf.cond(is_gzip, lambda: tf.io.decode_compressed(content, "GZIP"), lambda: content)
    size = tf.strings.length(content)
    is_array = (tf.strings.substr(content, 0, len(_START)) == _START) & (size >= _PREFIX_BYTES)
    content = tf.where(is_array, content, bytes(_PREFIX_BYTES))
    size = tf.where(is_array, size, _PREFIX_BYTES)
    length = tf.cast(tf.io.decode_raw(tf.strings.substr(content, len(_START), 2), tf.uint16)[0], tf.int32)
    start = tf.minimum(_PREFIX_BYTES + length, size)
    return _Array(content, is_array, tf.strings.substr(content, _PREFIX_BYTES, start - _PREFIX_BYTES), start)


def decode_array(content: tf.Tensor, pixel_type: str, bands: int, may_be_gray: bool = False) -> tf.Tensor:
    """Decodes NumPy's format, gzipped or not.

    Args:
      content: the bytes, a scalar.
      pixel_type: of the values; another one is refused, as its values would mean something else.
      bands: how many there have to be.
      may_be_gray: whether one is enough.

    Returns:
      [h, w, bands] of that type.
    """
    array = _unpacked(content)
    of_type = next(name for name in arrays.TYPES if np.dtype(name).name == pixel_type)
    matches, shape = array.shape(re.escape(of_type), f"(?:1|{bands})" if may_be_gray else str(bands))
    start, size = array.start, tf.strings.length(array.content)
    expected = tf.reduce_prod(shape) * np.dtype(of_type).itemsize
    is_whole = (expected > 0) & (expected == tf.cast(size - start, tf.int64))
    # A header of the wrong length holds pixels, which no message can.
    shown = tf.strings.unicode_transcode(
        tf.strings.strip(tf.strings.substr(array.header, 0, _SHOWN_BYTES)),
        "UTF-8",
        "UTF-8",
        replacement_char=ord("?"),
        replace_control_characters=True,
    )
    what = tf.where(array.is_array, tf.where(matches, "this one is damaged, with the header ", "this one has "), "")
    takes = f"{REFUSAL} images with {bands} band{'' if bands == 1 else 's'} of {pixel_type} in NumPy's format 1.0; "
    message = tf.strings.join([takes, what, tf.where(array.is_array, shown, "this is none")])
    with tf.control_dependencies([tf.debugging.Assert(matches & is_whole, [message])]):
        data = tf.strings.substr(array.content, start, size - start)
    values = tf.io.decode_raw(data, _READ_AS.get(pixel_type, tf.as_dtype(pixel_type)))
    return tf.reshape(tf.bitcast(values, tf.as_dtype(pixel_type)), shape)


def sums(pixels: tf.Tensor, has_data: tf.Tensor) -> tf.Tensor:
    """[1 + 2 · channels] float64: the share of pixels that count and, per channel, the means of values and squares.

    In 64 bits, since squares of large values that differ little have more digits than 32 bits hold.

    Args:
      pixels: [h, w, channels] float32.
      has_data: [h, w, 1] bool, which count.
    """
    values = tf.where(has_data, tf.cast(pixels, tf.float64), 0.0)
    share = tf.reduce_mean(tf.cast(has_data, tf.float64), [0, 1])
    return tf.concat([share, *(tf.reduce_mean(x, [0, 1]) for x in (values, values**2))], axis=0)


def sample(pixels: tf.Tensor, has_data: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Some pixels of an image, evenly from all: [n, channels] and [n, 1], as `sampled` describes them."""
    flat = [tf.reshape(values, [-1, values.shape[-1]]) for values in (pixels, has_data)]
    last = tf.cast(tf.shape(flat[0])[0] - 1, tf.float64)
    places = tf.cast(tf.linspace(tf.constant(0.0, tf.float64), last, _SAMPLED_PIXELS), tf.int32)
    return tf.gather(flat[0], places), tf.gather(flat[1], places)


def sampled(channels: int) -> tuple[tf.TensorSpec, tf.TensorSpec]:
    """What `sample` returns."""
    shape = [_SAMPLED_PIXELS, channels]
    return tf.TensorSpec(shape, tf.float32), tf.TensorSpec([_SAMPLED_PIXELS, 1], tf.bool)


def clipping(
    pixels: tf.Tensor, has_data: tf.Tensor, settings: PreprocessingSettings
) -> Callable[[tf.Tensor], tf.Tensor]:
    """A function that clips [..., channels] values to percentiles of all images, if there are to be any.

    Args:
      pixels: [batch, n, channels] float32, a sample of each image.
      has_data: [batch, n, 1] bool, which count.
      settings: of the input.
    """
    if settings.percentiles is None:
        return lambda values: values
    import tensorflow_transform as tft

    counted = tf.ensure_shape(tf.boolean_mask(pixels, has_data[..., 0]), [None, settings.num_channels])
    # [channels, 999] boundaries, a tenth of a percent apart.
    boundaries = tft.quantiles(counted, num_buckets=1000, epsilon=1e-4, reduce_instance_dims=False)
    low, high = (boundaries[:, round(10 * percentile) - 1] for percentile in settings.percentiles)
    if settings.stored_type != "float32":
        low, high = tf.round(low), tf.round(high)
    return lambda values: tf.clip_by_value(values, low, high)
