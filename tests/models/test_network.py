import keras
import numpy as np
import pytest
import tensorflow as tf

from models.decoders.deep_supervision import without_supervision
from models.evaluation.metrics import class_totals, confusion_matrix, mean_iou
from models.inputs.settings import PreprocessingSettings
from models.network import build_model
from models.settings import ModelSettings
from models.training.settings import TrainerConfig, TrainSettings
from models.training.trainer import compiled_model

# Parameters for four classes, gray images and default options, for those that docs/training.md has figures of.
PARAMETERS = {
    ("plain", "unet"): 7_768_452,
    ("plain", "deeplab_v3_plus"): None,
    ("efficientnet_lite0", "unet"): None,
    ("efficientnet_lite0", "deeplab_v3_plus"): None,
    ("resnet50", "unet"): 41_015_428,
    ("resnet50", "deeplab_v3_plus"): 40_425_412,
    ("vgg16", "unet"): None,
    ("vgg16", "segnet"): 29_452_100,
    ("vgg16", "deeplab_v3_plus"): None,
    ("efficientnet_v2_b0", "deeplab_v3_plus"): None,
    ("convnext_tiny", "unet"): None,
    ("mobilenet_v3_large", "unet"): None,
}


@pytest.fixture(params=PARAMETERS, ids=" ".join)
def pair(request):
    """The keys of an encoder and a decoder that go together."""
    return dict(zip(("encoder", "decoder"), request.param, strict=True))


@pytest.mark.parametrize("names", [names for names, count in PARAMETERS.items() if count], ids=" ".join)
def test_the_number_of_parameters_is_that_of_the_published_figures(names):
    options = {"enlargement": 1} if names[0] == "resnet50" else {}
    options |= {"filters": 32} if names[1] == "unet" else {}
    settings = ModelSettings(encoder=names[0], decoder=names[1], **options)
    assert build_model(settings, (64, 64, 1), 4, "float32").count_params() == PARAMETERS[names]


def images(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


_ODD, _GRAY, _SMALL = ((65, 97, 3), "float32"), ((64, 48, 1), "mixed_bfloat16"), ((33, 32, 3), "mixed_float16")


@pytest.mark.parametrize(
    ("encoder", "decoder", "shape", "precision"),
    [
        *(("plain", "unet", *each) for each in (_ODD, _GRAY, _SMALL)),
        *(("vgg16", "segnet", *each) for each in (_ODD, _GRAY, _SMALL)),
        ("efficientnet_lite0", "unet", *_ODD),
        ("resnet50", "unet", *_GRAY),
        ("resnet50", "deeplab_v3_plus", *_ODD),
        ("resnet50", "deeplab_v3_plus", *_SMALL),
        ("plain", "deeplab_v3_plus", *_GRAY),
        ("vgg16", "unet", *_ODD),
        ("vgg16", "deeplab_v3_plus", *_SMALL),
    ],
)
def test_logits_are_float32_and_have_the_resolution_of_the_input(encoder, decoder, shape, precision):
    model = build_model(ModelSettings(encoder=encoder, decoder=decoder, filters=4), shape, 5, precision)
    logits = model(images(2, *shape))
    assert (logits.shape, logits.dtype) == ((2, *shape[:2], 5), "float32")
    assert np.isfinite(logits).all()
    assert {weight.dtype for weight in model.weights} == {"float32"}


@pytest.mark.parametrize(
    ("settings", "features"),
    [
        ({"encoder": "plain", "depth": 2}, (18, 24)),
        ({"encoder": "plain", "depth": 1}, (37, 48)),
        ({"encoder": "efficientnet_lite0"}, (19, 24)),
        ({"encoder": "vgg16", "decoder": "segnet"}, (37, 48)),
        ({"encoder": "resnet50", "decoder": "deeplab_v3_plus"}, (10, 12)),
    ],
    ids=str,
)
def test_maps_of_objects_have_the_resolution_of_the_input_and_layers_of_their_own(settings, features):
    settings = ModelSettings(**settings, filters=4)
    model = build_model(settings, (37, 48, 3), 5, "float32", has_objects=True)
    batch = images(2, 37, 48, 3)
    assert model(batch).shape == (2, 37, 48, 8)
    assert model.get_layer("object_head").input.shape[1:3] == features
    without = build_model(settings, (37, 48, 3), 5, "float32")
    names = {layer.name for layer in model.layers if layer.weights}
    assert names - {layer.name for layer in without.layers} == {
        "object_head",
        "object_head_normalization",
        "object_maps",
    }
    assert without.get_layer("logits" if "deeplab" not in settings.decoder else "logits_at_low_level").filters == 5


def test_every_weight_is_trained_and_saved(pair, tmp_path):
    keras.utils.set_random_seed(0)
    settings = ModelSettings(**pair, filters=4, dropout=0.1)
    model = build_model(settings, (64, 64, 3), 3, "float32")
    batch = images(4, 64, 64, 3)
    labels = np.random.default_rng(1).integers(0, 3, (4, 64, 64))
    with tf.GradientTape() as tape:
        logits = model(batch, training=True)
        loss = keras.ops.mean(keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True))
    gradients = tape.gradient(loss, [variable.value for variable in model.trainable_variables])
    for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
        assert gradient is not None, variable.path
        # Keras' ResNet50 has biases that its batch normalization takes out again.
        cancelled = "resnet50" in variable.path and variable.path.endswith("_conv/bias")
        assert cancelled or float(tf.reduce_max(tf.abs(gradient))) > 0, variable.path

    # The call above has moved the moving statistics.
    model.save_weights(tmp_path / "best.weights.h5")
    loaded = build_model(settings, (64, 64, 3), 3, "float32")
    loaded.load_weights(tmp_path / "best.weights.h5")
    np.testing.assert_array_equal(loaded(batch), model(batch))


