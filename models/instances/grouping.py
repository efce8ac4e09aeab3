"""From the network's maps to objects, inside the graph: peaks become centers, and each pixel goes to the nearest one.

Cheng et al., "Panoptic-DeepLab", 2020, sections 3.2 and 3.3, without their table of distances from each pixel to each
center: the nearest center is looked up on a grid on which centers have spread (Rong and Tan, "Jump Flooding in GPU",
2006), so that neither time nor memory grows with the number of objects.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import tensorflow as tf

from data.contract import CROWD

_NOWHERE = -1
# Peaks are averaged twice over a square: a fifth of the side of that within which there is one center, up to 9 pixels.
_AVERAGED, _MOST_AVERAGED = 5, 9


@dataclasses.dataclass(frozen=True)
class Objects:
    """The objects of an image, in the order of their numbers, which begin at 1.

    Attributes:
      numbers: [height, width] int32, which object a pixel belongs to, 0 for none.
      class_ids: [height, width] int32; an object's pixels have its class.
      object_classes: [n] int32.
      scores: [n] float32, the probability of the class as the mean over the object's pixels times the peak.
      boxes: [n, 4] int32: top, left, bottom and right, the last two exclusive.
      areas: [n] int32 pixels.
    """

    numbers: tf.Tensor
    class_ids: tf.Tensor
    object_classes: tf.Tensor
    scores: tf.Tensor
    boxes: tf.Tensor
    areas: tf.Tensor


def group(
    probabilities: tf.Tensor,
    peaks: tf.Tensor,
    offsets: tf.Tensor,
    is_thing: Sequence[bool],
    *,
    kernel: int,
    least_peak: float,
    least_area: int,
) -> Objects:
    """Finds the objects of one image.

    Args:
      probabilities: [height, width, C] of the classes.
      peaks: [height, width], high at centers of objects.
      offsets: [height, width, 2], rows and columns from each pixel to its object's center.
      is_thing: [C], which classes have objects; another one must be there for what belongs to none.
      kernel: odd side, in pixels, of the square within which there is one center.
      least_peak: of a center.
      least_area: pixels of an object; smaller ones become the most probable class without objects, as do those after
        the first 65,534.
    """
    class_ids = tf.argmax(probabilities, axis=-1, output_type=tf.int32)
    things = tf.constant(is_thing)
    thing = tf.gather(things, class_ids)
    centers = _centers(peaks, thing, kernel, least_peak)
    places = tf.cast(tf.where(thing), tf.int32)
    targets = tf.cast(places, tf.float32) + tf.gather_nd(offsets, places)
    nearest, distances = _nearest(centers, tf.shape(peaks), targets, (kernel + 1) // 2)
    # Whose way leads farther from the center than the root of the object's area does not mean that object.
    count = tf.shape(centers)[0]
    # As whole numbers: sums of 32-bit floats end at 16.7 million.
    areas = tf.cast(tf.math.unsorted_segment_sum(tf.ones_like(nearest), nearest, count), tf.float32)
    is_far = distances > tf.gather(tf.concat([areas, [0.0]], axis=0), tf.where(nearest < 0, count, nearest))
    nearest = tf.where(is_far, _NOWHERE, nearest)
    return _objects(probabilities, peaks, class_ids, things, centers, places, nearest, least_area)


def _centers(peaks: tf.Tensor, thing: tf.Tensor, kernel: int, least_peak: float) -> tf.Tensor:
    """[n, 2] int32: where things peak. Of several pixels that are equal within a square the first one counts."""
    height, width = tf.unstack(tf.shape(peaks))

    def highest(values: tf.Tensor, side: int = kernel) -> tf.Tensor:
        return _running_max(_running_max(values, side, 0), side, 1)

    # What a network says of single pixels is noisy, and large objects would have several peaks. How high a peak is says
    # the highest pixel of those averaged.
    side = min(kernel // _AVERAGED, _MOST_AVERAGED) | 1
    smooth = peaks[tf.newaxis, ..., tf.newaxis]
    for window in ([side, 1], [1, side], [side, 1], [1, side]):
        smooth = tf.nn.avg_pool2d(smooth, window, 1, "SAME")
    # Where means are equal, the pixels themselves decide.
    smooth = tf.where(thing, smooth[0, ..., 0] + 0.01 * peaks, -1.0)
    is_peak = thing & (highest(peaks, 2 * side - 1) >= least_peak) & (smooth == highest(smooth))
    # In 32-bit floats, whole numbers are exact up to 16.7 million; rows and columns are compared one after the other.
    rows, columns = tf.meshgrid(*(tf.range(length, 0, -1, tf.float32) for length in (height, width)), indexing="ij")
    for order in (rows, columns):
        order = tf.where(is_peak, order, 0.0)
        is_peak &= order == highest(order)
    return tf.cast(tf.where(is_peak), tf.int32)


def _running_max(values: tf.Tensor, kernel: int, axis: int) -> tf.Tensor:
    """The highest of each window of values along an axis, in the logarithm of its length: objects may be large."""
    size = tf.shape(values)[axis]
    margins = [[0, 0], [0, 0]]
    margins[axis] = [kernel // 2, kernel // 2]
    windows, length = tf.pad(values, margins, constant_values=values.dtype.min), 1

    def part(first: int, count: tf.Tensor) -> tf.Tensor:
        return windows[first : first + count] if axis == 0 else windows[:, first : first + count]

    while 2 * length <= kernel:
        count = tf.shape(windows)[axis] - length
        windows, length = tf.maximum(part(0, count), part(length, count)), 2 * length
    return tf.maximum(part(0, size), part(kernel - length, size))


def _nearest(centers: tf.Tensor, size: tf.Tensor, targets: tf.Tensor, cell: int) -> tuple[tf.Tensor, tf.Tensor]:
    """[m] int32, the index of the center nearest to each of [m, 2] places, -1 if there is none; its squared distance.

    A cell holds one center at most. Each gets the one nearest to its middle; a place takes the nearest of those that
    its cell and the neighbors got, and of the one in its cell. Of centers nearly equally far it may miss the nearest.
    """
    grid_size = -(-size // cell)
    indices = tf.range(tf.shape(centers)[0])
    own = tf.tensor_scatter_nd_update(tf.fill(grid_size, _NOWHERE), centers // cell, indices)
    spread = _spread(own, centers, grid_size, cell)
    distances = _distances(centers, targets)
    cells = tf.clip_by_value(tf.cast(tf.round(targets), tf.int32), 0, size - 1) // cell
    framed = tf.pad(spread, [[1, 1], [1, 1]], "SYMMETRIC")
    best = tf.gather_nd(own, cells)

    least = distances(best)
    for row in range(3):
        for column in range(3):
            candidates = tf.gather_nd(framed, cells + tf.constant([row, column]))
            distance = distances(candidates)
            best, least = tf.where(distance < least, candidates, best), tf.minimum(least, distance)
    return best, least


def _distances(centers: tf.Tensor, places: tf.Tensor) -> Callable[[tf.Tensor], tf.Tensor]:
    """A function from a center's index for each of [..., 2] places, -1 for none, to their squared distance."""
    # A row far away at the end, for what is nowhere.
    padded = tf.concat([tf.cast(centers, tf.float32), [[1e6, 1e6]]], axis=0)

    def distances(candidates: tf.Tensor) -> tf.Tensor:
        chosen = tf.where(candidates < 0, tf.shape(centers)[0], candidates)
        return tf.reduce_sum((tf.gather(padded, chosen) - places) ** 2, axis=-1)

    return distances


