"""From TFRecords to batches for the model: random access to decoded examples."""

from __future__ import annotations

import copy
import logging
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from data import contract
from data.base.errors import UserError
from data.base.files import find
from data.base.memory import usable_memory
from models.inputs import preprocessing
from models.inputs.augmentation import augment, halve
from models.inputs.order import Part, TrainingOrder
from models.inputs.settings import PreprocessingSettings
from models.instances.scale import ObjectScale
from models.serving import signatures
from models.training.multi_worker import ALONE, Worker
from models.training.settings import TrainSettings

_LOG = logging.getLogger("segpipe.input_pipeline")
# The most of this machine's memory that decoded examples may take.
_CACHE_SHARE = 0.25
_PROGRESS_SECONDS = 5.0
# The outputs of the transform graph that training reads.
_FEATURES = (preprocessing.PIXELS, preprocessing.LABEL, preprocessing.MEAN, preprocessing.SCALE)


def pixel_bytes(shape: PreprocessingSettings, has_objects: bool) -> int:
    """Bytes of a decoded pixel: its channels as they are stored, its class id in 8 bits, its object's number in 16."""
    return shape.num_channels * np.dtype(shape.stored_type).itemsize + (3 if has_objects else 1)


def resolve_cache(settings: TrainSettings, shape: PreprocessingSettings, num_bytes: int, paths: list[str]) -> str:
    """`memory`, `disk` or `none`; `auto` means memory if all examples fit into a quarter of it.

    Args:
      settings: of the training run.
      shape: of the model's input.
      num_bytes: of the decoded examples of the train and eval splits together.
      paths: of their TFRecords.

    Raises:
      UserError: if the cache is `none`, but the settings need one.
    """
    needs_cache = ""
    if shape.resize == "none":
        needs_cache = "preprocessing.resize: none cuts patches from decoded images"
    elif settings.sampling == "class_balanced":
        needs_cache = "train.sampling: class_balanced has to look at all masks"
    elif any(map(contract.compression_type, paths)):
        needs_cache = "gzipped TFRecords can only be read from their beginning"
    if settings.cache == "none" and needs_cache:
        raise UserError(f"train.cache: none is not possible because {needs_cache}; set it to memory, disk or auto")
    if settings.cache != "auto":
        return settings.cache
    if num_bytes <= _CACHE_SHARE * usable_memory():
        return "memory"
    return "disk" if needs_cache else "none"


