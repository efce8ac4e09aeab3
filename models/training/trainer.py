"""The trainer: TFX calls `run_fn`, which fits a model and exports the best weights as a SavedModel."""

from __future__ import annotations

import contextlib
import logging
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tensorflow_transform as tft

from data.base.files import find
from data.contract import IGNORE_LABEL
from data.label_map import LabelMap
from models.decoders.deep_supervision import deeply_supervised
from models.ensemble import folds
from models.ensemble.average import average
from models.inputs import input_pipeline
from models.inputs.order import TrainingOrder, class_balanced_copies
from models.inputs.patches import Patches
from models.instances.loss import ClassesMeanIoU, ObjectLoss
from models.losses.segmentation_loss import SegmentationLoss
from models.network import build_model
from models.serving import signatures
from models.training import checkpoints
from models.training.learning_rates import follow_statistics, fuse, slow_down
from models.training.loop import TrainingError, fit
from models.training.pace import pace_of
from models.training.settings import TrainerConfig, TrainSettings
from models.training.warm_start import warm_start
from models.tuning import search_space

_LOG = logging.getLogger("segpipe.training")


def run_fn(fn_args: Any) -> None:
    """Trains and exports; called by TFX's Trainer.

    Args:
      fn_args: TFX's FnArgs; `custom_config` holds a `TrainerConfig`, and `hyperparameters` the tuner's best values,
        which take precedence, or None.

    Raises:
      TrainingError: if the loss is no longer a number, or the data set's statistics are missing.
    """
    settings = TrainerConfig.model_validate(fn_args.custom_config).train
    train(fn_args, distribution_strategy(settings))


def train(fn_args: Any, strategy: tf.distribute.Strategy) -> None:
    """Trains with a strategy; of several workers only the first one writes anything.

    Args:
      fn_args: TFX's FnArgs; `custom_config` holds a `TrainerConfig`.
      strategy: where the model lives.

    Raises:
      TrainingError: as `run_fn`.
    """
    config = TrainerConfig.model_validate(fn_args.custom_config)
    if fn_args.hyperparameters:
        tuned = search_space.from_choices(fn_args.hyperparameters["values"])
        _LOG.info("with the tuner's %s", search_space.describe(tuned))
        config = config.with_values(tuned)
    settings = config.train
    worker = strategy.cluster_resolver.task_id if settings.strategy == "multi_worker" else 0
    label_map = LabelMap.model_validate(config.label_map)
    require_statistics(config)

    if settings.deterministic:
        tf.config.experimental.enable_op_determinism()
    transform = tft.TFTransformOutput(fn_args.transform_output).transform_features_layer()

    root = config.checkpoints or os.path.join(fn_args.model_run_dir, "checkpoints")
    identity = [config.model_dump(mode="json"), fn_args.train_files, fn_args.eval_files, fn_args.transform_output]
    initial_weights = config.model.chosen_encoder.starting_weights(download=True).words
    folder = checkpoints.run_folder(root, *identity, initial_weights)
    if not worker:
        checkpoints.delete_exported(root, keep=folder)
    with decoded_examples(fn_args, config, transform, together=settings.folds > 1) as decoded:
        members = folds.members(config, decoded)
        trained: list[checkpoints.Checkpoints] = []
        for member in members:
            keras.utils.clear_session(free_memory=bool(trained))
            if member.name:
                _LOG.info("model %d of %d", member.config.member + 1, len(members))
            logs = "" if worker else os.path.join(fn_args.model_run_dir, member.name)
            data, place = (member.training, member.evaluation), os.path.join(folder, member.name)
            trained.append(train_model(member.config, strategy, *data, place, logs, worker))
        if worker:
            return

        # Served in float32 whatever they were trained in: the machine that serves need not have bfloat16.
        models = [_build(config, len(label_map), "float32") for _ in members]
        for model, member, saved in zip(models, members, trained, strict=True):
            saved.load_best_weights(model)
            model.save_weights(os.path.join(fn_args.model_run_dir, member.name, "best.weights.h5"))
        epochs = sum(saved.epochs for saved in trained) / len(trained)
        facts = {**_facts(config), "initial_weights": initial_weights, "trained_epochs": round(epochs, 2)}
        if facts["held_out"]:
            folds.write_doubts(members, models, fn_args.model_run_dir)
    whole = average(models, len(label_map), settings.test_time_flips)
    signatures.export(whole, transform, fn_args.serving_model_dir, facts, config.objects)
    checkpoints.mark_exported(folder)


