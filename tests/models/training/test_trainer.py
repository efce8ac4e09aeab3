import json
import math
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from data.base.errors import UserError
from models.inputs.settings import PreprocessingSettings
from models.settings import ModelSettings
from models.training.learning_rates import learning_rates, moving_average_momentum, statistics_momentum
from models.training.settings import TrainerConfig, TrainSettings
from models.training.trainer import _check_disk, _optimizer, class_weights, compiled_model, resolve_precision


def test_class_weights_are_median_over_frequency():
    statistics = {"splits": {"train": {"pixel_shares": {"a": 0.6, "b": 0.3, "c": 0.1}}}}
    np.testing.assert_allclose(class_weights(statistics, ("a", "b", "c"), "median_frequency"), [0.5, 1.0, 3.0])
    roots = class_weights(statistics, ("a", "b", "c"), "root_median_frequency")
    np.testing.assert_allclose(roots, [0.5**0.5, 1.0, 3.0**0.5])
    assert class_weights(statistics, ("a", "b", "c"), "none") is None


def test_auto_precision_is_what_the_hardware_computes_in():
    flags = pathlib.Path("/proc/cpuinfo").read_text()
    expected = "mixed_bfloat16" if "avx512_bf16" in flags or "amx_bf16" in flags else "float32"
    assert resolve_precision(TrainSettings(devices="cpu")) == expected
    assert resolve_precision(TrainSettings(precision="float32")) == "float32"
    assert resolve_precision(TrainSettings(devices="tpu")) == "mixed_bfloat16"


_TRAIN_ON_A_GPU = """
from models.training.settings import TrainSettings
from models.training.trainer import distribution_strategy

distribution_strategy(TrainSettings(devices="gpu"))
"""


@pytest.mark.one_line
def test_a_gpu_that_is_not_there_is_missed(warm_python):
    finished = warm_python("-c", _TRAIN_ON_A_GPU, CUDA_VISIBLE_DEVICES="-1")
    assert finished.returncode == 1
    message = "TrainingError: train.devices: gpu, but TensorFlow sees none; install its CUDA libraries"
    assert message in finished.stderr.splitlines()[-1]


def test_a_cache_that_does_not_fit_on_the_disk_is_refused():
    _check_disk("none", 10**18)
    _check_disk("disk", 1)
    with pytest.raises(UserError, match=r"train.cache: disk needs 1000000000.0 GB in /.*; set TMPDIR"):
        _check_disk("disk", 10**18)


def test_a_model_too_deep_for_its_input_is_refused():
    with pytest.raises(ValueError, match="a depth of at most 5 would do"):
        TrainerConfig(
            preprocessing=PreprocessingSettings(height=32, width=48),
            model=ModelSettings(encoder="plain", depth=6),
            train=TrainSettings(),
            label_map=[],
        )


# Logical devices can only be made before TensorFlow starts, so this runs in a process of its own.
_TRAIN_ON_TWO_DEVICES = """
import json, sys
import keras, numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from models.settings import ModelSettings
from models.inputs.input_pipeline import evaluation_batches, prepared_on_device
from models.inputs.settings import PreprocessingSettings
from models.training.settings import TrainerConfig, TrainSettings
from models.training.trainer import compiled_model, distribution_strategy
generator = np.random.default_rng(0)
images = generator.normal(size=(32, 32, 32, 1)).astype(np.float32)
labels = (images[..., 0] > 0).astype(np.uint8)
labels[::3, :20] = 255  # So that replicas have different numbers of pixels that count.
class NineImages:  # In batches of four, the last one leaves a replica without any.
    count, shape = 9, PreprocessingSettings(height=32, width=32, channels=1)
    take = staticmethod(lambda indices: (tf.gather(images, indices), tf.gather(labels, indices)))
    targets = staticmethod(lambda labels: labels)
terms = {"cross_entropy": 1, "focal": 1, "dice": 0.5, "lovasz_softmax": 0.5}
result = {}
for name in ("one", "mirrored"):
    keras.utils.set_random_seed(1)
    config = TrainerConfig(
        preprocessing=PreprocessingSettings(height=32, width=32, channels=1),
        model=ModelSettings(encoder="plain", filters=4, depth=3),
        train=TrainSettings(epochs=3, warmup_epochs=0, learning_rate=0.01, strategy=name, loss=terms),
        label_map=[],
    )
    strategy = distribution_strategy(config.train)
    with strategy.scope():
        model = compiled_model(config, 2, "float32")
    history = model.fit(tf.data.Dataset.from_tensor_slices((images, labels)).batch(8), epochs=3, verbose=0)
    batches = evaluation_batches(NineImages, 4, replicas=strategy.num_replicas_in_sync)
    evaluated = model.evaluate(strategy.experimental_distribute_dataset(batches), verbose=0, return_dict=True)
    replicas, loss = strategy.num_replicas_in_sync, history.history["loss"]
    result[name] = {"replicas": replicas, "loss": loss, "mean_iou": evaluated["mean_iou"]}
# The same image, label and seed eight times, four for each replica.
batch = (*(np.repeat(values[:1], 8, axis=0) for values in (images, labels, np.array([[1, 2]]))), tf.range(8))
batches = strategy.experimental_distribute_dataset(tf.data.Dataset.from_tensors(batch))
augmented = tf.function(
    lambda batch: strategy.run(prepared_on_device(NineImages, TrainSettings(augment_on="device")), args=batch)
)(next(iter(batches)))
result["augmented"] = [values.numpy().tolist() for values in strategy.experimental_local_results(augmented[0])]
print(json.dumps(result))
"""


