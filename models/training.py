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
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tensorflow_transform as tft

from data.contract import IGNORE_LABEL
from data.errors import UserError
from data.label_map import LabelMap
from models import checkpoints, input_pipeline, signatures
from models.losses import SegmentationLoss
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

    keras.utils.set_random_seed(settings.seed)
    if settings.deterministic:
        tf.config.experimental.enable_op_determinism()
    strategy = distribution_strategy(settings)
    precision = resolve_precision(settings.precision)
    transform = tft.TFTransformOutput(fn_args.transform_output).transform_features_layer()

    root = config.checkpoints or os.path.join(fn_args.model_run_dir, "checkpoints")
    identity = [config.model_dump(mode="json"), fn_args.train_files, fn_args.eval_files, fn_args.transform_output]
    folder = checkpoints.run_folder(root, *identity)
    checkpoints.delete_exported(root, keep=folder)
    with _examples(fn_args, config, transform) as (train, evaluation):
        copies = None
        if settings.sampling == "class_balanced":
            copies = input_pipeline.class_balanced_copies(train.labels, len(label_map))
        order = input_pipeline.TrainingOrder(train.count, settings.batch_size, settings.seed, copies)
        saved = checkpoints.Checkpoints(folder, settings, order.steps_per_epoch)
        _LOG.info(
            "%d training images, %d steps an epoch, %s, %d replica(s)",
            train.count,
            order.steps_per_epoch,
            precision,
            strategy.num_replicas_in_sync,
        )
        weights = class_weights(config.statistics, label_map.names, settings.class_weights)
        with strategy.scope():
            model = compiled_model(config, len(label_map), precision, order.steps_per_epoch, weights)
        saved.resume()
        with saved.saving_on_signals():
            _fit(model, train, evaluation, order, settings, saved, fn_args.model_run_dir)

    # Served in float32 whatever it was trained in: the machine that serves need not have bfloat16.
    serving_model = _build(config, len(label_map), "float32")
    saved.load_best_weights(serving_model)
    serving_model.save_weights(os.path.join(fn_args.model_run_dir, "best.weights.h5"))
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
    saved.mark_exported()


@contextlib.contextmanager
def _examples(
    fn_args: Any, config: TrainerConfig, transform: Any
) -> Iterator[tuple[input_pipeline.Examples, input_pipeline.Examples]]:
    """The train and the eval split; decoded examples on disk are deleted at the end."""
    shape = config.preprocessing
    splits = {"train": fn_args.train_files, "eval": fn_args.eval_files}
    counts = {split: config.statistics["splits"][split]["examples"] for split in splits}
    paths = [path for patterns in splits.values() for pattern in patterns for path in tf.io.gfile.glob(pattern)]
    cache = input_pipeline.resolve_cache(config.train, shape, sum(counts.values()), paths)
    _check_disk(cache, sum(counts.values()) * input_pipeline.example_bytes(shape))
    _LOG.info("decoded images are kept: %s", cache)
    on_disk = tempfile.TemporaryDirectory(prefix="segpipe-cache-") if cache == "disk" else contextlib.nullcontext("")
    with on_disk as scratch:
        examples = []
        for split, patterns in splits.items():
            folder = os.path.join(scratch, split) if scratch else ""
            if folder:
                os.mkdir(folder)
            place = None if cache == "none" else folder
            examples.append(input_pipeline.Examples(patterns, transform, shape, counts[split], place))
        yield examples[0], examples[1]


def _fit(
    model: keras.Model,
    train: input_pipeline.Examples,
    evaluation: input_pipeline.Examples,
    order: input_pipeline.TrainingOrder,
    settings: TrainSettings,
    saved: checkpoints.Checkpoints,
    logs: str,
) -> None:
    """Trains from the step of the checkpoint to the end: what is left of an epoch, then whole epochs."""
    callbacks = [
        _Progress(settings, train, order, saved),
        saved,
        *([keras.callbacks.SwapEMAWeights()] if settings.ema_momentum else []),
        keras.callbacks.TensorBoard(log_dir=logs, write_graph=False),
    ]
    while not saved.is_finished:
        epoch, within = divmod(saved.step, order.steps_per_epoch)
        model.fit(
            input_pipeline.training_batches(train, order, settings, saved.step),
            initial_epoch=epoch,
            epochs=epoch + 1 if within else settings.epochs,
            steps_per_epoch=order.steps_per_epoch - within,
            validation_data=input_pipeline.evaluation_batches(evaluation, settings.batch_size),
            verbose=0,
            callbacks=callbacks,
        )


