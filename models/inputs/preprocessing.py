"""Decoding, resizing and normalizing: the only implementation, exported by Transform and called by everyone else."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Literal

import tensorflow as tf

from data import contract
from models.inputs import arrays
from models.inputs.encoded import of_eight_bits
from models.inputs.settings import PreprocessingSettings

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
    encoded: tf.Tensor, height: int, width: int, channels: int, resize: Resize
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """An image of 8 bits at the size of the model's input, and its sums for the normalization.

    Returns:
      [height, width, channels] uint8; [height, width, 1] uint8, 1 inside the image, 0 in the padding; and [1 + 2 ·
      channels] float32: the share of the input that is not padded and, per channel, the sum of the pixels and of their
      squares, divided by height · width.
    """
    pixels, size = _decode_to_scale(of_eight_bits(encoded), channels, height, width)
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


def fit_mask(values: tf.Tensor, height: int, width: int, resize: Resize, padding: int) -> tf.Tensor:
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
      pixels: [batch, height, width, channels] uint8, uint16 or float32.
      mean: [batch, channels] float32, the same in each row.
      scale: [batch, channels] float32, one over the standard deviation, the same in each row.

    Returns:
      [batch, height, width, channels] float32.
    """
    # Not a division: TensorFlow's optimizer turns divisions by constants into products, which round differently.
    return (tf.cast(pixels, tf.float32) - mean[:, tf.newaxis, tf.newaxis]) * scale[:, tf.newaxis, tf.newaxis]


def preprocessing_fn(inputs: dict[str, Any], custom_config: dict[str, Any]) -> dict[str, tf.Tensor]:
    """tf.Transform's preprocessing function.

    Images are resized bilinearly with antialiasing, rounded to 8 or 16 bits if they had so many, clipped to percentiles
    if there are any, and normalized, per channel, by the mean and standard deviation of all pixels of the analyzed
    split; padding and pixels without data have the mean color. Masks are resized to the nearest pixel; padding becomes
    255, "ignore".

    Without resizing, each example's output has its own size, so it is returned as bytes, which `pixels_of` reads;
    whoever cuts patches or tiles from it calls `normalize`.

    Args:
      inputs: the raw features of a batch, by the data contract.
      custom_config: `PreprocessingSettings`. With `objects` the masks of objects are read too, a sparse feature with
        one value in each row, which the data gate makes sure of.

    Returns:
      `image`: [batch, height, width, channels] float32. `label`: [batch, height, width] int64 class ids. For caches
      that keep what files hold instead of 32 bits, also the arguments with which `normalize` gives the same image:
      `pixels` [batch, height, width, channels], int64 from 0 to 255 of 8 bits and float32 of others, `mean` and `scale`
      [batch, channels] float32. Without resizing, `pixels` and `label` are [batch] strings, and there is no `image`.
      With `objects`, as `label`: `objects`, the number of the object that each pixel belongs to, resized like the mask;
      padding becomes 0, "none".
    """
    has_objects = custom_config.get("objects", False)
    settings = PreprocessingSettings(**{name: value for name, value in custom_config.items() if name != "objects"})
    height, width, resize = settings.height, settings.width, settings.resize
    if resize == "none":
        return _whole_images(inputs, settings, has_objects)

    pixels, mean, scale = (_usual_pixels if settings.is_usual else _deep_pixels)(inputs[contract.IMAGE], settings)
    label = tf.map_fn(
        lambda encoded: fit_mask(_decode(encoded, 1), height, width, resize, contract.IGNORE_LABEL),
        inputs[contract.MASK],
        fn_output_signature=tf.TensorSpec([height, width, 1], tf.uint8),
    )
    outputs = {
        IMAGE: normalize(pixels, mean, scale),
        LABEL: tf.cast(tf.squeeze(label, axis=-1), tf.int64),
        PIXELS: tf.cast(pixels, tf.int64) if settings.stored_type == "uint8" else pixels,
        MEAN: mean,
        SCALE: scale,
    }
    if has_objects:
        objects = tf.map_fn(
            lambda encoded: fit_mask(_decode_objects(encoded), height, width, resize, 0),
            inputs[contract.INSTANCES].values,
            fn_output_signature=tf.TensorSpec([height, width, 1], tf.uint16),
        )
        outputs[OBJECTS] = tf.cast(tf.squeeze(objects, axis=-1), tf.int64)
    return outputs


