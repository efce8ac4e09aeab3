"""The trainer: TFX calls `run_fn`, which fits a U-Net and exports the best weights as a SavedModel."""

from __future__ import annotations

import logging
import math
import os
import pathlib
import time
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tensorflow_transform as tft

from data.contract import IGNORE_LABEL
from data.label_map import LabelMap
from models import preprocessing, signatures
from models.augmentation import augment
from models.settings import TrainerConfig, TrainSettings
from models.unet import build_unet

_LOG = logging.getLogger("segpipe.training")
_SHUFFLE_BUFFER = 4096
# Share of this machine's memory that decoded examples may take up; above it each epoch decodes anew.
_CACHE_SHARE = 0.25


class TrainingError(RuntimeError):
    """Training cannot go on; the message says why and what to change."""


def run_fn(fn_args: Any) -> None:
    """Trains and exports; called by TFX's Trainer.

    Args:
      fn_args: TFX's FnArgs; `custom_config` holds a `TrainerConfig`.

    Raises:
      TrainingError: if the loss is no longer a number, or the data set's statistics are missing.
    """
    config = TrainerConfig.model_validate(fn_args.custom_config)
    settings = config.train
    label_map = LabelMap.model_validate(config.label_map)
    if "splits" not in config.statistics:
        raise TrainingError("the data gate's statistics are missing; connect them to the Trainer component")
    num_train = config.statistics["splits"]["train"]["examples"]
    num_eval = config.statistics["splits"]["eval"]["examples"]

    keras.utils.set_random_seed(settings.seed)
    strategy = distribution_strategy(settings)
    precision = resolve_precision(settings.precision)
    transform = tft.TFTransformOutput(fn_args.transform_output).transform_features_layer()
    cached = _fits_in_memory(config, num_train + num_eval)
    train = _augmented(
        _examples(fn_args.train_files, transform, settings.batch_size, cached), num_train, config, label_map
    )
    evaluation = _examples(fn_args.eval_files, transform, settings.batch_size, cached).batch(settings.batch_size)

    steps_per_epoch = math.ceil(num_train / settings.batch_size)
    _LOG.info(
        "%d training images, %d steps an epoch, %s, %d replica(s)%s",
        num_train,
        steps_per_epoch,
        precision,
        strategy.num_replicas_in_sync,
        "" if cached else "; too many to keep decoded in memory, each epoch decodes anew",
    )
    with strategy.scope():
        model = compiled_model(config, len(label_map), precision, steps_per_epoch)
    best = os.path.join(fn_args.model_run_dir, "best.weights.h5")
    tf.io.gfile.makedirs(fn_args.model_run_dir)
    model.fit(
        _distributable(train),
        epochs=settings.epochs,
        steps_per_epoch=steps_per_epoch,
        validation_data=_distributable(evaluation),
        verbose=0,
        callbacks=[
            _Progress(settings.epochs, steps_per_epoch * settings.batch_size),
            keras.callbacks.ModelCheckpoint(
                best, monitor="val_mean_iou", mode="max", save_best_only=True, save_weights_only=True
            ),
            keras.callbacks.TensorBoard(log_dir=fn_args.model_run_dir, write_graph=False),
        ],
    )

    # Served in float32 whatever it was trained in: the machine that serves need not have bfloat16.
    serving_model = _build(config, len(label_map), "float32")
    serving_model.load_weights(best)
    signatures.export(
        serving_model,
        transform,
        fn_args.serving_model_dir,
        {
            "label_map": config.label_map,
            "preprocessing": config.preprocessing.model_dump(),
            "model": config.model.model_dump(),
        },
    )


def compiled_model(config: TrainerConfig, num_classes: int, precision: str, steps_per_epoch: int) -> keras.Model:
    """The configured model with optimizer, loss and metric; call it in the scope of the strategy.

    Args:
      config: of the trainer.
      num_classes: C.
      precision: Keras' dtype policy.
      steps_per_epoch: for the length of the learning-rate schedule.
    """
    model = _build(config, num_classes, precision)
    model.compile(
        optimizer=_optimizer(config.train, steps_per_epoch),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=IGNORE_LABEL),
        metrics=[mean_iou_metric(num_classes)],
        # On a CPU a step compiled by XLA took four times as long as one that was not.
        jit_compile="auto" if tf.config.list_physical_devices("GPU") else False,
    )
    return model


def _build(config: TrainerConfig, num_classes: int, precision: str) -> keras.Model:
    shape = config.preprocessing
    return build_unet(
        (shape.height, shape.width, shape.channels), num_classes, dtype=precision, **config.model.model_dump()
    )


def mean_iou_metric(num_classes: int) -> keras.metrics.Metric:
    """Keras' mean IoU over logits, with label 255 not counted."""
    return keras.metrics.MeanIoU(num_classes, ignore_class=IGNORE_LABEL, sparse_y_pred=False, name="mean_iou")


def _optimizer(settings: TrainSettings, steps_per_epoch: int) -> keras.optimizers.Optimizer:
    warmup = min(settings.warmup_epochs, settings.epochs - 1) * steps_per_epoch
    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if warmup else settings.learning_rate,
        decay_steps=settings.epochs * steps_per_epoch - warmup,
        warmup_target=settings.learning_rate if warmup else None,
        warmup_steps=warmup,
    )
    return keras.optimizers.AdamW(schedule, weight_decay=settings.weight_decay)


