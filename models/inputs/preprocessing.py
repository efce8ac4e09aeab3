"""Decoding, resizing and normalizing: the only implementation, exported by Transform and called by everyone else."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Literal

import tensorflow as tf

from data import contract
from data.decoding.intensity import Range
from models.inputs.encoded import with_eight_bits

# The transform graph's outputs.
IMAGE = "image"
LABEL = "label"
OBJECTS = "objects"
PIXELS = "pixels"
MEAN = "mean"
SCALE = "scale"

Resize = Literal["stretch", "pad", "none"]


def placement(
    height: tf.Tensor, width: tf.Tensor, target_height: int, target_width: int, resize: Resize
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """Where an image lands in the model's input: top, left, height and width in the model's pixels.

    Args:
      height: of the image, in pixels.
      width: of the image, in pixels.
      target_height: height of the model's input.
      target_width: width of the model's input.
      resize: `stretch` fills the input, `pad` keeps the aspect ratio and centers the image, `none` leaves it unchanged.
    """
    if resize == "none":
        return tf.constant(0), tf.constant(0), tf.convert_to_tensor(height), tf.convert_to_tensor(width)
    target = tf.constant([target_height, target_width])
    if resize == "stretch":
        size = target
    else:
        image_size = tf.cast(tf.stack([height, width]), tf.float32)
        scale = tf.reduce_min(tf.cast(target, tf.float32) / image_size)
        size = tf.clip_by_value(tf.cast(tf.round(image_size * scale), tf.int32), 1, target)
    offset = (target - size) // 2
    return offset[0], offset[1], size[0], size[1]


def _decode(encoded: tf.Tensor, channels: int) -> tf.Tensor:
    """A whole image or mask, [h, w, channels] uint8."""
    return tf.ensure_shape(
        tf.io.decode_image(encoded, channels=channels, expand_animations=False), [None, None, channels]
    )


def _decode_to_scale(encoded: tf.Tensor, channels: int, height: int, width: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Decodes an image; JPEGs at half, a quarter or an eighth of their size where that saves work.

    The decoder then skips frequencies that resizing would average away. It never goes below twice the model's input, at
    which the result differs from a full decode by about one level of 256 on average.

    Returns:
      [h, w, channels] uint8, and the size of the whole image: its height and width.
    """

    def whole() -> tuple[tf.Tensor, tf.Tensor]:
        pixels = _decode(encoded, channels)
        return pixels, tf.shape(pixels)[:2]

    def scaled() -> tuple[tf.Tensor, tf.Tensor]:
        size = tf.io.extract_jpeg_shape(encoded)[:2]
        spare = tf.reduce_min(size // (2 * tf.constant([height, width])))

        def decode(ratio: int) -> tf.Tensor:
            pixels = functools.partial(tf.io.decode_jpeg, encoded, channels, ratio)
            return pixels() if ratio == 8 else tf.cond(spare < 2 * ratio, pixels, lambda: decode(2 * ratio))

        return decode(1), size

    pixels, size = tf.cond(tf.io.is_jpeg(encoded), scaled, whole)
    return tf.ensure_shape(pixels, [None, None, channels]), tf.ensure_shape(size, [2])


def _read_image(
    encoded: tf.Tensor, height: int, width: int, channels: int, resize: Resize, intensity_range: Range | None
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """An image at the size of the model's input, and its sums for the normalization.

    Returns:
      [height, width, channels] uint8; [height, width, 1] uint8, 1 inside the image, 0 in the padding; and [1 + 2 ·
      channels] float32: the share of the input that is not padded and, per channel, the sum of the pixels and of their
      squares, divided by height · width.
    """
    pixels, size = _decode_to_scale(with_eight_bits(encoded, intensity_range), channels, height, width)
    top, left, new_height, new_width = placement(size[0], size[1], height, width, resize)
    resized = tf.round(tf.image.resize(pixels, [new_height, new_width], antialias=True))
    sums = [[tf.cast(new_height * new_width, tf.float32)], *(tf.reduce_sum(x, [0, 1]) for x in (resized, resized**2))]
    paddings = [[top, height - top - new_height], [left, width - left - new_width], [0, 0]]
    padded = tf.pad(tf.cast(resized, tf.uint8), paddings)
    inside = tf.pad(tf.ones([new_height, new_width, 1], tf.uint8), paddings)
    return (
        tf.ensure_shape(padded, [height, width, channels]),
        tf.ensure_shape(inside, [height, width, 1]),
        tf.concat(sums, axis=0) / (height * width),
    )


def _fit_mask(values: tf.Tensor, height: int, width: int, resize: Resize, padding: int) -> tf.Tensor:
    """A mask of any size as [height, width, 1], with the same values and `padding` around them."""
    shape = tf.shape(values)
    top, left, new_height, new_width = placement(shape[0], shape[1], height, width, resize)
    paddings = [[top, height - top - new_height], [left, width - left - new_width], [0, 0]]
    resized = tf.image.resize(values, [new_height, new_width], method="nearest")
    return tf.ensure_shape(tf.pad(resized, paddings, constant_values=padding), [height, width, 1])


def _decode_objects(encoded: tf.Tensor) -> tf.Tensor:
    return tf.io.decode_png(encoded, 1, tf.uint16)


def normalize(pixels: tf.Tensor, mean: tf.Tensor, scale: tf.Tensor) -> tf.Tensor:
    """Normalizes pixels per channel: (pixel - mean) · scale.

    Args:
      pixels: [batch, height, width, channels] uint8.
      mean: [batch, channels] float32, the same in each row.
      scale: [batch, channels] float32, one over the standard deviation, the same in each row.

    Returns:
      [batch, height, width, channels] float32.
    """
    # Not a division: TensorFlow's optimizer turns divisions by constants into products, which round differently.
    return (tf.cast(pixels, tf.float32) - mean[:, tf.newaxis, tf.newaxis]) * scale[:, tf.newaxis, tf.newaxis]


def preprocessing_fn(inputs: dict[str, Any], custom_config: dict[str, Any]) -> dict[str, tf.Tensor]:
    """tf.Transform's preprocessing function.

    Images are resized bilinearly with antialiasing, rounded to 8 bits and normalized, per channel, by the mean and
    standard deviation of all pixels of the analyzed split; padding has the mean color. Masks are resized to the
    nearest pixel; padding becomes 255, "ignore".

    Without resizing, each example's output has its own size, so it is returned as bytes, which `pixels_of` reads;
    whoever cuts patches or tiles from it calls `normalize`.

    Args:
      inputs: the raw features of a batch, by the data contract.
      custom_config: `height`, `width`, `channels` and `resize` of the model's input, and the `intensity_range` of
        images of 16 bits, if it is known; without it they are an error. With `objects` the masks of objects are read
        too, a sparse feature with one value in each row, which the data gate makes sure of.

    Returns:
      `image`: [batch, height, width, channels] float32. `label`: [batch, height, width] int64 class ids. For caches
      that keep 8 bits instead of 32, also the arguments with which `normalize` gives the same image: `pixels` [batch,
      height, width, channels] int64 from 0 to 255, `mean` and `scale` [batch, channels] float32. Without resizing,
      `pixels` and `label` are [batch] strings, and there is no `image`. With `objects`, as `label`: `objects`, the
      number of the object that each pixel belongs to, resized like the mask; padding becomes 0, "none".
    """
    height, width, channels = (custom_config[key] for key in ("height", "width", "channels"))
    resize, intensity_range = custom_config["resize"], custom_config.get("intensity_range")
    if resize == "none":
        return _whole_images(inputs, channels, intensity_range, custom_config.get("objects", False))

    pixels, inside, sums = tf.map_fn(
        lambda encoded: _read_image(encoded, height, width, channels, resize, intensity_range),
        inputs[contract.IMAGE],
        fn_output_signature=(
            tf.TensorSpec([height, width, channels], tf.uint8),
            tf.TensorSpec([height, width, 1], tf.uint8),
            tf.TensorSpec([1 + 2 * channels], tf.float32),
        ),
    )
    mean, scale = _mean_and_scale(sums, channels, tf.shape(pixels)[0])
    pixels = tf.where(inside == 1, pixels, fill_color(mean)[:, tf.newaxis, tf.newaxis])
    label = tf.map_fn(
        lambda encoded: _fit_mask(_decode(encoded, 1), height, width, resize, contract.IGNORE_LABEL),
        inputs[contract.MASK],
        fn_output_signature=tf.TensorSpec([height, width, 1], tf.uint8),
    )
    outputs = {
        IMAGE: normalize(pixels, mean, scale),
        LABEL: tf.cast(tf.squeeze(label, axis=-1), tf.int64),
        PIXELS: tf.cast(pixels, tf.int64),
        MEAN: mean,
        SCALE: scale,
    }
    if custom_config.get("objects"):
        objects = tf.map_fn(
            lambda encoded: _fit_mask(_decode_objects(encoded), height, width, resize, 0),
            inputs[contract.INSTANCES].values,
            fn_output_signature=tf.TensorSpec([height, width, 1], tf.uint16),
        )
        outputs[OBJECTS] = tf.cast(tf.squeeze(objects, axis=-1), tf.int64)
    return outputs


def _whole_images(
    inputs: dict[str, Any], channels: int, intensity_range: Range | None, has_objects: bool
) -> dict[str, tf.Tensor]:
    """`preprocessing_fn` without resizing."""
    images = tf.map_fn(
        lambda encoded: with_eight_bits(encoded, intensity_range),
        inputs[contract.IMAGE],
        fn_output_signature=tf.TensorSpec([], tf.string),
    )

    def sums_of(encoded: tf.Tensor) -> tf.Tensor:
        pixels = _decode(encoded, channels)
        # From histograms: exact, and no large image is held in floats.
        histograms = [
            tf.math.bincount(tf.cast(pixels[..., channel], tf.int32), minlength=256, dtype=tf.float32)
            for channel in range(channels)
        ]
        values = tf.range(256.0)
        powers = [tf.linalg.matvec(tf.stack(histograms), values**power) for power in (1, 2)]
        # In millions, so that sums over many large images stay precise.
        return tf.concat([[tf.reduce_sum(histograms[0])], *powers], axis=0) / 1e6

    def decoded(contents: tf.Tensor, decode: Callable[[tf.Tensor], tf.Tensor]) -> tf.Tensor:
        return tf.map_fn(
            lambda encoded: tf.io.serialize_tensor(decode(encoded)),
            contents,
            fn_output_signature=tf.TensorSpec([], tf.string),
        )

    sums = tf.map_fn(sums_of, images, fn_output_signature=tf.TensorSpec([1 + 2 * channels], tf.float32))
    mean, scale = _mean_and_scale(sums, channels, tf.shape(inputs[contract.IMAGE])[0])
    outputs = {
        PIXELS: decoded(images, lambda encoded: _decode(encoded, channels)),
        LABEL: decoded(inputs[contract.MASK], lambda encoded: _decode(encoded, 1)),
        MEAN: mean,
        SCALE: scale,
    }
    if has_objects:
        outputs[OBJECTS] = decoded(inputs[contract.INSTANCES].values, _decode_objects)
    return outputs


def objects_of(serialized: tf.Tensor) -> tf.Tensor:
    """Reads a mask of objects from the bytes that are returned without resizing: [h, w] uint16."""
    return tf.ensure_shape(tf.io.parse_tensor(serialized, tf.uint16), [None, None, 1])[..., 0]


def pixels_of(serialized: tf.Tensor, channels: int) -> tf.Tensor:
    """Reads an image or mask from the bytes that are returned without resizing: [h, w, channels] uint8."""
    return tf.ensure_shape(tf.io.parse_tensor(serialized, tf.uint8), [None, None, channels])


def fill_color(mean: tf.Tensor) -> tf.Tensor:
    """The color of padding: the mean in 8 bits, of the same shape."""
    return tf.cast(tf.round(mean), tf.uint8)


def _mean_and_scale(sums: tf.Tensor, channels: int, batch: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Mean and one over the standard deviation of the pixels, [batch, channels] each, the same in each row.

    Args:
      sums: [batch, 1 + 2 · channels], per image the number of its pixels and, per channel, the sums of the pixels and
        of their squares, in the same unit.
      channels: of the image.
      batch: number of rows of the result. (Taken from the shape of `sums`, serving would have to compute the sums.)
    """
    import tensorflow_transform as tft

    # A mean over images: the analyzer gets a few numbers for each image, not its pixels.
    means = tft.mean(sums, reduce_instance_dims=False)
    mean, mean_of_squares = means[1 : 1 + channels] / means[0], means[1 + channels :] / means[0]
    # A channel that is constant over the whole split must not divide by zero.
    scale = tf.math.rsqrt(tf.maximum(mean_of_squares - mean**2, 1e-6))
    rows = [batch, 1]
    return tf.tile(mean[tf.newaxis], rows), tf.tile(scale[tf.newaxis], rows)