def require_statistics(config: TrainerConfig) -> None:
    """Raises a TrainingError if the component did not put in the data gate's statistics."""
    if "splits" not in config.statistics:
        raise TrainingError("the data gate's statistics are missing; connect them to the Trainer and Tuner components")


def train_model(
    config: TrainerConfig,
    strategy: tf.distribute.Strategy,
    training: input_pipeline.DecodedExamples,
    evaluation: input_pipeline.DecodedExamples,
    folder: str,
    logs: str,
    worker: int = 0,
) -> checkpoints.Checkpoints:
    """Trains the configured model, from its newest checkpoint on if there is one.

    Args:
      config: what to train, and how.
      strategy: where the model lives.
      training: the train split.
      evaluation: the eval split.
      folder: for the checkpoints of this training and no other.
      logs: folder for TensorBoard's curves, or "" for none.
      worker: index of this worker among several.

    Returns:
      The checkpoints, with the best weights among them.

    Raises:
      TrainingError: as `fit`.
    """
    settings, label_map = config.train, LabelMap.model_validate(config.label_map)
    keras.utils.set_random_seed(settings.seed)
    precision = resolve_precision(settings)
    copies = None
    if settings.sampling == "class_balanced":
        copies = class_balanced_copies(training.classes_shown(len(label_map)))
    order = TrainingOrder(training.count, settings.batch_size, settings.seed, copies)
    pace = pace_of(settings, config.stages, order.steps_per_epoch)
    saved = checkpoints.Checkpoints(folder, settings, pace, worker)
    _LOG.info(
        "%d training %s, %d steps an epoch, %s, %d replica(s)",
        training.count,
        training.unit,
        order.steps_per_epoch,
        precision,
        strategy.num_replicas_in_sync,
    )
    _LOG.info("the encoder starts from %s", config.model.chosen_encoder.starting_weights(download=True).words)
    weights = class_weights(config.statistics, label_map.names, settings.class_weights)

    saved.find()
    # A model of another size, or one with a checkpoint, goes on from what the first one has learned.
    starts_warm = bool(config.deployed_model) and not saved.step

    def make_model(halvings: int) -> keras.Model:
        nonlocal starts_warm
        with strategy.scope():
            model = compiled_model(config.halved(halvings), len(label_map), precision, weights)
        if starts_warm:
            warm_start(model, config)
            starts_warm = False
        return model

    with saved.saving_on_signals():
        fit(make_model, pace, strategy, training, evaluation, order, settings, saved, logs)
    return saved


@contextlib.contextmanager
def decoded_examples(
    fn_args: Any, config: TrainerConfig, transform: Any, together: bool = False
) -> Iterator[list[input_pipeline.DecodedExamples]]:
    """The train and the eval split, or both `together`; examples that were kept on disk are deleted at the end."""
    shape = config.preprocessing
    splits = {"train": fn_args.train_files, "eval": fn_args.eval_files}
    statistics = {split: config.statistics["splits"][split] for split in splits}
    examples, pixels = ({split: of[name] for split, of in statistics.items()} for name in ("examples", "pixels"))
    paths = [file.path for patterns in splits.values() for pattern in patterns for file in find(pattern)]
    num_pixels = (
        pixels if shape.resize == "none" else {name: n * shape.height * shape.width for name, n in examples.items()}
    )
    num_bytes = sum(num_pixels.values()) * input_pipeline.pixel_bytes(shape, config.objects is not None)
    cache = input_pipeline.resolve_cache(config.train, shape, num_bytes, paths)
    _check_disk(cache, num_bytes)
    _LOG.info("decoded images are kept: %s", cache)
    if together:
        splits = {"all": [pattern for patterns in splits.values() for pattern in patterns]}
        examples, pixels = ({"all": sum(of.values())} for of in (examples, pixels))
    on_disk = tempfile.TemporaryDirectory(prefix="segpipe-cache-") if cache == "disk" else contextlib.nullcontext("")
    with on_disk as scratch:
        decoded: list[input_pipeline.DecodedExamples] = []
        for split, patterns in splits.items():
            folder = os.path.join(scratch, split) if scratch else ""
            if folder:
                os.mkdir(folder)
            if shape.resize == "none":
                sizes = (examples[split], pixels[split])
                decoded.append(Patches(patterns, transform, shape, *sizes, folder, config.objects))
            else:
                place = None if cache == "none" else folder
                count = examples[split]
                decoded.append(input_pipeline.DecodedExamples(patterns, transform, shape, count, place, config.objects))
        yield decoded


