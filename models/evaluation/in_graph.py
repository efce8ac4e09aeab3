"""What evaluation measures of each image inside the graph, so that no map of classes leaves it.

The definitions are those of `models/evaluation/metrics.py`, against which these are tested.
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from data.contract import CROWD, IGNORE_LABEL
from models.evaluation import metrics
from models.evaluation.objects import segments


def confusion_matrices(labels: tf.Tensor, class_ids: tf.Tensor, num_classes: int) -> tf.Tensor:
    """`metrics.confusion_matrix` of each image of a batch.

    Args:
      labels: [batch, …] integer class ids; 255 is not counted.
      class_ids: [batch, …] predicted ones.
      num_classes: C.

    Returns:
      [batch, C, C] int64.
    """
    labels, class_ids = (tf.cast(tf.reshape(ids, [tf.shape(ids)[0], -1]), tf.int32) for ids in (labels, class_ids))
    pairs = tf.where(labels == IGNORE_LABEL, num_classes**2, labels * num_classes + class_ids)
    counts = tf.math.bincount(pairs, minlength=num_classes**2 + 1, maxlength=num_classes**2 + 1, axis=-1)
    return tf.cast(tf.reshape(counts[:, :-1], [-1, num_classes, num_classes]), tf.int64)


def boundary_totals(labels: tf.Tensor, class_ids: tf.Tensor, num_classes: int) -> tf.Tensor:
    """`metrics.boundary_totals` of each image of a batch.

    Args:
      labels: [batch, h, w] integer class ids; 255 is not counted.
      class_ids: [batch, h, w] predicted ones.
      num_classes: C.

    Returns:
      [batch, 3, C] int64.
    """
    size = tf.cast(tf.shape(labels)[1:], tf.float64)
    width = tf.maximum(1, tf.cast(tf.round(metrics.BOUNDARY_SHARE * tf.norm(size)), tf.int32))
    labels, class_ids = tf.cast(labels, tf.int32), tf.cast(class_ids, tf.int32)
    counted = labels != IGNORE_LABEL
    of_label, of_prediction = (_boundary(ids, width) & counted for ids in (labels, class_ids))

    def pixels(chosen: tf.Tensor, ids: tf.Tensor) -> tf.Tensor:
        flat = tf.reshape(tf.where(chosen, ids, num_classes), [tf.shape(ids)[0], -1])
        return tf.math.bincount(flat, minlength=num_classes + 1, maxlength=num_classes + 1, axis=-1)[:, :-1]

    both = pixels(of_label & of_prediction & (labels == class_ids), labels)
    return tf.cast(tf.stack([both, pixels(of_label, labels), pixels(of_prediction, class_ids)], axis=1), tf.int64)


def _boundary(ids: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    """`metrics.boundary` of the region of each class at once: [b, h, w] ids → [b, h, w] bool.

    A pixel lies in the boundary of its class unless the square around it lies in the image and is of that class: unless
    nothing changes along its rows, nor along its middle column.
    """
    across = tf.cast(ids[:, :, 1:] != ids[:, :, :-1], tf.int32)
    along = tf.cast(ids[:, 1:] != ids[:, :-1], tf.int32)
    sums = tf.cumsum(tf.cumsum(tf.pad(across, [[0, 0], [1, 0], [1, 0]]), axis=1), axis=2)
    side, reach = 2 * width + 1, 2 * width
    in_rows = sums[:, side:, reach:] - sums[:, :-side, reach:] - sums[:, side:, :-reach] + sums[:, :-side, :-reach]
    sums = tf.cumsum(tf.pad(along, [[0, 0], [1, 0], [0, 0]]), axis=1)
    in_column = (sums[:, reach:] - sums[:, :-reach])[:, :, width:-width]
    changes = (in_rows + in_column) > 0
    # Around what has a whole square.
    margins = [[0, 0]]
    for axis in (1, 2):
        whole, inner = tf.shape(ids)[axis], tf.shape(changes)[axis]
        first = tf.minimum(width, whole)
        margins.append([first, whole - inner - first])
    return tf.pad(changes, margins, constant_values=True)


def segment_overlaps(
    labels: tf.Tensor, numbers: tf.Tensor, class_ids: tf.Tensor, own_numbers: tf.Tensor, is_thing: Sequence[bool]
) -> tf.Tensor:
    """`segments.overlaps` of an image, in no particular order: [n, 3] int64.

    Args:
      labels: [h, w] integer class ids; 255 is not counted.
      numbers: [h, w] integers, the objects of the labels, 0 for none, 65535 for a crowd.
      class_ids: [h, w] predicted class ids.
      own_numbers: [h, w] predicted objects, 0 for none.
      is_thing: [C], which classes have objects.
    """
    things = tf.constant(is_thing)

    def keys(ids: tf.Tensor, objects: tf.Tensor) -> tf.Tensor:
        ids, objects = tf.cast(ids, tf.int64), tf.cast(objects, tf.int64)
        ignored = ids == IGNORE_LABEL
        of_thing = tf.gather(things, tf.where(ignored, tf.zeros_like(ids), ids))
        objects = tf.where(of_thing, tf.where(objects == 0, tf.constant(CROWD, tf.int64), objects), tf.zeros_like(ids))
        return tf.where(ignored, tf.constant(segments.VOID, tf.int64), ids * segments.NUMBERS + objects)

    pairs = keys(labels, numbers) * segments.KEYS + keys(class_ids, own_numbers)
    found, _, pixels = tf.unique_with_counts(tf.reshape(pairs, [-1]), tf.int64)
    return tf.stack([found // segments.KEYS, found % segments.KEYS, pixels], axis=1)


def image_sizes(masks: tf.Tensor) -> tf.Tensor:
    """Height and width of encoded masks, from their headers: [batch] PNG → [batch, 2] int64."""
    # PNG specification, section 11.2.1: width and height are the bytes 16 to 23.
    sizes = tf.io.decode_raw(tf.strings.substr(masks, 16, 8), tf.int32, little_endian=False)
    return tf.cast(tf.reverse(tf.reshape(sizes, [-1, 2]), axis=[1]), tf.int64)
