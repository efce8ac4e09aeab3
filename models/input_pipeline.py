"""From TFRecords to batches at the model: tf.data with a cache of 8-bit pixels, shuffling and augmentation."""

from __future__ import annotations

import contextlib
import os
import pathlib
from typing import Any

import numpy as np
import tensorflow as tf

from data import contract
from models import preprocessing, signatures
from models.augmentation import augment
from models.settings import PreprocessingSettings, TrainSettings

# Images that are decoded in one call of the transform graph.
_DECODE_BATCH = 16
_MAX_SHUFFLE = 4096
# Files that are read in turns, so that a data set in which files differ is mixed.
_INTERLEAVED_FILES = 16
# Shares of this machine's memory that decoded examples may take up.
_CACHE_SHARE = 0.25
_SHUFFLE_SHARE = 0.05


def example_bytes(shape: PreprocessingSettings) -> int:
    """Bytes of a decoded example: 8-bit image and label, and the statistics that normalize it."""
    return shape.height * shape.width * (shape.channels + 1) + 2 * 4 * shape.channels


def resolve_cache(settings: TrainSettings, shape: PreprocessingSettings, num_examples: int) -> str:
    """`memory`, `disk` or `none`; `auto` means memory if all examples take up at most a quarter of it.

    Args:
      settings: of the training run.
      shape: of the model's input.
      num_examples: of the train and eval splits together.
    """
    if settings.cache != "auto":
        return settings.cache
    return "memory" if num_examples * example_bytes(shape) <= _CACHE_SHARE * _memory() else "none"


def examples(patterns: list[str], transform: Any, cache_file: str | None) -> tf.data.Dataset:
    """Decodes and resizes by the transform graph.

    Args:
      patterns: of the TFRecords; those that end in `.gz` are gzipped.
      transform: tf.Transform's layer.
      cache_file: where decoded examples are kept from the first pass on: a file, "" for the memory, None for nowhere.

    Returns:
      Of each example `pixels` [height, width, channels] uint8, `label` [height, width] uint8, and `mean` and `scale`
      [channels] float32.
    """

    def read(path: tf.Tensor, compression_type: tf.Tensor) -> tf.data.Dataset:
        return tf.data.TFRecordDataset(path, compression_type, buffer_size=1 << 20)

    @tf.autograph.experimental.do_not_convert
    def parse_and_transform(serialized: tf.Tensor) -> dict[str, tf.Tensor]:
        features = transform(tf.io.parse_example(serialized, signatures.feature_spec()))
        return {
            preprocessing.PIXELS: tf.cast(features[preprocessing.PIXELS], tf.uint8),
            preprocessing.LABEL: tf.cast(features[preprocessing.LABEL], tf.uint8),
            preprocessing.MEAN: features[preprocessing.MEAN],
            preprocessing.SCALE: features[preprocessing.SCALE],
        }

    paths = sorted(path for pattern in patterns for path in tf.io.gfile.glob(pattern))
    dataset = (
        tf.data.Dataset.from_tensor_slices((paths, [contract.compression_type(path) for path in paths]))
        .shuffle(1 if cache_file is not None else len(paths))
        .interleave(read, cycle_length=_INTERLEAVED_FILES)
        .batch(_DECODE_BATCH)
        .map(parse_and_transform, num_parallel_calls=tf.data.AUTOTUNE)
        .unbatch()
    )
    return dataset if cache_file is None else dataset.cache(cache_file)


def training_batches(
    decoded: tf.data.Dataset,
    settings: TrainSettings,
    shape: PreprocessingSettings,
    num_examples: int,
    weights: np.ndarray | None,
) -> tf.data.Dataset:
    """Endless batches, shuffled and augmented.

    Args:
      decoded: of `examples`.
      settings: of the training run.
      shape: of the model's input.
      num_examples: in `decoded`.
      weights: [C] of the pixels of each class, or None.

    Returns:
      `image` [batch, height, width, channels] float32, `label` [batch, height, width] uint8 and, if classes are
      weighted, each pixel's weight, [batch, height, width] float32.
    """
    buffer = int(_SHUFFLE_SHARE * _memory() / example_bytes(shape))
    seeds = tf.data.Dataset.random(settings.seed, rerandomize_each_iteration=True).batch(2)
    batches = (
        decoded.shuffle(min(num_examples, _MAX_SHUFFLE, max(buffer, settings.batch_size)), seed=settings.seed)
        .repeat()
        .batch(settings.batch_size, drop_remainder=True)
    )
    # The ignored label's weight, zero, stands at index 255 like any other's.
    weight_of: np.ndarray = np.zeros(contract.IGNORE_LABEL + 1, np.float32)
    if weights is not None:
        weight_of[: len(weights)] = weights

    @tf.autograph.experimental.do_not_convert
    def prepare(batch: dict[str, tf.Tensor], seed: tf.Tensor) -> tuple[tf.Tensor, ...]:
        image, label = _normalized(batch)
        image, label = augment(image, label, seed, **settings.augmentation.model_dump())
        return (image, label) if weights is None else (image, label, tf.gather(weight_of, tf.cast(label, tf.int32)))

    return (
        tf.data.Dataset.zip((batches, seeds))
        .map(prepare, num_parallel_calls=tf.data.AUTOTUNE)
        .prefetch(tf.data.AUTOTUNE)
    )


def evaluation_batches(decoded: tf.data.Dataset, batch_size: int) -> tf.data.Dataset:
    """All examples once, in batches of `image` and `label`."""
    return decoded.batch(batch_size).map(_normalized, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


@tf.autograph.experimental.do_not_convert
def _normalized(batch: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
    image = preprocessing.normalize(
        *(batch[name] for name in (preprocessing.PIXELS, preprocessing.MEAN, preprocessing.SCALE))
    )
    return image, batch[preprocessing.LABEL]


def _memory() -> int:
    """Bytes of memory that this process may use: of the machine, or less by a container's limit (cgroup 2 or 1)."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):  # There is no such file, or it says "max".
            limits.append(int(pathlib.Path(path).read_text()))
    return min(limits)