def _usual_pixels(encoded: tf.Tensor, settings: PreprocessingSettings) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Pixels with padding, [batch, height, width, channels] uint8, their mean and scale."""
    height, width, channels = settings.height, settings.width, settings.num_channels
    pixels, inside, sums = tf.map_fn(
        lambda content: _read_image(content, height, width, channels, settings.resize),
        encoded,
        fn_output_signature=(
            tf.TensorSpec([height, width, channels], tf.uint8),
            tf.TensorSpec([height, width, 1], tf.uint8),
            tf.TensorSpec([1 + 2 * channels], tf.float32),
        ),
    )
    mean, scale = _mean_and_scale(sums, channels, tf.shape(pixels)[0])
    return tf.where(inside == 1, pixels, fill_color(mean)[:, tf.newaxis, tf.newaxis]), mean, scale


def _deep_pixels(encoded: tf.Tensor, settings: PreprocessingSettings) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """As `_usual_pixels`, in float32, of images of any type and bands."""
    height, width, channels = settings.height, settings.width, settings.num_channels
    pixels, inside = tf.map_fn(
        lambda content: _read_deep_image(content, settings),
        encoded,
        fn_output_signature=(
            tf.TensorSpec([height, width, channels], tf.float32),
            tf.TensorSpec([height, width, 1], tf.bool),
        ),
    )
    sample, counts = tf.map_fn(
        lambda image: arrays.sample(*image), (pixels, inside), fn_output_signature=arrays.sampled(channels)
    )
    clip = arrays.clipping(sample, counts, settings)
    pixels = clip(pixels)
    sums = tf.map_fn(
        lambda image: arrays.sums(*image),
        (pixels, inside),
        fn_output_signature=tf.TensorSpec([1 + 2 * channels], tf.float64),
    )
    mean, scale = _mean_and_scale(sums, channels, tf.shape(encoded)[0])
    fill = tf.cast(fill_color(mean, tf.as_dtype(settings.stored_type)), tf.float32)
    return tf.where(inside, pixels, fill[:, tf.newaxis, tf.newaxis]), mean, scale


def _read_deep_image(encoded: tf.Tensor, settings: PreprocessingSettings) -> tuple[tf.Tensor, tf.Tensor]:
    """An image at the size of the model's input, [height, width, channels] float32; and where it has data."""
    values, has_data = arrays.decode(encoded, settings)
    size = tf.shape(values)
    top, left, new_height, new_width = placement(size[0], size[1], settings.height, settings.width, settings.resize)
    inside = tf.ones([new_height, new_width, 1], tf.bool)
    resized = tf.image.resize(values, [new_height, new_width], antialias=True)
    if settings.may_lack_data:
        # Weighted means of the pixels that have data.
        weights = tf.image.resize(tf.cast(has_data, tf.float32), [new_height, new_width], antialias=True)
        inside = weights >= 0.5
        resized = tf.where(inside, resized / tf.maximum(weights, 0.5), 0.0)
    if settings.stored_type != "float32":
        resized = tf.round(resized)
    paddings = [
        [top, settings.height - top - new_height],
        [left, settings.width - left - new_width],
        [0, 0],
    ]
    return (
        tf.ensure_shape(tf.pad(resized, paddings), [settings.height, settings.width, settings.num_channels]),
        tf.ensure_shape(tf.pad(inside, paddings), [settings.height, settings.width, 1]),
    )


def _whole_images(inputs: dict[str, Any], settings: PreprocessingSettings, has_objects: bool) -> dict[str, tf.Tensor]:
    """`preprocessing_fn` without resizing."""
    of_images = _usual_whole_images if settings.is_usual else _deep_whole_images
    pixels, mean, scale = of_images(inputs[contract.IMAGE], settings)
    outputs = {
        PIXELS: pixels,
        LABEL: _serialized(inputs[contract.MASK], lambda encoded: _decode(encoded, 1)),
        MEAN: mean,
        SCALE: scale,
    }
    if has_objects:
        outputs[OBJECTS] = _serialized(inputs[contract.INSTANCES].values, _decode_objects)
    return outputs


def _serialized(contents: tf.Tensor, decode: Callable[[tf.Tensor], tf.Tensor], at_once: int | None = None) -> tf.Tensor:
    return tf.map_fn(
        lambda encoded: tf.io.serialize_tensor(decode(encoded)),
        contents,
        fn_output_signature=tf.TensorSpec([], tf.string),
        parallel_iterations=at_once,
    )


