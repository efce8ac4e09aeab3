"""Brings what a model says of a resized image back to the image's own size: logits bilinearly, objects as they are.

Resized class ids would have the steps of the model's pixels. Of a large image with many classes, the logits would take
gigabytes, so they are resized in bands of rows, of which only the maps are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf

from models.inputs import preprocessing
from models.instances.grouping import Objects

# Numbers in a band of logits, 16 MB; resizing it and its softmax take some times as much.
_BAND = 2**22


def class_ids(logits: tf.Tensor) -> tf.Tensor:
    """[…, C] logits → […] uint8."""
    return tf.cast(tf.argmax(logits, axis=-1), tf.uint8)


def confidence(logits: tf.Tensor) -> tf.Tensor:
    """[…, C] logits → […] float32, the probability of the predicted class."""
    return tf.reduce_max(tf.nn.softmax(logits), axis=-1)


def begin(logits: tf.Tensor, size: tf.Tensor, resize: preprocessing.Resize) -> tuple[tf.Tensor, tf.Tensor]:
    """What `band` takes.

    Args:
      logits: [model height, model width, C] of one image.
      size: [2] int32, height and width of the image.
      resize: how the image was brought to the model's size.

    Returns:
      The number of bands; the logits of the image alone, as wide as the image: [rows of the model, width, C].
    """
    model_height, model_width, num_classes = logits.shape
    place = preprocessing.placement(size[0], size[1], model_height, model_width, resize)
    top, left, inner_height, inner_width = place
    inside = logits[top : top + inner_height, left : left + inner_width]
    return -(-size[0] // _rows_at_once(size[1], num_classes)), tf.image.resize(inside, [inner_height, size[1]])


def band(wide: tf.Tensor, height: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
    """The logits of some of the image's rows, resized as tf.image.resize does it.

    Args:
      wide: as `begin` returns them.
      height: of the image.
      index: which band.

    Returns:
      [rows, width, C] float32.
    """
    inner_height, width, num_classes = tf.shape(wide)[0], tf.shape(wide)[1], wide.shape[-1]
    at_once = _rows_at_once(width, num_classes)
    rows = tf.range(index * at_once, tf.minimum((index + 1) * at_once, height))
    positions = (tf.cast(rows, tf.float32) + 0.5) * tf.cast(inner_height / height, tf.float32) - 0.5
    positions = tf.clip_by_value(positions, 0.0, tf.cast(inner_height - 1, tf.float32))
    above = tf.cast(positions, tf.int32)
    below = tf.minimum(above + 1, inner_height - 1)
    weights = (positions - tf.floor(positions))[:, tf.newaxis, tf.newaxis]
    return tf.gather(wide, above) * (1 - weights) + tf.gather(wide, below) * weights


def maps_at_size(
    logits: tf.Tensor,
    size: tf.Tensor,
    resize: preprocessing.Resize,
    maps: Sequence[tuple[Callable[[tf.Tensor], tf.Tensor], tf.DType]],
) -> list[tf.Tensor]:
    """Maps of an image at its own size.

    Args:
      logits: as for `begin`.
      size: likewise.
      resize: likewise.
      maps: what becomes of logits, such as `class_ids`, each with its type.

    Returns:
      [height, width] for each of `maps`.
    """
    count, wide = begin(logits, size, resize)

    def next_band(index: tf.Tensor, *bands: tf.TensorArray) -> tuple[tf.Tensor | tf.TensorArray, ...]:
        resized = band(wide, size[0], index)
        written = (whole.write(index, of(resized)) for whole, (of, _) in zip(bands, maps, strict=True))
        return (index + 1, *written)

    bands = [tf.TensorArray(dtype, count, infer_shape=False, element_shape=[None, None]) for _, dtype in maps]
    found = tf.while_loop(lambda index, *_: index < count, next_band, (0, *bands), parallel_iterations=1)
    return [whole.concat() for whole in found[1:]]


def objects_at_size(
    objects: Objects, size: tf.Tensor, model_size: tuple[int, int], resize: preprocessing.Resize
) -> Objects:
    """Objects of an image at its own size: each pixel belongs to that of the model's pixel below its center.

    Boxes and areas are those that the objects have there. Objects of which no pixel is left are left out.

    Args:
      objects: at the model's size.
      size: as for `begin`.
      model_size: height and width that the model sees.
      resize: likewise.
    """
    numbers, class_ids = (nearest(maps, size, model_size, resize) for maps in (objects.numbers, objects.class_ids))
    count = tf.size(objects.areas) + 1
    areas = tf.math.bincount(tf.reshape(numbers, [-1]), minlength=count, maxlength=count)[1:]
    kept = areas > 0
    new_numbers = tf.concat([[0], tf.cumsum(tf.cast(kept, tf.int32)) * tf.cast(kept, tf.int32)], axis=0)
    sides = []
    for axis in range(2):
        along = tf.broadcast_to(tf.expand_dims(tf.range(size[axis]), 1 - axis), size)
        first = tf.math.unsorted_segment_min(along, numbers, count)
        sides.append((first, tf.math.unsorted_segment_max(along, numbers, count) + 1))
    boxes = tf.stack([ends[place] for place in range(2) for ends in sides], axis=1)[1:]
    of_kept = [tf.boolean_mask(values, kept) for values in (objects.object_classes, objects.scores, boxes, areas)]
    return Objects(tf.gather(new_numbers, numbers), class_ids, *of_kept)


def nearest(maps: tf.Tensor, size: tf.Tensor, model_size: tuple[int, int], resize: preprocessing.Resize) -> tf.Tensor:
    """[model height, model width] → [height, width]: the values of the model's pixels below the image's centers."""
    place = preprocessing.placement(size[0], size[1], *model_size, resize)
    rows, columns = (
        place[axis] + (2 * tf.range(size[axis]) + 1) * place[2 + axis] // (2 * size[axis]) for axis in range(2)
    )
    return tf.gather(tf.gather(maps, rows), columns, axis=1)


def _rows_at_once(width: tf.Tensor, num_classes: int) -> tf.Tensor:
    return tf.maximum(1, _BAND // (width * num_classes))