@pytest.mark.one_line
def test_two_replicas_train_as_one(warm_python):
    finished = warm_python("-c", _TRAIN_ON_TWO_DEVICES)
    assert finished.returncode == 0, finished.stderr[-3000:]
    result = json.loads(finished.stdout.splitlines()[-1])
    assert (result["one"]["replicas"], result["mirrored"]["replicas"]) == (1, 2)
    np.testing.assert_allclose(result["mirrored"]["loss"], result["one"]["loss"], rtol=1e-3)
    assert result["one"]["loss"][-1] < result["one"]["loss"][0]
    np.testing.assert_allclose(result["mirrored"]["mean_iou"], result["one"]["mean_iou"], rtol=1e-2)
    # Augmentation on the devices draws for each image by itself.
    augmented = np.concatenate(result["augmented"])
    assert augmented.shape == (8, 32, 32, 1)
    assert len({image.tobytes() for image in augmented}) == 8


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd", "lion"])
def test_optimizers_are_keras_own(optimizer):
    built = _optimizer(TrainSettings(optimizer=optimizer, gradient_clip_norm=1.0, weight_decay=0.1, ema_momentum=0.5))
    assert type(built).__name__.lower() == optimizer
    assert (built.global_clipnorm, built.weight_decay, built.use_ema) == (1.0, 0.1, True)
    assert float(built.ema_momentum) == 0.5


@pytest.mark.parametrize("normalization", ["batch", "group"])
def test_weights_decay_but_not_biases_and_normalization(normalization):
    config = TrainerConfig(
        preprocessing=PreprocessingSettings(height=16, width=16, channels=1),
        model=ModelSettings(encoder="plain", filters=4, depth=1, normalization=normalization),
        train=TrainSettings(weight_decay=0.5, learning_rate=0.1),
        label_map=[],
    )
    model = compiled_model(config, 2, "float32")
    for variable in model.trainable_variables:
        variable.assign(np.ones(variable.shape))
    model.optimizer.apply([np.zeros(variable.shape, np.float32) for variable in model.trainable_variables])
    after = {variable.path: float(np.mean(variable)) for variable in model.trainable_variables}
    for name, value in after.items():
        assert value == pytest.approx(0.95 if name.endswith("kernel") else 1.0), name
    assert {name.rpartition("/")[2] for name in after} == {"kernel", "bias", "gamma", "beta"}


@pytest.mark.parametrize("schedule", ["cosine", "polynomial", "exponential", "constant"])
def test_the_learning_rate_rises_to_its_peak_and_falls_by_the_schedule(schedule):
    settings = TrainSettings(epochs=10, warmup_epochs=2, learning_rate=0.1, schedule=schedule)
    rate = learning_rates(settings)
    rates = [rate(step / 50, 0.2) for step in range(51)]
    np.testing.assert_allclose(rates[:11], np.linspace(0, 0.1, 11), rtol=1e-5)
    progress = np.arange(41) / 40
    expected = {
        "cosine": 0.05 * (1 + np.cos(np.pi * progress)),
        "polynomial": 0.1 * (1 - progress) ** 0.9,
        "exponential": 0.1 * 0.01**progress,
        "constant": np.full(41, 0.1),
    }[schedule]
    np.testing.assert_allclose(rates[10:], expected, rtol=1e-4, atol=1e-7)


