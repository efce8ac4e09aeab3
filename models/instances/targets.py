"""What the network learns about objects, from the numbers of the objects that each pixel belongs to."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from data.contract import CROWD, IGNORE_LABEL

# The peak's standard deviation as a share of the square root of the object's area: half the radius of a disc.
_SIGMA = 0.28
_NUMBERS = CROWD + 1


def training_targets(label: tf.Tensor, is_thing: Sequence[bool], unit: float) -> tf.Tensor:
    """What the loss compares the network's maps with; `ObjectLoss` reads it.

    Args:
      label: [batch, height, width, 2] int32, class ids and numbers of objects.
      is_thing: [C], which classes have objects.
      unit: of the ways, in pixels.

    Returns:
      [batch, height, width, 5] float32: the class id; 1 in an object, 0 where there is none, and -1 where nobody knows;
      the peak; and the way to the center, in rows and columns.
    """
    class_ids, numbers = label[..., 0], label[..., 1]
    ignored = class_ids == IGNORE_LABEL
    thing = tf.gather(tf.constant(is_thing), tf.where(ignored, 0, class_ids)) & ~ignored
    is_object = thing & (numbers > 0) & (numbers < CROWD)
    known = tf.where(is_object, 1.0, tf.where(thing | ignored, -1.0, 0.0))
    peaks, ways = center_targets(tf.where(is_object, numbers, 0))
    rest = tf.stack([tf.cast(class_ids, tf.float32), known, peaks], axis=-1)
    return tf.concat([rest, ways / unit], axis=-1)


def center_targets(numbers: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Peaks at the objects' centers, and the way from each pixel to the center of its object.

    A center is that pixel of an object which is nearest to the mean of its pixels, so that an object in the middle of
    another one has a center of its own. Each pixel's peak is that of its own object, a Gaussian as wide as the object
    is large, so small and large objects peak alike. (Cheng et al. 2020, section 3.2, has one width for all.)

    Args:
      numbers: [batch, height, width] integers, 0 where there is no object; 65535, a crowd, is none either.

    Returns:
      [batch, height, width] float32, from 0 to 1, and [batch, height, width, 2] float32 in rows and columns; both are 0
      where there is no object.
    """
    batch, height, width = tf.unstack(tf.shape(numbers))
    numbers = tf.cast(numbers, tf.int32)
    is_object = (numbers > 0) & (numbers < CROWD)
    where = tf.cast(tf.where(is_object), tf.int32)
    places = tf.cast(where[:, 1:], tf.float32)
    objects, members = tf.unique(where[:, 0] * _NUMBERS + tf.gather_nd(numbers, where))
    count = tf.size(objects)
    areas = tf.math.unsorted_segment_sum(tf.ones_like(places[:, 0]), members, count)
    means = tf.math.unsorted_segment_mean(places, members, count)
    distances = tf.reduce_sum((places - tf.gather(means, members)) ** 2, axis=-1)
    is_least = distances <= tf.gather(tf.math.unsorted_segment_min(distances, members, count), members)
    # Of several pixels that are as near, the first one.
    order = tf.where(is_least, tf.range(tf.size(members)), tf.size(members))
    centers = tf.gather(places, tf.math.unsorted_segment_min(order, members, count))
    ways = tf.gather(centers, members) - places
    peaks = tf.exp(-tf.reduce_sum(ways**2, axis=-1) / (2 * _SIGMA**2 * tf.gather(areas, members)))
    shape = tf.stack([batch, height, width])
    return tf.scatter_nd(where, peaks, shape), tf.scatter_nd(where, ways, tf.concat([shape, [2]], axis=0))