def _usual_whole_images(images: tf.Tensor, settings: PreprocessingSettings) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """[batch] serialized images, as they are; their mean and scale."""
    channels = settings.num_channels

    def read(encoded: tf.Tensor) -> tf.Tensor:
        return _decode(of_eight_bits(encoded), channels)

    def sums_of(encoded: tf.Tensor) -> tf.Tensor:
        pixels = read(encoded)
        # From histograms: exact, and no large image is held in floats.
        histograms = [
            tf.math.bincount(tf.cast(pixels[..., channel], tf.int32), minlength=256, dtype=tf.float32)
            for channel in range(channels)
        ]
        values = tf.range(256.0)
        powers = [tf.linalg.matvec(tf.stack(histograms), values**power) for power in (1, 2)]
        # In millions, so that sums over many large images stay precise.
        return tf.concat([[tf.reduce_sum(histograms[0])], *powers], axis=0) / 1e6

    sums = tf.map_fn(sums_of, images, fn_output_signature=tf.TensorSpec([1 + 2 * channels], tf.float32))
    mean, scale = _mean_and_scale(sums, channels, tf.shape(images)[0])
    return _serialized(images, read), mean, scale


def _deep_whole_images(images: tf.Tensor, settings: PreprocessingSettings) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """As `_usual_whole_images`, of images of any type and bands; what has no data has the mean color."""
    channels, stored_type = settings.num_channels, tf.as_dtype(settings.stored_type)

    # One at a time, as large images take four bytes and more for each value.
    sample, counts = tf.map_fn(
        lambda encoded: arrays.sample(*arrays.decode(encoded, settings)),
        images,
        fn_output_signature=arrays.sampled(channels),
        parallel_iterations=1,
    )
    clip = arrays.clipping(sample, counts, settings)

    def sums_of(encoded: tf.Tensor) -> tf.Tensor:
        values, has_data = arrays.decode(encoded, settings)
        # Weighted by size, in millions of pixels.
        num_pixels = tf.cast(tf.shape(values)[0] * tf.shape(values)[1], tf.float64)
        return arrays.sums(clip(values), has_data) * num_pixels / 1e6

    signature = tf.TensorSpec([1 + 2 * channels], tf.float64)
    sums = tf.map_fn(sums_of, images, fn_output_signature=signature, parallel_iterations=1)
    mean, scale = _mean_and_scale(sums, channels, tf.shape(images)[0])
    fill = tf.cast(fill_color(mean, stored_type), tf.float32)

    def read(encoded: tf.Tensor) -> tf.Tensor:
        values, has_data = arrays.decode(encoded, settings)
        return tf.cast(tf.where(has_data, clip(values), fill[0]), stored_type)

    return _serialized(images, read, at_once=1), mean, scale


def objects_of(serialized: tf.Tensor) -> tf.Tensor:
    """Reads a mask of objects from the bytes that are returned without resizing: [h, w] uint16."""
    return tf.ensure_shape(tf.io.parse_tensor(serialized, tf.uint16), [None, None, 1])[..., 0]


def pixels_of(serialized: tf.Tensor, channels: int, dtype: Any = tf.uint8) -> tf.Tensor:
    """Reads an image or mask from the bytes that are returned without resizing: [h, w, channels], stored in `dtype`."""
    return tf.ensure_shape(tf.io.parse_tensor(serialized, dtype), [None, None, channels])


def fill_color(mean: tf.Tensor, dtype: tf.DType = tf.uint8) -> tf.Tensor:
    """The color of padding: the mean in the type of stored pixels, of the same shape."""
    return tf.cast(tf.round(mean) if dtype.is_integer else mean, dtype)


def _mean_and_scale(sums: tf.Tensor, channels: int, batch: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Mean and one over the standard deviation of the pixels, [batch, channels] each, the same in each row.

    Args:
      sums: [batch, 1 + 2 · channels], per image the number of its pixels and, per channel, the sums of the pixels and
        of their squares, in the same unit; float64 of other images than those of 8 bits.
      channels: of the image.
      batch: number of rows of the result. (Taken from the shape of `sums`, serving would have to compute the sums.)
    """
    import tensorflow_transform as tft

    # A mean over images: the analyzer gets a few numbers for each image, not its pixels.
    means = tft.mean(sums, reduce_instance_dims=False)
    mean, mean_of_squares = means[1 : 1 + channels] / means[0], means[1 + channels :] / means[0]
    variance = mean_of_squares - mean**2
    # A channel that is constant over the whole split must not divide by zero.
    if sums.dtype == tf.float64:  # What varies may vary little.
        scale = tf.where(variance > 1e-12 * mean_of_squares, tf.math.rsqrt(tf.maximum(variance, 1e-300)), 1.0)
        mean, scale = tf.cast(mean, tf.float32), tf.cast(scale, tf.float32)
    else:
        scale = tf.math.rsqrt(tf.maximum(variance, 1e-6))
    rows = [batch, 1]
    return tf.tile(mean[tf.newaxis], rows), tf.tile(scale[tf.newaxis], rows)
