"""Segments images of any size with a model for small ones: in overlapping tiles, in memory bounded by one row of them.

After Isensee et al., "nnU-Net", 2021 (Methods, inference): predictions for the tiles are summed, weighted by a
Gaussian, because the model knows least about the pixels at a tile's edge.
"""

from __future__ import annotations

import dataclasses
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


@dataclasses.dataclass(frozen=True)
class Tiling:
    """A model that goes over an image in bands, which are rows of tiles, from top to bottom.

    Attributes:
      model: [batch, tile height, tile width, channels] normalized images → [batch, tile height, tile width, C] logits,
        or further maps after these, which are blended as they are.
      num_classes: C.
      tile: height and width of the model's input.
      other_maps: how many further maps there are.
    """

    model: Callable[[tf.Tensor], tf.Tensor]
    num_classes: int
    tile: tuple[int, int]
    other_maps: int = 0

    def begin(self, pixels: tf.Tensor, mean: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        """What the first band takes.

        Args:
          pixels: [h, w, channels] uint8, uint16 or float32, of any size; what a tile lacks of a smaller image has the
            mean's color.
          mean: [1, channels], as `preprocessing.normalize` takes it.

        Returns:
          The number of bands; the pixels, of at least a tile; `sums` and `row_weights`.
        """
        is_small = tf.reduce_any(tf.shape(pixels)[:2] < tf.constant(self.tile))
        # Does not copy a large one.
        pixels = tf.cond(is_small, lambda: _enlarge(pixels, mean, self.tile), lambda: pixels)
        height, width = tf.unstack(tf.shape(pixels)[:2])
        sums = tf.ensure_shape(tf.zeros([width, self.tile[0], self.num_classes + self.other_maps]), self._sums_shape())
        return tf.size(tile_positions(height, self.tile[0])), pixels, sums, tf.zeros([self.tile[0]])

    def band(
        self,
        pixels: tf.Tensor,
        mean: tf.Tensor,
        scale: tf.Tensor,
        index: tf.Tensor,
        sums: tf.Tensor,
        row_weights: tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        """Segments the rows of pixels that are covered by this band and no later one.

        Args:
          pixels: [h, w, channels], as `begin` returns them.
          mean: [1, channels], as `preprocessing.normalize` takes it.
          scale: [1, channels], likewise.
          index: which band.
          sums: [w, tile height, C] float32, what the bands before it found in the rows of this one.
          row_weights: [tile height] float32, the weights of these rows in the sums.

        Returns:
          [rows, w] uint8 class ids; [rows, w] float32, their probability; `sums` and `row_weights` for the next band.
        """
        finished, weights, sums, row_weights = self._finish(pixels, mean, scale, index, sums, row_weights)
        best = tf.reduce_max(finished, axis=-1) / weights
        ids = tf.cast(tf.argmax(finished, axis=-1), tf.uint8)
        return tf.transpose(ids), tf.transpose(best), sums, row_weights

    def blended_band(
        self,
        pixels: tf.Tensor,
        mean: tf.Tensor,
        scale: tf.Tensor,
        index: tf.Tensor,
        sums: tf.Tensor,
        row_weights: tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """As `band`, but the blended maps instead of class ids: [rows, w, C + other maps], and the last two."""
        finished, weights, sums, row_weights = self._finish(pixels, mean, scale, index, sums, row_weights)
        return tf.transpose(finished / weights[..., tf.newaxis], [1, 0, 2]), sums, row_weights

    def _finish(
        self,
        pixels: tf.Tensor,
        mean: tf.Tensor,
        scale: tf.Tensor,
        index: tf.Tensor,
        sums: tf.Tensor,
        row_weights: tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        """Adds the tiles of a band to the sums.

        Returns:
          Of the rows that no later band covers, the sums, [w, rows, C + other maps], and their weights, [w, rows];
          `sums` and `row_weights` for the next band.
        """
        tile, (height, width) = self.tile, tf.unstack(tf.shape(pixels)[:2])
        tops, lefts = tile_positions(height, tile[0]), tile_positions(width, tile[1])
        ends = tf.concat([tops[1:], [height]], axis=0)
        row_window, column_window = window(tile[0]), window(tile[1])
        columns_of_tiles = lefts[:, tf.newaxis] + tf.range(tile[1])
        column_weights = tf.tensor_scatter_nd_add(
            tf.zeros([width]),
            columns_of_tiles[..., tf.newaxis],
            tf.tile(column_window[np.newaxis], [tf.size(lefts), 1]),
        )
        at_once = max(1, _PIXELS_AT_ONCE // (tile[0] * tile[1]))
        band = pixels[tops[index] : tops[index] + tile[0]]

        def add_tiles(first: tf.Tensor, sums: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            columns = columns_of_tiles[first : first + at_once]
            tiles = tf.transpose(tf.gather(band, columns, axis=1), [1, 0, 2, 3])
            tiles = tf.ensure_shape(tiles, [None, *tile, pixels.shape[-1]])
            rows = [tf.shape(tiles)[0], 1]
            logits = self.model(preprocessing.normalize(tiles, tf.tile(mean, rows), tf.tile(scale, rows)))
            weights = (row_window[:, np.newaxis] * column_window)[..., np.newaxis]
            # Columns come first, because a scatter adds along the first axis.
            weighted = tf.transpose(self._with_probabilities(logits) * weights, [0, 2, 1, 3])
            return first + at_once, tf.tensor_scatter_nd_add(sums, columns[..., tf.newaxis], weighted)

        _, sums = tf.while_loop(lambda first, _: first < tf.size(lefts), add_tiles, (0, sums), parallel_iterations=1)
        row_weights += row_window
        # The next row of tiles covers none of these rows of pixels.
        done = ends[index] - tops[index]
        finished, weights_of_finished = sums[:, :done], column_weights[:, tf.newaxis] * row_weights[:done]
        sums = tf.ensure_shape(tf.pad(sums[:, done:], [[0, 0], [0, done], [0, 0]]), self._sums_shape())
        row_weights = tf.ensure_shape(tf.pad(row_weights[done:], [[0, done]]), [tile[0]])
        return finished, weights_of_finished, sums, row_weights

    def _with_probabilities(self, maps: tf.Tensor) -> tf.Tensor:
        if not self.other_maps:
            return tf.nn.softmax(maps)
        logits, others = maps[..., : self.num_classes], maps[..., self.num_classes :]
        return tf.concat([tf.nn.softmax(logits), others], axis=-1)

    def _sums_shape(self) -> list[int | None]:
        return [None, self.tile[0], self.num_classes + self.other_maps]


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
      model: as for `Tiling`.
      num_classes: likewise.
      pixels: as for `Tiling.begin`.
      mean: [1, channels], as `preprocessing.normalize` takes it.
      scale: [1, channels], likewise.
      tile: as for `Tiling`.

    Returns:
      [h, w] uint8 class ids, and [h, w] float32, their probability.
    """
    size, tiling = tf.shape(pixels)[:2], Tiling(model, num_classes, tile)
    count, pixels, sums, row_weights = tiling.begin(pixels, mean)

    def next_band(
        index: tf.Tensor, sums: tf.Tensor, row_weights: tf.Tensor, ids: tf.TensorArray, confidence: tf.TensorArray
    ) -> tuple[Any, ...]:
        *rows, sums, row_weights = tiling.band(pixels, mean, scale, index, sums, row_weights)
        ids, confidence = (
            whole.write(index, values[:, : size[1]]) for whole, values in zip((ids, confidence), rows, strict=True)
        )
        return index + 1, sums, row_weights, ids, confidence

    arrays = [
        tf.TensorArray(dtype, count, infer_shape=False, element_shape=[None, None]) for dtype in (tf.uint8, tf.float32)
    ]
    *_, ids, confidence = tf.while_loop(
        lambda index, *_: index < count, next_band, (0, sums, row_weights, *arrays), parallel_iterations=1
    )
    return ids.concat()[: size[0]], confidence.concat()[: size[0]]


def blend(
    model: Callable[[tf.Tensor], tf.Tensor],
    num_classes: int,
    other_maps: int,
    pixels: tf.Tensor,
    mean: tf.Tensor,
    scale: tf.Tensor,
    tile: tuple[int, int],
) -> tf.Tensor:
    """As `segment`, but the maps themselves: [h, w, C + other maps], C probabilities and the maps after the logits."""
    size, tiling = tf.shape(pixels)[:2], Tiling(model, num_classes, tile, other_maps)
    count, pixels, sums, row_weights = tiling.begin(pixels, mean)

    def next_band(
        index: tf.Tensor, sums: tf.Tensor, row_weights: tf.Tensor, bands: tf.TensorArray
    ) -> tuple[tf.Tensor, ...]:
        maps, sums, row_weights = tiling.blended_band(pixels, mean, scale, index, sums, row_weights)
        return index + 1, sums, row_weights, bands.write(index, maps[:, : size[1]])

    shape = [None, None, num_classes + other_maps]
    bands = tf.TensorArray(tf.float32, count, infer_shape=False, element_shape=shape)
    *_, bands = tf.while_loop(
        lambda index, *_: index < count, next_band, (0, sums, row_weights, bands), parallel_iterations=1
    )
    return bands.concat()[: size[0]]


def _enlarge(pixels: tf.Tensor, mean: tf.Tensor, tile: tuple[int, int]) -> tf.Tensor:
    """At least a tile: smaller images grow at the bottom and at the right, in the mean's color."""
    missing = tf.maximum(tf.constant(tile) - tf.shape(pixels)[:2], 0)
    paddings = [[0, missing[0]], [0, missing[1]], [0, 0]]
    inside = tf.pad(tf.ones_like(pixels[..., :1], tf.bool), paddings)
    return tf.where(inside, tf.pad(pixels, paddings), preprocessing.fill_color(mean[0], pixels.dtype))