def _spread(own: tf.Tensor, centers: tf.Tensor, grid_size: tf.Tensor, cell: int) -> tf.Tensor:
    """Jump flooding: [rows, columns] int32, for each cell the center nearest to its middle, as far as can be said."""
    rows, columns = tf.unstack(grid_size)
    middles = tf.stack(
        tf.meshgrid(*((tf.range(tf.cast(n, tf.float32)) + 0.5) * cell - 0.5 for n in (rows, columns)), indexing="ij"),
        axis=-1,
    )

    distances = _distances(centers, middles)

    def jump(step: tf.Tensor, best: tf.Tensor, least: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        margin = tf.stack([step, step])
        framed = tf.pad(best, tf.stack([margin, margin]), constant_values=_NOWHERE)
        for row in range(3):
            for column in range(3):
                if (row, column) != (1, 1):
                    candidates = tf.slice(framed, [row * step, column * step], grid_size)
                    distance = distances(candidates)
                    best = tf.where(distance < least, candidates, best)
                    least = tf.minimum(least, distance)
        return step // 2, best, least

    # The largest power of two below the longer side, so that the first jumps reach everywhere.
    longest = tf.cast(tf.reduce_max(grid_size), tf.float32)
    first = tf.cast(2 ** tf.math.ceil(tf.math.log(longest) / tf.math.log(2.0)), tf.int32) // 2
    start = (tf.maximum(first, 1), own, distances(own))
    return tf.while_loop(lambda step, *_: step > 0, jump, start, parallel_iterations=1)[1]


def _objects(
    probabilities: tf.Tensor,
    peaks: tf.Tensor,
    class_ids: tf.Tensor,
    is_thing: tf.Tensor,
    centers: tf.Tensor,
    places: tf.Tensor,
    nearest: tf.Tensor,
    least_area: int,
) -> Objects:
    """Votes on the classes of objects, leaves out small ones and those without a center, and measures the others."""
    classes = tf.shape(is_thing)[0]
    count = tf.shape(centers)[0]
    # What has no center goes to an object of its own at the end, which is left out.
    members = tf.where(nearest < 0, count, nearest)
    votes = tf.math.bincount(
        members * classes + tf.gather_nd(class_ids, places),
        minlength=(count + 1) * classes,
        maxlength=(count + 1) * classes,
    )
    votes = tf.reshape(votes, [count + 1, classes])[:-1]
    areas = tf.reduce_sum(votes, axis=1)
    kept = areas >= least_area
    # Numbers have 16 bits in files, and the last one stands for crowds.
    kept &= tf.cumsum(tf.cast(kept, tf.int32)) < CROWD
    new_numbers = tf.concat([tf.cumsum(tf.cast(kept, tf.int32)) * tf.cast(kept, tf.int32), [0]], axis=0)
    numbers = tf.gather(new_numbers, members)
    object_classes = tf.boolean_mask(tf.argmax(votes, axis=1, output_type=tf.int32), kept)
    areas = tf.boolean_mask(areas, kept)
    count = tf.shape(areas)[0]

    without_objects = tf.where(is_thing, -1.0, tf.gather_nd(probabilities, places))
    others = tf.argmax(without_objects, axis=-1, output_type=tf.int32)
    voted = tf.gather(tf.concat([[0], object_classes], axis=0), numbers)
    new_classes = tf.where(numbers > 0, voted, others)

    of_object = tf.boolean_mask(numbers, numbers > 0) - 1
    where = tf.boolean_mask(places, numbers > 0)
    certain = tf.gather_nd(
        probabilities, tf.concat([where, tf.gather(object_classes, of_object)[:, tf.newaxis]], axis=1)
    )
    # Of millions of pixels, sums in 32 bits may exceed their number.
    means = tf.cast(tf.math.unsorted_segment_mean(tf.cast(certain, tf.float64), of_object, count), tf.float32)
    heights = tf.boolean_mask(tf.gather_nd(peaks, centers), kept)
    first = tf.math.unsorted_segment_min(where, of_object, count)
    last = tf.math.unsorted_segment_max(where, of_object, count) + 1
    return Objects(
        tf.scatter_nd(places, numbers, tf.shape(class_ids)),
        tf.tensor_scatter_nd_update(class_ids, places, new_classes),
        object_classes,
        means * tf.clip_by_value(heights, 0.0, 1.0),
        tf.concat([first, last], axis=1),
        areas,
    )
