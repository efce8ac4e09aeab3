import os
import re
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from models.inputs.preprocessing import fill_color
from models.serving.own_size import tiling

MEAN, SCALE = tf.constant([[90.0, 100.0, 110.0]]), tf.constant([[0.02, 0.03, 0.04]])


def photograph(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, [height, width, 3]).astype(np.uint8)


def pixelwise(tiles):
    """Logits of each pixel by its color alone, so that it makes no difference where tiles lie."""
    return tf.einsum("bhwc,ck->bhwk", tiles, tf.constant([[1.0, -1, 0, 2], [0, 1, -2, 0], [0.5, 0, 1, -1]]))


@pytest.mark.parametrize("length", [16, 17, 20, 28, 29, 100])
def test_tiles_cover_an_axis_and_overlap(length):
    starts = tiling.tile_positions(tf.constant(length), 16).numpy()
    assert starts[0] == 0
    assert starts[-1] == length - 16
    assert (np.diff(starts) <= 12).all()
    # Not more of them than needed.
    assert len(starts) == 1 + -(-(length - 16) // 12)


@pytest.mark.parametrize("size", [(32, 24), (33, 100), (70, 24), (20, 10), (10, 60), (1, 1), (200, 300)])
def test_a_model_that_looks_at_single_pixels_gives_the_same_by_tiles(size):
    image = photograph(*size)
    normalized = (image[np.newaxis] - MEAN.numpy()) * SCALE.numpy()
    expected = tf.nn.softmax(pixelwise(tf.constant(normalized, tf.float32)))[0].numpy()
    class_ids, confidence = tf.function(tiling.segment, autograph=False)(
        pixelwise, 4, tf.constant(image), MEAN, SCALE, (32, 24)
    )
    assert class_ids.shape == size
    np.testing.assert_allclose(confidence, expected.max(axis=-1), atol=1e-5)
    clear = np.sort(expected, axis=-1)[..., -1] - np.sort(expected, axis=-1)[..., -2] > 1e-5
    np.testing.assert_array_equal(class_ids.numpy()[clear], expected.argmax(axis=-1)[clear])


def test_tiles_are_blended_by_a_gaussian():
    """Against a loop over tiles in NumPy, with a model that knows where in its tile a pixel lies."""
    tile, image = (16, 24), photograph(45, 70)
    places = np.random.default_rng(1).normal(size=[*tile, 4]).astype(np.float32)
    sums, weights = np.zeros([45, 70, 4]), np.zeros([45, 70, 1])
    gauss = [np.exp(-(((np.arange(n) - (n - 1) / 2) / (n / 8)) ** 2) / 2).clip(0.01) for n in tile]
    for top in np.round(np.linspace(0, 45 - 16, 4)).astype(int):
        for left in np.round(np.linspace(0, 70 - 24, 4)).astype(int):
            here = slice(top, top + 16), slice(left, left + 24)
            pixels = (image[here] - MEAN.numpy()[0]) * SCALE.numpy()[0]
            logits = pixelwise(tf.constant(pixels[np.newaxis], tf.float32))[0].numpy() + places
            weight = np.outer(*gauss)[..., np.newaxis]
            sums[here] += weight * tf.nn.softmax(logits).numpy()
            weights[here] += weight
    class_ids, confidence = tiling.segment(
        lambda tiles: pixelwise(tiles) + places, 4, tf.constant(image), MEAN, SCALE, tile
    )
    np.testing.assert_allclose(confidence, (sums / weights).max(axis=-1), atol=1e-5)
    assert (class_ids.numpy() == sums.argmax(axis=-1)).mean() > 0.999


def test_a_small_image_lies_in_the_means_colour():
    seen = []

    def model(tiles):
        seen.append(tiles.numpy())
        return pixelwise(tiles)

    class_ids, _ = tiling.segment(model, 4, tf.constant(photograph(3, 5)), MEAN, SCALE, (16, 24))
    assert class_ids.shape == (3, 5)
    (tiles,) = seen
    fill = (fill_color(MEAN).numpy() - MEAN.numpy()) * SCALE.numpy()
    np.testing.assert_allclose(tiles[0, 3:, 5:], np.broadcast_to(fill[0], [13, 19, 3]), atol=1e-6)


_PEAK = """
import pathlib, re
import numpy as np
import tensorflow as tf
from models.serving.own_size import tiling

def peak():
    return int(re.findall(r"VmHWM:\\s+(\\d+) kB", pathlib.Path("/proc/self/status").read_text())[0]) / 1000

convolution = tf.constant(np.random.default_rng(0).normal(size=[3, 3, 3, 21]), tf.float32)
model = lambda tiles: tf.nn.conv2d(tiles, convolution, 1, "SAME")
segment = tf.function(tiling.segment, autograph=False, reduce_retracing=True)
mean = tf.zeros([1, 3])
segment(model, 21, tf.zeros([1000, 4000, 3], tf.uint8), mean, mean, (512, 512))
before = peak()
class_ids, _ = segment(model, 21, tf.zeros([4000, 4000, 3], tf.uint8), mean, mean, (512, 512))
assert class_ids.shape == (4000, 4000)
print(peak() - before)
"""


@pytest.mark.nightly
def test_memory_is_bounded_by_a_row_of_tiles():
    """Twelve million pixels more: of 21 classes in float32 they are 1,008 MB; image and result of them are 96 MB.

    Between the two lies what the allocator keeps of freed memory, which differs from run to run.
    """
    finished = subprocess.run(
        [sys.executable, "-c", _PEAK], env={**os.environ, "PYTHONPATH": "."}, capture_output=True, text=True, check=True
    )
    grown = float(re.findall(r"[\d.]+", finished.stdout)[-1])
    assert 50 < grown < 756


@pytest.mark.parametrize("size", [(33, 100), (20, 10), (70, 24)])
def test_maps_after_the_logits_are_blended_as_they_are(size):
    image = photograph(*size)
    normalized = tf.constant((image[np.newaxis] - MEAN.numpy()) * SCALE.numpy(), tf.float32)
    maps = tf.function(tiling.blend, autograph=False)(pixelwise, 2, 2, tf.constant(image), MEAN, SCALE, (32, 24))
    expected = pixelwise(normalized)[0].numpy()
    np.testing.assert_allclose(maps[..., :2], tf.nn.softmax(expected[..., :2]), atol=1e-5)
    np.testing.assert_allclose(maps[..., 2:], expected[..., 2:], atol=1e-4)