def _facts(config: TrainerConfig) -> dict[str, Any]:
    """What users of the model need to know."""
    label_map, objects = LabelMap.model_validate(config.label_map), config.objects
    return {
        "task": config.task,
        "things": [name for name, thing in zip(label_map.names, objects.is_thing, strict=True) if thing]
        if objects
        else [],
        "label_map": config.label_map,
        "preprocessing": config.preprocessing.model_dump(mode="json", exclude_none=True),
        "model": config.model.model_dump(mode="json"),
        "train": config.train.model_dump(mode="json"),
        "held_out": folds.are_held_out(config),
        # That a warm start began with; "" if there was none.
        "deployed_model": config.deployed_model,
        # What the model learned from, so that later data can be compared with it.
        "statistics": config.statistics,
    }


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
    weights: np.ndarray | None = None,
) -> keras.Model:
    """The configured model with optimizer, loss and metric; call it in the scope of the strategy.

    Args:
      config: what to build.
      num_classes: C.
      precision: Keras' dtype policy.
      weights: [C] weights of each class's pixels in the loss, or None.

    Raises:
      UserError: if the encoder's pretrained weights cannot be used.
    """
    model = _build(config, num_classes, precision)
    pretrained = [
        variable
        for layer in config.model.chosen_encoder.load_weights(model) or []
        for variable in layer.trainable_variables
    ]
    model = deeply_supervised(model, config.model.chosen_decoder.supervised_maps(model))
    follow_statistics(model)
    optimizer = inner = _optimizer(config.train)
    # As usual: He et al., "Bag of Tricks for Image Classification", 2019, section 3.1. And pretrained weights would
    # decay towards zero, not towards what they were.
    optimizer.exclude_from_weight_decay(var_list=pretrained, var_names=["bias", "gamma", "beta"])
    if precision == "mixed_float16":  # Keras would by itself if the policy were the global one.
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    loss: keras.losses.Loss = SegmentationLoss(config.train.loss.values(), weights)
    model.compile(
        optimizer=optimizer,
        loss=ObjectLoss(loss) if config.has_objects else loss,
        metrics=[ClassesMeanIoU(num_classes) if config.has_objects else mean_iou_metric(num_classes)],
        jit_compile=_jit_compile(config.train),
    )
    # Variables that come into being while the training step is traced make TensorFlow trace it twice.
    model.optimizer.build(model.trainable_variables)
    fuse(inner)
    slow_down(inner, config.train.pretrained_learning_rate, pretrained)
    return model


def _jit_compile(settings: TrainSettings) -> bool | str:
    if settings.xla != "auto":
        return settings.xla == "on"
    # On a CPU a step took four times as long when XLA had compiled it.
    return "auto" if _gpus(settings) or settings.devices == "tpu" else False


def _build(config: TrainerConfig, num_classes: int, precision: str) -> keras.Model:
    shape = config.preprocessing
    size = (shape.height, shape.width, shape.num_channels)
    return build_model(config.model, size, num_classes, precision, config.has_objects)


def mean_iou_metric(num_classes: int) -> keras.metrics.Metric:
    """Keras' mean IoU of logits, with label 255 not counted."""
    return keras.metrics.MeanIoU(num_classes, ignore_class=IGNORE_LABEL, sparse_y_pred=False, name="mean_iou")


