"""The trainer: TFX calls `run_fn`, which fits a U-Net and exports the best weights as a SavedModel."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import pathlib
import shutil
import tempfile
import time
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tensorflow_transform as tft

from data.contract import IGNORE_LABEL
from data.errors import UserError
from data.label_map import LabelMap
from models import input_pipeline, signatures
from models.settings import TrainerConfig, TrainSettings
from models.unet import build_unet

_LOG = logging.getLogger("segpipe.training")


class TrainingError(UserError):
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
    cache = input_pipeline.resolve_cache(settings, config.preprocessing, num_train + num_eval)
    weights = class_weights(config.statistics, label_map.names, settings.class_weights)
    steps_per_epoch = math.ceil(num_train / settings.batch_size)
    _LOG.info(
        "%d training images, %d steps an epoch, %s, %d replica(s), decoded images kept: %s",
        num_train,
        steps_per_epoch,
        precision,
        strategy.num_replicas_in_sync,
        cache,
    )
    with strategy.scope():
        model = compiled_model(config, len(label_map), precision, steps_per_epoch)
    best = os.path.join(fn_args.model_run_dir, "best.weights.h5")
    tf.io.gfile.makedirs(fn_args.model_run_dir)
    _check_disk(cache, (num_train + num_eval) * input_pipeline.example_bytes(config.preprocessing))
    on_disk = tempfile.TemporaryDirectory(prefix="segpipe-cache-") if cache == "disk" else contextlib.nullcontext("")
    with on_disk as scratch:
        train, evaluation = (
            input_pipeline.examples(files, transform, None if cache == "none" else scratch and f"{scratch}/{split}")
            for split, files in (("train", fn_args.train_files), ("eval", fn_args.eval_files))
        )
        train = input_pipeline.training_batches(train, settings, config.preprocessing, num_train, weights)
        model.fit(
            _distributable(train),
            epochs=settings.epochs,
            steps_per_epoch=steps_per_epoch,
            validation_data=_distributable(input_pipeline.evaluation_batches(evaluation, settings.batch_size)),
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


def _check_disk(cache: str, needed: int) -> None:
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    if cache == "disk" and needed > free:
        raise TrainingError(
            f"train.cache: disk needs {needed / 1e9:.1f} GB in {folder}, which has {free / 1e9:.1f} GB free; "
            "set TMPDIR to another folder, or train.cache to none"
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
    # Variables that come into being while the training step is traced make TensorFlow trace it twice.
    model.optimizer.build(model.trainable_variables)
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


def class_weights(statistics: dict[str, Any], class_names: tuple[str, ...], kind: str) -> np.ndarray | None:
    """Weights of the classes' pixels in the loss: median frequency / frequency over the train split, or its root.

    After Eigen and Fergus, "Predicting Depth, Surface Normals and Semantic Labels", 2015, section 6.3.2, with the
    class's share of all labelled pixels as its frequency.

    Args:
      statistics: of the data gate.
      class_names: in the order of the ids.
      kind: `median_frequency`, `root_median_frequency`, or `none`, for which None is returned.
    """
    if kind == "none":
        return None
    shares = statistics["splits"]["train"]["pixel_shares"]
    frequencies = np.array([shares[name] for name in class_names])
    weights = np.median(frequencies) / np.maximum(frequencies, 1e-6)
    return np.sqrt(weights) if kind == "root_median_frequency" else weights


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
        self._started = self._seconds = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._started = time.monotonic()

    def on_test_begin(self, logs: dict[str, float] | None = None) -> None:
        self._seconds = time.monotonic() - self._started

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        if logs and not math.isfinite(logs["loss"]):
            raise TrainingError(
                "the loss is no longer a finite number; lower train.learning_rate, or set train.precision to float32"
            )

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        logs = logs or {}
        _LOG.info(
            "epoch %d/%d: loss %.3f, mean IoU on eval %.3f, trained on %.1f images/s",
            epoch + 1,
            self._epochs,
            logs["loss"],
            logs["val_mean_iou"],
            self._images / self._seconds,
        )