def four_images(size):
    """A square and a disk on a background, of noisy colors."""
    generator = np.random.default_rng(0)
    rows, columns = np.mgrid[:size, :size]
    labels = np.zeros((4, size, size), np.int64)
    for label in labels:
        top, left = generator.integers(0, size // 3, 2)
        label[top : top + size // 2, left : left + size // 2] = 1
        row, column = generator.integers(size // 2, size - size // 4, 2)
        label[(rows - row) ** 2 + (columns - column) ** 2 < (size / 5) ** 2] = 2
    colors = np.array([[-1, 0, 0.5], [1, -0.5, 0.5], [0, 1, -1]])
    return (colors[labels] + generator.normal(0, 0.3, (4, size, size, 3))).astype(np.float32), labels


@pytest.mark.parametrize(
    ("model", "learning_rate", "most_steps"),
    [
        ({"encoder": "plain", "filters": 8}, 0.01, 40),
        pytest.param({"encoder": "efficientnet_lite0"}, 0.003, 40, marks=pytest.mark.nightly),
        pytest.param({"encoder": "vgg16", "decoder": "segnet", "filters": 16}, 0.003, 80, marks=pytest.mark.nightly),
        pytest.param({"encoder": "resnet50", "filters": 16}, 0.003, 50, marks=pytest.mark.nightly),
        pytest.param(
            {"encoder": "resnet50", "decoder": "deeplab_v3_plus", "filters": 32}, 0.003, 80, marks=pytest.mark.nightly
        ),
    ],
)
@pytest.mark.one_line
def test_four_images_are_learned_by_heart(model, learning_rate, most_steps):
    size = 48
    keras.utils.set_random_seed(0)
    config = TrainerConfig(
        preprocessing=PreprocessingSettings(height=size, width=size),
        model=ModelSettings(**model),
        train=TrainSettings(epochs=1, learning_rate=learning_rate),
        label_map=[],
    )
    model = compiled_model(config, 3, "float32")
    batch, labels = four_images(size)
    served, step, learned = without_supervision(model), 0, 0.0
    while learned <= 0.95 and step < most_steps:
        model.fit(tf.data.Dataset.from_tensors((batch, labels)).repeat(10), verbose=0)
        step += 10
        class_ids = np.argmax(served(batch, training=False), axis=-1)
        learned = mean_iou(class_totals(confusion_matrix(labels, class_ids, 3)))
    assert learned > 0.95


def test_the_smallest_input_is_taken_and_normalized_fit_for_short_runs(pair):
    settings = ModelSettings(**pair, filters=4)
    size = (settings.smallest_input, settings.smallest_input)
    with pytest.raises(ValueError, match=f"encoder {pair['encoder']} needs an input of at least"):
        build_model(settings, (size[0] - 1, 64, 3), 2, "float32")
    model = build_model(settings, (*size, 1), 2, "float32")
    assert model.output_shape == (None, *size, 2)
    layers = [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.BatchNormalization)]
    assert {(layer.momentum, layer.synchronized) for layer in layers} == {(0.9, True)}
