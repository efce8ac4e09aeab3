"""Segments images of any size with a model for small ones: in overlapping tiles, in memory bounded by one row of them.

After Isensee et al., "nnU-Net", 2021 (Methods, inference): predictions for the tiles are summed, weighted by a
Gaussian, because the model knows least about the pixels at a tile's edge.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from models.inputs import preprocessing

# Smallest share of a tile that the next one covers, too.
_OVERLAP = 0.25
# Standard deviation of the Gaussian, as a share of the tile's length.
_SIGMA = 0.125
# Pixels that go through the model at once: small tiles in batches, so that they keep the device busy.
_PIXELS_AT_ONCE = 2**18


def tile_positions(length: tf.Tensor, tile: int) -> tf.Tensor:
    """Where tiles begin along an axis, evenly spaced from the image's beginning to its end: [n] int32.

    Args:
      length: the image's length along that axis, at least that of a tile.
      tile: the tile's length.
    """
    stride = max(1, round(tile * (1 - _OVERLAP)))
    count = 1 - (tile - length) // stride
    return tf.cast(tf.round(tf.linspace(0.0, tf.cast(length - tile, tf.float32), count)), tf.int32)


def window(tile: int) -> np.ndarray:
    """Weights along a tile, [tile] float32: a Gaussian, nowhere below a hundredth of its peak."""
    offsets = (np.arange(tile) - (tile - 1) / 2) / (_SIGMA * tile)
    return np.maximum(np.exp(-(offsets**2) / 2), 0.01).astype(np.float32)


def segment(
    model: Callable[[tf.Tensor], tf.Tensor],
    num_classes: int,
    pixels: tf.Tensor,
    mean: tf.Tensor,
    scale: tf.Tensor,
    tile: tuple[int, int],
) -> tuple[tf.Tensor, tf.Tensor]:
    """Class ids of an image at its own size, in tiles.

    Args:
      model: [batch, tile height, tile width, channels] normalized images → [batch, tile height, tile width, C] logits.
      num_classes: C.
      pixels: [h, w, channels] uint8 of any size; what a tile lacks of a smaller image has the mean's color.
      mean: [1, channels], as `preprocessing.normalize` takes it.
      scale: [1, channels], likewise.
      tile: height and width of the model's input.

    Returns:
      [h, w] uint8 class ids, and [h, w] float32, their probability.
    """
    size = tf.shape(pixels)[:2]
    is_small = tf.reduce_any(size < tf.constant(tile))
    pixels = tf.cond(is_small, lambda: _enlarge(pixels, mean, tile), lambda: pixels)  # Does not copy a large one.
    height, width = tf.unstack(tf.shape(pixels)[:2])
    tops, lefts = tile_positions(height, tile[0]), tile_positions(width, tile[1])
    ends = tf.concat([tops[1:], [height]], axis=0)
    row_window, column_window = window(tile[0]), window(tile[1])
    columns_of_tiles = lefts[:, tf.newaxis] + tf.range(tile[1])
    column_weights = tf.tensor_scatter_nd_add(
        tf.zeros([width]), columns_of_tiles[..., tf.newaxis], tf.tile(column_window[np.newaxis], [tf.size(lefts), 1])
    )
    at_once = max(1, _PIXELS_AT_ONCE // (tile[0] * tile[1]))

    def add_tiles(band: tf.Tensor, first: tf.Tensor, sums: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        columns = columns_of_tiles[first : first + at_once]
        tiles = tf.transpose(tf.gather(band, columns, axis=1), [1, 0, 2, 3])
        tiles = tf.ensure_shape(tiles, [None, *tile, pixels.shape[-1]])
        rows = [tf.shape(tiles)[0], 1]
        logits = model(preprocessing.normalize(tiles, tf.tile(mean, rows), tf.tile(scale, rows)))
        weights = (row_window[:, np.newaxis] * column_window)[..., np.newaxis]
        # Columns come first, because a scatter adds along the first axis.
        weighted = tf.transpose(tf.nn.softmax(logits) * weights, [0, 2, 1, 3])
        return first + at_once, tf.tensor_scatter_nd_add(sums, columns[..., tf.newaxis], weighted)

    def next_band(
        index: tf.Tensor, sums: tf.Tensor, row_weights: tf.Tensor, ids: tf.TensorArray, confidence: tf.TensorArray
    ) -> tuple[Any, ...]:
        band = pixels[tops[index] : tops[index] + tile[0]]
        _, sums = tf.while_loop(
            lambda first, _: first < tf.size(lefts),
            functools.partial(add_tiles, band),
            (0, sums),
            parallel_iterations=1,
        )
        row_weights += row_window
        # The next row of tiles covers none of these rows of pixels.
        done = ends[index] - tops[index]
        finished = sums[:, :done]
        best = tf.reduce_max(finished, axis=-1) / (column_weights[:, tf.newaxis] * row_weights[:done])
        rows = (tf.cast(tf.argmax(finished, axis=-1), tf.uint8), best)
        ids, confidence = (
            whole.write(index, tf.transpose(values)[:, : size[1]])
            for whole, values in zip((ids, confidence), rows, strict=True)
        )
        sums = tf.ensure_shape(tf.pad(sums[:, done:], [[0, 0], [0, done], [0, 0]]), [None, tile[0], num_classes])
        return index + 1, sums, tf.ensure_shape(tf.pad(row_weights[done:], [[0, done]]), [tile[0]]), ids, confidence

    ids, confidence = tf.while_loop(
        lambda index, *_: index < tf.size(tops),
        next_band,
        (
            0,
            tf.ensure_shape(tf.zeros([width, tile[0], num_classes]), [None, tile[0], num_classes]),
            tf.zeros([tile[0]]),
            tf.TensorArray(tf.uint8, tf.size(tops), infer_shape=False, element_shape=[None, None]),
            tf.TensorArray(tf.float32, tf.size(tops), infer_shape=False, element_shape=[None, None]),
        ),
        parallel_iterations=1,
    )[3:]
    return tuple(whole.concat()[: size[0]] for whole in (ids, confidence))


def _enlarge(pixels: tf.Tensor, mean: tf.Tensor, tile: tuple[int, int]) -> tf.Tensor:
    """At least a tile: smaller images grow at the bottom and at the right, in the mean's color."""
    fill = preprocessing.fill_color(mean[0])
    missing = tf.maximum(tf.constant(tile) - tf.shape(pixels)[:2], 0)
    # tf.pad knows one value for all channels, so what it pads is the difference to the color, modulo 256.
    return tf.pad(pixels - fill, [[0, missing[0]], [0, missing[1]], [0, 0]]) + fill