def _optimizer(settings: TrainSettings) -> keras.optimizers.Optimizer:
    optimizer = keras.optimizers.get(
        {
            "class_name": settings.optimizer,
            "config": {
                # The training loop changes it: a schedule in the graph would be traced for each variable.
                "learning_rate": settings.learning_rate,
                "weight_decay": settings.weight_decay or None,
                "global_clipnorm": settings.gradient_clip_norm or None,
                "use_ema": settings.ema_momentum > 0,
                "ema_momentum": settings.ema_momentum,
                **({"momentum": 0.9, "nesterov": True} if settings.optimizer == "sgd" else {}),
            },
        }
    )
    if settings.ema_momentum:
        # A variable, which the training loop changes too; a number would stay as it was when the step was traced.
        optimizer.ema_momentum = keras.Variable(settings.ema_momentum, trainable=False, name="ema_momentum")
    return optimizer


def distribution_strategy(settings: TrainSettings) -> tf.distribute.Strategy:
    """The devices of this machine to train on.

    Raises:
      TrainingError: if there are none of the kind that is wanted.
    """
    if settings.devices == "tpu":
        try:
            resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu="local")
            tf.config.experimental_connect_to_cluster(resolver)
            tf.tpu.experimental.initialize_tpu_system(resolver)
        except (ValueError, tf.errors.OpError) as error:
            reason = str(error).strip().splitlines()[0]
            raise TrainingError(f"train.devices: tpu, but TensorFlow reaches none: {reason}") from None
        return tf.distribute.TPUStrategy(resolver)
    gpus = tf.config.list_logical_devices("GPU")
    if settings.devices == "gpu" and not gpus:
        raise TrainingError(
            "train.devices: gpu, but TensorFlow sees none; install its CUDA libraries (pip install "
            "'tensorflow[and-cuda]', of the installed version) and the driver, or set it to auto"
        )
    devices = gpus if gpus and settings.devices != "cpu" else tf.config.list_logical_devices("CPU")
    if settings.strategy == "mirrored" or (settings.strategy == "auto" and len(devices) > 1 and devices is gpus):
        return tf.distribute.MirroredStrategy([device.name for device in devices])
    return tf.distribute.OneDeviceStrategy(devices[0].name) if gpus else tf.distribute.get_strategy()


def _gpus(settings: TrainSettings) -> list[Any]:
    return tf.config.list_physical_devices("GPU") if settings.devices in ("auto", "gpu") else []


def resolve_precision(settings: TrainSettings) -> str:
    """Keras' dtype policy for `auto`: mixed_bfloat16 where the hardware computes in it, else float32."""
    if settings.precision != "auto":
        return settings.precision
    if settings.devices == "tpu":
        return "mixed_bfloat16"
    gpus = _gpus(settings)
    if gpus:
        capability = tf.config.experimental.get_device_details(gpus[0]).get("compute_capability", (0, 0))
        return "mixed_bfloat16" if capability >= (8, 0) else "float32"
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    flags = cpuinfo.read_text().split() if cpuinfo.exists() else []
    return "mixed_bfloat16" if "avx512_bf16" in flags or "amx_bf16" in flags else "float32"


def class_weights(statistics: dict[str, Any], class_names: tuple[str, ...], kind: str) -> np.ndarray | None:
    """Weights of each class's pixels in the loss: median frequency / frequency in the train split, or its root.

    After Eigen and Fergus, "Predicting Depth, Surface Normals and Semantic Labels", 2015, section 6.3.2, with the
    class's share of all labeled pixels as its frequency.

    Args:
      statistics: the data gate's.
      class_names: in the order of the ids.
      kind: `median_frequency`, `root_median_frequency`, or `none`, for which None is returned.
    """
    if kind == "none":
        return None
    shares = statistics["splits"]["train"]["pixel_shares"]
    frequencies = np.array([shares[name] for name in class_names])
    weights = np.median(frequencies) / np.maximum(frequencies, 1e-6)
    return np.sqrt(weights) if kind == "root_median_frequency" else weights
