"""Random flips, rotation and scale, the same for an image and its mask, and random changes of the image's colors."""

from __future__ import annotations

import math

import tensorflow as tf

from data.contract import IGNORE_LABEL
from models.inputs.order import Part


def halve(image: tf.Tensor, label: tf.Tensor, times: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Takes the mean of each 2×2 pixels of images, and the label of one of them, `times` times."""
    for _ in range(times):
        image, label = tf.nn.avg_pool2d(image, 2, 2, "SAME"), label[:, ::2, ::2]
    return image, label


def augment(
    image: tf.Tensor,
    label: tf.Tensor,
    seed: tf.Tensor,
    part: Part | None = None,
    *,
    flip_horizontal: bool,
    flip_vertical: bool,
    rotation_degrees: float,
    scale: float,
    brightness: float = 0.0,
    contrast: float = 0.0,
    saturation: float = 0.0,
    by_channel: bool = False,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Moves each image of a batch by its own random affine map, in one resampling, and changes its colors.

    Args:
      image: [batch, height, width, channels] normalized images; what moves in from outside becomes 0, the mean.
      label: [batch, height, width] integer class ids, or [batch, height, width, 2] with the numbers of objects, of up
        to 16 bits; what moves in from outside becomes 255, "ignore".
      seed: [2] integers; the same seed gives the same result.
      part: which images of a step they are; by default all.
      flip_horizontal: mirror left and right, half of the time.
      flip_vertical: mirror top and bottom, half of the time.
      rotation_degrees: the largest rotation either way.
      scale: the largest zoom, in or out, at least 1; a zoomed-in view is a random crop.
      brightness: the largest shift of all values.
      contrast: the largest relative change of the distance to the image's mean.
      saturation: the largest relative change of the distance to gray; without effect on grayscale images.
      by_channel: whether brightness and contrast of each channel change by themselves.

    Returns:
      Image and label, of the shapes and types that came in.
    """
    shape = tf.shape(image)
    batch = shape[0]
    seeds = tf.unstack(tf.random.split(seed, 9))

    part = part or Part(0, batch)

    def uniform(index: int, low: float, high: float) -> tf.Tensor:
        return part.draw(batch, seeds[index], low, high)[:, 0]

    def flip(index: int, enabled: bool) -> tf.Tensor:
        return tf.where(uniform(index, 0.0, 1.0) < 0.5, -1.0, 1.0) if enabled else tf.ones([batch])

    angle = uniform(0, -1.0, 1.0) * math.radians(rotation_degrees)
    zoom = tf.exp(uniform(1, -1.0, 1.0) * math.log(scale))
    cos, sin = tf.cos(angle) / zoom, tf.sin(angle) / zoom
    mirror_x, mirror_y = flip(2, flip_horizontal), flip(3, flip_vertical)

    # The operation wants the map from output to input coordinates: x' = a x + b y + c, y' = d x + e y + f.
    center_y, center_x = (tf.cast(shape[axis] - 1, tf.float32) / 2 for axis in (1, 2))
    slack = tf.abs(1.0 - 1.0 / zoom)
    a, b, d, e = cos * mirror_x, -sin * mirror_y, sin * mirror_x, cos * mirror_y
    c = center_x - a * center_x - b * center_y + uniform(4, -1.0, 1.0) * slack * center_x
    f = center_y - d * center_x - e * center_y + uniform(5, -1.0, 1.0) * slack * center_y
    zeros = tf.zeros([batch])
    transforms = tf.stack([a, b, c, d, e, f, zeros, zeros], axis=1)

    def move(pixels: tf.Tensor, interpolation: str, fill: float) -> tf.Tensor:
        moved = tf.raw_ops.ImageProjectiveTransformV3(
            images=pixels,
            transforms=transforms,
            output_shape=shape[1:3],
            interpolation=interpolation,
            fill_mode="CONSTANT",
            fill_value=fill,
        )
        return tf.ensure_shape(moved, pixels.shape)

    flat = tf.cast(label if label.shape.rank == 4 else label[..., tf.newaxis], tf.float32)
    moved_label = move(flat, "NEAREST", float(IGNORE_LABEL))
    moved_image = move(image, "BILINEAR", 0.0)
    if brightness or contrast or saturation:
        channels = image.shape[-1] if by_channel else 1

        def draw(index: int, amount: float, count: int) -> tf.Tensor:
            return part.draw(batch, seeds[index], -amount, amount, count)[:, tf.newaxis, tf.newaxis]

        drawn = draw(6, brightness, channels), draw(7, contrast, channels), draw(8, saturation, 1)
        moved_image = _jitter(moved_image, *drawn, by_channel)
    return moved_image, tf.cast(moved_label if label.shape.rank == 4 else moved_label[..., 0], label.dtype)


def _jitter(
    image: tf.Tensor, brightness: tf.Tensor, contrast: tf.Tensor, saturation: tf.Tensor, by_channel: bool
) -> tf.Tensor:
    """Changes colors; amounts are [batch, 1, 1, 1 or channels], and the mean is that of the image or of a channel."""
    mean = tf.reduce_mean(image, axis=[1, 2] if by_channel else [1, 2, 3], keepdims=True)
    image += contrast * (image - mean) + brightness
    gray = tf.reduce_mean(image, axis=-1, keepdims=True)
    return image + saturation * (image - gray)