def test_the_schedule_begins_at_the_full_size():
    settings = TrainSettings(epochs=10, warmup_epochs=2, learning_rate=0.1, schedule="cosine")
    rates = [learning_rates(settings, small_sizes=0.6)(step / 50, 0.2) for step in range(51)]
    np.testing.assert_allclose(rates[:11], np.linspace(0, 0.1, 11), rtol=1e-5)
    np.testing.assert_allclose(rates[10:31], 0.1)
    np.testing.assert_allclose(rates[30:], 0.05 * (1 + np.cos(np.pi * np.arange(21) / 20)), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    ("height", "width", "model", "expected"),
    [
        (128, 200, {"encoder": "plain", "depth": 4}, [(2, 0.4), (1, 0.8), (0, 1)]),
        (125, 125, {"encoder": "plain", "depth": 4}, [(2, 0.4), (1, 0.8), (0, 1)]),
        (124, 125, {"encoder": "plain", "depth": 4}, [(1, 0.8), (0, 1)]),
        (62, 128, {"encoder": "plain", "depth": 4}, [(0, 1)]),
        (128, 128, {"encoder": "efficientnet_lite0"}, [(1, 0.8), (0, 1)]),
    ],
)
def test_sizes_with_a_single_pixel_in_the_coarsest_map_are_left_out(height, width, model, expected):
    config = TrainerConfig(
        preprocessing=PreprocessingSettings(height=height, width=width),
        model=ModelSettings(**model),
        train=TrainSettings(epochs=40, small_sizes=0.8),
        label_map=[],
    )
    assert config.stages == expected
    quarter = config.halved(2).preprocessing
    assert (quarter.height, quarter.width) == (math.ceil(height / 4), math.ceil(width / 4))


def test_few_epochs_have_the_full_size():
    config = TrainerConfig(
        preprocessing=PreprocessingSettings(), model=ModelSettings(), train=TrainSettings(epochs=1), label_map=[]
    )
    assert config.stages == [(0, 1)]
    assert config.with_values({"train.epochs": 5}).stages == [(1, 0.2), (0, 1)]


def test_stages_by_minutes_are_shares_whatever_the_number_of_epochs():
    config = TrainerConfig(
        preprocessing=PreprocessingSettings(),
        model=ModelSettings(encoder="plain"),
        train=TrainSettings(epochs=1, minutes=0.5, small_sizes=0.7),
        label_map=[],
    )
    assert config.stages == [(2, 0.35), (1, 0.7), (0, 1)]


def test_half_precision_scales_the_loss_and_learns():
    keras.utils.set_random_seed(0)
    config = TrainerConfig(
        preprocessing=PreprocessingSettings(height=16, width=16, channels=1),
        model=ModelSettings(encoder="plain", filters=4, depth=1),
        train=TrainSettings(warmup_epochs=0, learning_rate=0.01, ema_momentum=0.5),
        label_map=[],
    )
    model = compiled_model(config, 2, "mixed_float16")
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    images = np.random.default_rng(0).normal(size=(8, 16, 16, 1)).astype(np.float32)
    batch = (images, (images[..., 0] > 0).astype(np.uint8))
    losses = [float(model.train_on_batch(*batch)[0]) for _ in range(40)]
    assert losses[-1] < 0.7 * losses[0]


def test_the_moving_average_forgets_the_weights_of_the_beginning():
    assert moving_average_momentum(0.999, 0) == 0.1
    assert moving_average_momentum(0.999, 89) == pytest.approx(90 / 99)
    assert moving_average_momentum(0.9, 1000) == 0.9
    # What is left of the first step's weights after 100 steps.
    assert math.prod(moving_average_momentum(0.999, step) for step in range(1, 100)) < 1e-6


def test_the_traced_step_takes_the_momentum_of_the_moving_average_as_it_is():
    optimizer = _optimizer(TrainSettings(optimizer="sgd", ema_momentum=0.9))
    weight = keras.Variable(np.zeros(1))
    optimizer.build([weight])
    step = tf.function(lambda: optimizer.apply([tf.constant([-1.0])], [weight]), autograph=False)
    (average,) = optimizer._model_variables_moving_average
    step()
    for momentum in (0.0, 0.75):
        optimizer.ema_momentum.assign(momentum)
        before = average.numpy()
        step()
        np.testing.assert_allclose(average, momentum * before + (1 - momentum) * weight.numpy(), rtol=1e-6)


@pytest.mark.one_line
def test_the_statistics_of_batch_normalization_are_the_mean_of_more_and_more_batches():
    config = TrainerConfig(
        preprocessing=PreprocessingSettings(height=32, width=32),
        model=ModelSettings(filters=2),
        train=TrainSettings(),
        label_map=[],
    )
    model = compiled_model(config, 2, "float32")
    variables = len(model.variables)
    set_momentum = statistics_momentum(model)
    found = [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.BatchNormalization)]
    assert len({layer.name for layer in found}) > 50
    images = np.random.default_rng(0).normal(3, 1, (4, 32, 32, 3)).astype(np.float32)
    for step, share in ((0, 0.1), (8, 0.5), (10_000, 0.97)):
        set_momentum(step)
        for layer in found:
            layer.moving_mean.assign(np.full(layer.moving_mean.shape, 1e6))
        model.train_on_batch(images, np.zeros((4, 32, 32), np.uint8))
        for layer in found:
            np.testing.assert_allclose(layer.moving_mean, np.full(layer.moving_mean.shape, share * 1e6), rtol=1e-3)
    assert len(model.variables) == variables