def distribution_strategy(settings: TrainSettings) -> tf.distribute.Strategy:
    """One device, all local devices, or the workers that TF_CONFIG names."""
    if settings.strategy == "mirrored":
        devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        return tf.distribute.MirroredStrategy([device.name for device in devices])
    if settings.strategy == "multi_worker":
        return tf.distribute.MultiWorkerMirroredStrategy()
    return tf.distribute.get_strategy()


def resolve_precision(precision: str) -> str:
    """Keras' dtype policy for `auto`: mixed_bfloat16 where the hardware computes in it, else float32."""
    if precision != "auto":
        return precision
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        capability = tf.config.experimental.get_device_details(gpus[0]).get("compute_capability", (0, 0))
        return "mixed_bfloat16" if capability >= (8, 0) else "float32"
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    flags = cpuinfo.read_text().split() if cpuinfo.exists() else []
    return "mixed_bfloat16" if "avx512_bf16" in flags or "amx_bf16" in flags else "float32"


def _fits_in_memory(config: TrainerConfig, num_examples: int) -> bool:
    shape = config.preprocessing
    example_bytes = shape.height * shape.width * (4 * shape.channels + 1)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return num_examples * example_bytes <= _CACHE_SHARE * memory


def _examples(patterns: list[str], transform: Any, batch_size: int, cached: bool) -> tf.data.Dataset:
    """Transformed examples: [height, width, channels] float32 and [height, width] uint8."""

    def parse_and_transform(serialized: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        features = transform(tf.io.parse_example(serialized, signatures.feature_spec()))
        return features[preprocessing.IMAGE], tf.cast(features[preprocessing.LABEL], tf.uint8)

    files = tf.data.Dataset.list_files(patterns, shuffle=False)
    dataset = (
        tf.data.TFRecordDataset(files, compression_type="GZIP")
        .batch(batch_size)
        .map(parse_and_transform, num_parallel_calls=tf.data.AUTOTUNE)
        .unbatch()
    )
    return dataset.cache() if cached else dataset


def _augmented(
    examples: tf.data.Dataset, num_examples: int, config: TrainerConfig, label_map: LabelMap
) -> tf.data.Dataset:
    """Endless training batches: image, label, and each pixel's weight if classes are weighted."""
    settings = config.train
    seeds = tf.data.Dataset.random(settings.seed, rerandomize_each_iteration=True).batch(2)
    batches = (
        examples.shuffle(min(num_examples, _SHUFFLE_BUFFER), seed=settings.seed)
        .repeat()
        .batch(settings.batch_size, drop_remainder=True)
    )
    # The ignored label's weight stands at index 255 like any other's.
    weights: np.ndarray = np.zeros(256, np.float32)
    if settings.class_weights != "none":
        weights[: len(label_map)] = class_weights(config.statistics, label_map.names)
    if settings.class_weights == "root_median_frequency":
        weights = np.sqrt(weights)

    def prepare(batch: tuple[tf.Tensor, tf.Tensor], seed: tf.Tensor) -> tuple[tf.Tensor, ...]:
        image, label = augment(*batch, seed, **settings.augmentation.model_dump())
        if settings.class_weights == "none":
            return image, label
        return image, label, tf.gather(weights, tf.cast(label, tf.int32))

    return (
        tf.data.Dataset.zip((batches, seeds))
        .map(prepare, num_parallel_calls=tf.data.AUTOTUNE)
        .prefetch(tf.data.AUTOTUNE)
    )


def class_weights(statistics: dict[str, Any], class_names: tuple[str, ...]) -> list[float]:
    """Median frequency / frequency of each class over the train split.

    After Eigen and Fergus, "Predicting Depth, Surface Normals and Semantic Labels", 2015, section 6.3.2, with the
    class's share of all labelled pixels as its frequency.

    Args:
      statistics: of the data gate.
      class_names: in the order of the ids.
    """
    shares = statistics["splits"]["train"]["pixel_shares"]
    frequencies = np.array([shares[name] for name in class_names])
    return (np.median(frequencies) / np.maximum(frequencies, 1e-6)).tolist()


def _distributable(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Lets several workers share a data set that has fewer files than there are workers."""
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return dataset.with_options(options)


class _Progress(keras.callbacks.Callback):
    """Logs each epoch, and stops when the loss is no longer a number."""

    def __init__(self, epochs: int, images_per_epoch: int):
        super().__init__()
        self._epochs, self._images = epochs, images_per_epoch
        self._started = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._started = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        if logs and not math.isfinite(logs["loss"]):
            raise TrainingError(
                "the loss is no longer a finite number; lower train.learning_rate, or set train.precision to float32"
            )

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        logs = logs or {}
        seconds = time.monotonic() - self._started
        _LOG.info(
            "epoch %d/%d: loss %.3f, mean IoU on eval %.3f, %.0f images/s",
            epoch + 1,
            self._epochs,
            logs["loss"],
            logs["val_mean_iou"],
            self._images / seconds,
        )