def _check_disk(cache: str, needed: int) -> None:
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    if cache == "disk" and needed > free:
        raise TrainingError(
            f"train.cache: disk needs {needed / 1e9:.1f} GB in {folder}, which has {free / 1e9:.1f} GB free; "
            "set TMPDIR to another folder, or train.cache to none"
        )


def compiled_model(
    config: TrainerConfig,
    num_classes: int,
    precision: str,
    steps_per_epoch: int,
    weights: np.ndarray | None = None,
) -> keras.Model:
    """The configured model with optimizer, loss and metric; call it in the scope of the strategy.

    Args:
      config: of the trainer.
      num_classes: C.
      precision: Keras' dtype policy.
      steps_per_epoch: for the length of the learning-rate schedule.
      weights: [C] of the classes' pixels in the loss, or None.
    """
    model = _build(config, num_classes, precision)
    model.compile(
        optimizer=_optimizer(config.train, steps_per_epoch),
        loss=SegmentationLoss(config.train.loss, weights),
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
    return keras.optimizers.get(
        {
            "class_name": settings.optimizer,
            "config": {
                "learning_rate": _schedule(settings, steps_per_epoch),
                "weight_decay": settings.weight_decay or None,
                "global_clipnorm": settings.gradient_clip_norm or None,
                "use_ema": settings.ema_momentum > 0,
                "ema_momentum": settings.ema_momentum,
                **({"momentum": 0.9, "nesterov": True} if settings.optimizer == "sgd" else {}),
            },
        }
    )


def _schedule(settings: TrainSettings, steps_per_epoch: int) -> keras.optimizers.schedules.LearningRateSchedule:
    peak, schedules = settings.learning_rate, keras.optimizers.schedules
    warmup = min(settings.warmup_epochs, settings.epochs - 1) * steps_per_epoch
    steps = settings.epochs * steps_per_epoch - warmup
    after = {
        "cosine": lambda: schedules.CosineDecay(peak, steps),
        "polynomial": lambda: schedules.PolynomialDecay(peak, steps, end_learning_rate=0.0, power=0.9),
        "exponential": lambda: schedules.ExponentialDecay(peak, steps, decay_rate=0.01),
        "constant": lambda: schedules.ExponentialDecay(peak, steps, decay_rate=1.0),
    }[settings.schedule]()
    return WarmUp(after, warmup) if warmup else after


@keras.saving.register_keras_serializable("segpipe")
class WarmUp(keras.optimizers.schedules.LearningRateSchedule):
    """Linear from zero to the first value of another schedule, which then follows."""

    def __init__(self, after: keras.optimizers.schedules.LearningRateSchedule, steps: int):
        super().__init__()
        self.after, self.steps = after, steps

    def __call__(self, step: Any) -> Any:
        step = keras.ops.cast(step, "float32")
        rising = self.after(0) * step / self.steps
        return keras.ops.where(step < self.steps, rising, self.after(keras.ops.maximum(step - self.steps, 0)))

    def get_config(self) -> dict[str, Any]:
        return {"after": keras.saving.serialize_keras_object(self.after), "steps": self.steps}


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


class _Progress(keras.callbacks.Callback):
    """Logs each epoch, and stops when the loss is no longer a number."""

    def __init__(
        self,
        settings: TrainSettings,
        train: input_pipeline.Examples,
        order: input_pipeline.TrainingOrder,
        saved: checkpoints.Checkpoints,
    ):
        super().__init__()
        self._settings, self._train, self._order, self._saved = settings, train, order, saved
        self._started = self._seconds = 0.0
        self._first_step = 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._started, self._first_step = time.monotonic(), self._saved.step

    def on_test_begin(self, logs: dict[str, float] | None = None) -> None:
        self._seconds = time.monotonic() - self._started

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        if logs and not math.isfinite(logs["loss"]):
            names = self._train.source_ids(self._order.step(self._saved.step))
            raise TrainingError(
                f"the loss is no longer a finite number at step {self._saved.step}, with the images "
                f"{', '.join(names)}; lower train.learning_rate, set train.gradient_clip_norm, or set train.precision "
                "to float32"
            )

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        logs = logs or {}
        _LOG.info(
            "epoch %d/%d: loss %.3f, mean IoU on eval %.3f, trained on %.1f images/s",
            epoch + 1,
            self._settings.epochs,
            logs["loss"],
            logs["val_mean_iou"],
            (self._saved.step - self._first_step) * self._settings.batch_size / self._seconds,
        )
