"""Decoding, resizing and normalizing: the only implementation, exported by Transform and called by everyone else."""

from __future__ import annotations

from typing import Any, Literal

import tensorflow as tf

from data import contract

# What the transform graph gives for each example.
IMAGE = "image"
LABEL = "label"

Resize = Literal["stretch", "pad"]


def placement(
    height: tf.Tensor, width: tf.Tensor, target_height: int, target_width: int, resize: Resize
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """Where an image comes to lie in the model's input: top, left, height and width in the model's pixels.

    Args:
      height: of the image, in pixels.
      width: of the image, in pixels.
      target_height: of the model's input.
      target_width: of the model's input.
      resize: `stretch` fills the input, `pad` keeps the aspect ratio and centres the image.
    """
    target = tf.constant([target_height, target_width])
    if resize == "stretch":
        size = target
    else:
        image_size = tf.cast(tf.stack([height, width]), tf.float32)
        scale = tf.reduce_min(tf.cast(target, tf.float32) / image_size)
        size = tf.clip_by_value(tf.cast(tf.round(image_size * scale), tf.int32), 1, target)
    offset = (target - size) // 2
    return offset[0], offset[1], size[0], size[1]


def _decode_and_resize(
    encoded: tf.Tensor, height: int, width: int, channels: int, resize: Resize, method: str, fill: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """One image as [height, width, channels] float32 (0 to 255), and [height, width, 1] float32, 0 where padded."""
    pixels = tf.io.decode_image(encoded, channels=channels, expand_animations=False)
    pixels.set_shape([None, None, channels])
    shape = tf.shape(pixels)
    top, left, new_height, new_width = placement(shape[0], shape[1], height, width, resize)
    resized = tf.cast(
        tf.image.resize(pixels, [new_height, new_width], method=method, antialias=method != "nearest"), tf.float32
    )
    paddings = [[top, height - top - new_height], [left, width - left - new_width], [0, 0]]
    padded = tf.pad(resized, paddings, constant_values=fill)
    inside = tf.pad(tf.ones([new_height, new_width, 1]), paddings)
    return tf.ensure_shape(padded, [height, width, channels]), tf.ensure_shape(inside, [height, width, 1])


def preprocessing_fn(inputs: dict[str, Any], custom_config: dict[str, Any]) -> dict[str, tf.Tensor]:
    """tf.Transform's preprocessing function.

    Images are resized bilinearly with antialiasing and normalized, per channel, by the mean and standard deviation
    of all pixels of the analyzed split; padding becomes 0. Masks are resized to the nearest pixel; padding becomes
    255, "ignore".

    Args:
      inputs: the raw features of a batch, by the data contract.
      custom_config: `height`, `width`, `channels` and `resize` of the model's input.

    Returns:
      `image`: [batch, height, width, channels] float32. `label`: [batch, height, width] int64 class ids.
    """
    import tensorflow_transform as tft

    height, width, channels = (custom_config[key] for key in ("height", "width", "channels"))
    resize = custom_config["resize"]

    pixels, inside = tf.map_fn(
        lambda encoded: _decode_and_resize(encoded, height, width, channels, resize, "bilinear", 0.0),
        inputs[contract.IMAGE],
        fn_output_signature=(
            tf.TensorSpec([height, width, channels], tf.float32),
            tf.TensorSpec([height, width, 1], tf.float32),
        ),
    )
    # Sums over each image, then means over images: the analyzers see three numbers an image, not all its pixels.
    pixel_count = tft.mean(tf.reduce_mean(inside, axis=[1, 2, 3]))
    mean = tft.mean(tf.reduce_mean(pixels, axis=[1, 2]), reduce_instance_dims=False) / pixel_count
    mean_of_squares = tft.mean(tf.reduce_mean(pixels**2, axis=[1, 2]), reduce_instance_dims=False) / pixel_count
    # A channel that is constant over the whole split must not divide by zero.
    deviation = tf.sqrt(tf.maximum(mean_of_squares - mean**2, 1e-6))
    image = (pixels - mean) / deviation * inside

    def read_mask(encoded: tf.Tensor) -> tf.Tensor:
        ids, _ = _decode_and_resize(encoded, height, width, 1, resize, "nearest", float(contract.IGNORE_LABEL))
        return ids

    label = tf.map_fn(
        read_mask, inputs[contract.MASK], fn_output_signature=tf.TensorSpec([height, width, 1], tf.float32)
    )
    return {IMAGE: image, LABEL: tf.cast(tf.squeeze(label, axis=-1), tf.int64)}