class DecodedExamples:
    """The examples of a split, by index.

    Args:
      patterns: of the TFRecords; those that end in `.gz` are gzipped.
      transform: tf.Transform's layer.
      shape: of the model's input.
      count: of the examples, N.
      cache: where decoded examples are kept: a folder, "" for memory, None for nowhere.
      objects: what is known of them, if labels also say which object each pixel belongs to, as `transform` does.
    """

    # What an index stands for.
    unit = "images"
    # Images decoded in one call of the transform graph.
    _decode_batch = 16

    def __init__(
        self,
        patterns: list[str],
        transform: Callable[[dict[str, tf.Tensor]], dict[str, tf.Tensor]],
        shape: PreprocessingSettings,
        count: int,
        cache: str | None,
        objects: ObjectScale | None = None,
    ):
        self.count, self._object_scale = count, objects
        self._transform, self.shape = transform, shape
        self._paths = sorted(file.path for pattern in patterns for file in find(pattern))
        self._records: list[tuple[str, int, int]] = []
        # Where image i of this object is among those that were read.
        self._images_read = np.arange(count)
        if cache is None:
            self._records = _record_index(self._paths)
        else:
            self._decode_all(cache)

    @property
    def has_objects(self) -> bool:
        """Whether labels say which object each pixel belongs to."""
        return self._object_scale is not None

    def targets(self, label: tf.Tensor) -> tf.Tensor:
        """What the model learns from labels as `take` gives them: class ids, or the maps of `ObjectScale.targets`."""
        return label if self._object_scale is None else self._object_scale.targets(label)

    def _decode_all(self, folder: str) -> None:
        shape = (self.shape.height, self.shape.width, self.shape.num_channels)
        self.pixels = new_array(folder, "pixels", (self.count, *shape), self._pixel_type.as_numpy_dtype)
        self.labels = new_array(folder, "labels", (self.count, *shape[:2]))
        if self.has_objects:
            self.objects = new_array(folder, "objects", (self.count, *shape[:2]), np.uint16)
        end = 0
        for features in self._decoded():
            here = slice(end, end := end + len(features[preprocessing.LABEL]))
            self.pixels[here] = features[preprocessing.PIXELS].numpy()
            self.labels[here] = features[preprocessing.LABEL].numpy()
            if self.has_objects:
                self.objects[here] = features[preprocessing.OBJECTS].numpy()

    def _decoded(self) -> Iterator[dict[str, tf.Tensor]]:
        """All examples after the transform graph, in batches; remembers names, groups, mean and scale."""
        self._source_ids: list[bytes] = []
        self._groups: list[bytes] = []
        plainly = tf.autograph.experimental.do_not_convert  # AutoGraph takes a second to find nothing to convert.
        decoded = (
            tf.data.Dataset.from_tensor_slices((self._paths, [contract.compression_type(path) for path in self._paths]))
            .flat_map(plainly(lambda path, kind: tf.data.TFRecordDataset(path, kind, buffer_size=1 << 20)))
            .batch(self._decode_batch)
            .map(plainly(lambda records: (self._decode(records), _names(records))), num_parallel_calls=tf.data.AUTOTUNE)
            .prefetch(tf.data.AUTOTUNE)
        )
        logged = time.monotonic()
        for features, (source_ids, groups) in decoded:
            self._mean, self._scale = (features[name][:1] for name in (preprocessing.MEAN, preprocessing.SCALE))
            self._source_ids.extend(source_ids.numpy())
            self._groups.extend(groups.numpy())
            yield features
            if time.monotonic() - logged > _PROGRESS_SECONDS:
                _LOG.info("decoded %d of %d images", len(self._source_ids), self.count)
                logged = time.monotonic()

    def _decode(self, records: tf.Tensor) -> dict[str, tf.Tensor]:
        features = self._transform(tf.io.parse_example(records, signatures.feature_spec(self.has_objects)))
        types = {
            preprocessing.PIXELS: self._pixel_type,
            preprocessing.LABEL: tf.uint8,
            preprocessing.OBJECTS: tf.uint16,
        }
        for name, dtype in types.items():
            if name in features and features[name].dtype != tf.string:
                features[name] = tf.cast(features[name], dtype)
        return {name: features[name] for name in (*_FEATURES, preprocessing.OBJECTS) if name in features}

    def select(self, images: np.ndarray) -> DecodedExamples:
        """Some of the images, as an object of their own; nothing is decoded again or copied.

        Args:
          images: [n] indices of images, not of patches.
        """
        selected = copy.copy(self)
        selected._images_read = self._images_read[images]
        selected.count = len(images)
        return selected

    def take(
        self, indices: tf.Tensor, seed: tf.Tensor | None = None, part: Part | None = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Images and labels as the model takes them; works in graphs and eagerly.

        Args:
          indices: [batch] int64, below N.
          seed: [2] integers for what an index leaves to chance; None draws nothing.
          part: which images of a step these are; by default all.

        Returns:
          [batch, height, width, channels] normalized float32, and [batch, height, width] uint8 class ids; with objects
          [batch, height, width, 2] int32, class ids and numbers of objects.
        """
        if not self._records:
            pixels, label = tf.numpy_function(self._cached, [indices], (self._pixel_type, self._label_type))
            return self._normalized(indices, pixels, label)
        features = self._decode(tf.numpy_function(self._read, [indices], tf.string))
        pixels, label, mean, scale = (features[name] for name in _FEATURES)
        if self.has_objects:
            both = (label, features[preprocessing.OBJECTS])
            label = tf.stack([tf.cast(values, tf.int32) for values in both], axis=-1)
        return self._normalized(indices, pixels, label, mean, scale)

    @property
    def _pixel_type(self) -> tf.DType:
        return tf.as_dtype(self.shape.stored_type)

    @property
    def _label_type(self) -> tf.DType:
        return tf.int32 if self.has_objects else tf.uint8

    def _cached(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rows = self._images_read[indices]
        if not self.has_objects:
            return self.pixels[rows], self.labels[rows]
        return self.pixels[rows], np.stack([self.labels[rows], self.objects[rows]], axis=-1, dtype=np.int32)

    def _normalized(
        self,
        indices: tf.Tensor,
        pixels: tf.Tensor,
        label: tf.Tensor,
        mean: tf.Tensor | None = None,
        scale: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        if mean is None or scale is None:
            rows = [tf.size(indices), 1]
            mean, scale = tf.tile(self._mean, rows), tf.tile(self._scale, rows)
        size = (self.shape.height, self.shape.width)
        pixels = tf.ensure_shape(pixels, [*indices.shape, *size, self.shape.num_channels])
        kinds = [2] if self.has_objects else []
        return preprocessing.normalize(pixels, mean, scale), tf.ensure_shape(label, [*indices.shape, *size, *kinds])

    def classes_shown(self, num_classes: int) -> np.ndarray:
        """[N, C] bool: which classes each example shows. Needs a cache."""
        labels = (self.labels[row] for row in self._images_read)
        return np.array([np.bincount(label.ravel(), minlength=256)[:num_classes] > 0 for label in labels])

    def _read(self, indices: np.ndarray) -> np.ndarray:
        records = []
        for path, offset, length in (self._records[row] for row in self._images_read[indices]):
            # TensorFlow's files keep blocks of a remote one at hand, as reading here and there needs.
            with tf.io.gfile.GFile(path, "rb") as file:
                file.seek(offset)
                records.append(file.read(length))
        return np.array(records, object)

    def source_ids(self, indices: np.ndarray) -> list[str]:
        """Names of examples."""
        if self._records:
            ids = _names(tf.constant(self._read(indices)))[0].numpy()
        else:
            ids = [self._source_ids[row] for row in self._images_read[indices]]
        return [name.decode(errors="replace") for name in ids]

    def groups(self) -> list[str]:
        """For each image what must not be torn apart: its group, or its name if it has none."""
        if self._records:
            # One record at a time, as they are not kept.
            found = [_names(tf.constant(self._read(np.array([i]))))[1].numpy()[0] for i in range(self.count)]
        else:
            found = [self._groups[row] for row in self._images_read]
        return [name.decode(errors="replace") for name in found]


def new_array(folder: str, name: str, shape: tuple[int, ...], dtype: Any = np.uint8) -> np.ndarray:
    """An array to be filled, in a file of a folder, or in memory if that is ""."""
    if not folder:
        return np.empty(shape, dtype)
    return np.lib.format.open_memmap(os.path.join(folder, f"{name}.npy"), "w+", dtype, shape)


def _names(records: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """[batch] names of examples, and their groups, which are these names where there are none."""
    spec = {
        name: tf.io.FixedLenFeature([], tf.string, default_value="")
        for name in (contract.SOURCE_ID, contract.GROUP, contract.IMAGE)
    }
    parsed = tf.io.parse_example(records, spec)
    names = tf.numpy_function(
        lambda ids, images: np.array([*map(contract.example_name, ids, images)], object),
        [parsed[contract.SOURCE_ID], parsed[contract.IMAGE]],
        tf.string,
    )
    return names, tf.where(parsed[contract.GROUP] == "", names, parsed[contract.GROUP])


def _record_index(paths: list[str]) -> list[tuple[str, int, int]]:
    """Path, offset and length in bytes of each record of plain TFRecord files: length, its CRC, data, their CRC."""
    records = []
    for path in paths:
        with tf.io.gfile.GFile(path, "rb") as file:
            size, offset = file.size(), 0
            while offset < size:
                file.seek(offset)
                length = int.from_bytes(file.read(8), "little")
                records.append((path, offset + 12, length))
                offset += 12 + length + 4
    return records


def training_batches(
    examples: DecodedExamples,
    order: TrainingOrder,
    settings: TrainSettings,
    first_step: int,
    halvings: int = 0,
    worker: Worker = ALONE,
) -> tf.data.Dataset:
    """Endless batches, from a step on.

    Args:
      examples: of the train split.
      order: of the steps.
      settings: of the training run.
      first_step: counted from 0 over all epochs.
      halvings: how often height and width of image and label are halved, rounded up.
      worker: whose share of the batches it is; no other images are read or decoded.

    Returns:
      What `prepared_on_device` takes: augmented `image` [batch, height, width, channels] float32 and `label` [batch,
      height, width] uint8, or with objects, instead of the label, what the model learns of it. With `augment_on:
      device` images and labels that are not augmented yet, [batch, 2] the step's seed, and [batch] places in the step.
    """
    first, end = worker.share(settings.batch_size)
    part = Part(first, settings.batch_size)

    @tf.autograph.experimental.do_not_convert
    def prepare(indices: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, ...]:
        # Not the seed of the augmentation: the two must be independent.
        of_windows = tf.random.experimental.stateless_fold_in(seed, 1)
        image, label = halve(*examples.take(indices[first:end], of_windows, part), halvings)
        if settings.augment_on == "device":
            return image, label, tf.tile(seed[tf.newaxis], [end - first, 1]), tf.range(first, end)
        return _augmented(examples, settings, image, label, seed, part)

    batches = order.batches(first_step).map(prepare, num_parallel_calls=tf.data.AUTOTUNE)
    return worker.divided(batches, end - first).prefetch(tf.data.AUTOTUNE).with_options(_options())


def prepared_on_device(examples: DecodedExamples, settings: TrainSettings) -> Callable[..., tuple[tf.Tensor, ...]]:
    """What a training step does with a batch before the model sees it: with `augment_on: device` it augments it.

    Args:
      examples: of the train split.
      settings: of the training run.

    Returns:
      A function from a batch of `training_batches`, or a replica's share of one, to images and labels.
    """

    def augmented(
        image: tf.Tensor, label: tf.Tensor, seeds: tf.Tensor, places: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        return _augmented(examples, settings, image, label, seeds[0], Part(places[0], settings.batch_size))

    return augmented if settings.augment_on == "device" else lambda *batch: batch


def _augmented(
    examples: DecodedExamples, settings: TrainSettings, image: tf.Tensor, label: tf.Tensor, seed: tf.Tensor, part: Part
) -> tuple[tf.Tensor, tf.Tensor]:
    image, label = augment(image, label, seed, part, **settings.augmentation.of_images(examples.shape))
    return image, examples.targets(label)


def evaluation_batches(
    examples: DecodedExamples, batch_size: int, halvings: int = 0, replicas: int = 1, worker: Worker = ALONE
) -> tf.data.Dataset:
    """All examples once, in batches as `training_batches` gives them, with height and width halved `halvings` times.

    For several replicas the last batch is filled up with images whose labels are 255: Keras cannot evaluate a replica's
    share of no image.

    Args:
      examples: of the eval split.
      batch_size: images of a batch.
      halvings: as for `training_batches`.
      replicas: of all workers together.
      worker: as for `training_batches`.
    """
    size = -(-batch_size // replicas) * replicas if replicas > 1 else batch_size
    first, end = worker.share(size)

    @tf.autograph.experimental.do_not_convert
    def take(indices: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        if replicas == 1:
            image, label = halve(*examples.take(indices), halvings)
            return image, examples.targets(label)
        indices = tf.pad(indices, [[0, size - tf.size(indices)]], constant_values=-1)[first:end]
        image, label = halve(*examples.take(tf.maximum(indices, 0)), halvings)
        is_filler = tf.reshape(indices < 0, [-1, *([1] * (label.shape.rank - 1))])
        return image, examples.targets(tf.where(is_filler, tf.cast(contract.IGNORE_LABEL, label.dtype), label))

    batches = tf.data.Dataset.range(examples.count).batch(batch_size).map(take, num_parallel_calls=tf.data.AUTOTUNE)
    return worker.divided(batches, end - first).prefetch(tf.data.AUTOTUNE).with_options(_options())


def _options() -> tf.data.Options:
    options = tf.data.Options()
    # Workers take their shares by themselves.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    # The arrays behind `DecodedExamples` are not part of TensorFlow's graph, and do not change.
    options.experimental_external_state_policy = tf.data.experimental.ExternalStatePolicy.IGNORE
    return options
