import keras
import numpy as np
import pytest
import tensorflow as tf

from models.ensemble.average import average
from models.network import build_model
from models.serving.own_size import tiling
from models.settings import ModelSettings

SHAPE, CLASSES = (16, 12, 1), 3


@pytest.fixture(scope="module")
def models():
    keras.utils.set_random_seed(0)
    settings = ModelSettings(encoder="plain", filters=2, depth=1)
    return [build_model(settings, SHAPE, CLASSES, "float32") for _ in range(3)]


def test_the_softmax_of_the_logits_is_the_mean_of_the_probabilities(models):
    images = np.random.default_rng(0).normal(size=[2, *SHAPE]).astype(np.float32)
    together = average(models, CLASSES)
    assert together.output_shape == models[0].output_shape
    expected = np.mean([tf.nn.softmax(model(images)) for model in models], axis=0)
    np.testing.assert_allclose(tf.nn.softmax(together(images)), expected, atol=1e-6)
    np.testing.assert_allclose(tf.exp(together(images)), expected, atol=1e-6)


def test_a_model_that_is_sure_does_not_make_numbers_overflow():
    image = keras.Input([1, 1, 2])
    sure = [keras.Model(image, keras.layers.Rescaling(scale)(image)) for scale in (1e4, -1e4)]
    logits = average(sure, 2)(np.array([[[[1.0, 0.0]]]], np.float32))
    np.testing.assert_allclose(tf.nn.softmax(logits)[0, 0, 0], [0.5, 0.5])


def test_the_weights_are_those_of_the_models_one_after_the_other(models):
    weights = [id(weight) for model in models for weight in model.weights]
    assert [id(weight) for weight in average(models, CLASSES).weights] == weights


def test_one_model_is_left_as_it_is(models):
    assert average(models[:1], CLASSES) is models[0]


def test_tiles_are_blended_from_the_averaged_probabilities(models):
    pixels = np.random.default_rng(1).integers(0, 256, [37, 30, 1]).astype(np.uint8)
    mean, scale = tf.constant([[100.0]]), tf.constant([[0.02]])

    def log_of_mean(images):
        return tf.math.log(tf.reduce_mean([tf.nn.softmax(model(images)) for model in models], axis=0))

    (_, expected), (_, confidence) = (
        tf.function(tiling.segment, autograph=False)(model, CLASSES, tf.constant(pixels), mean, scale, SHAPE[:2])
        for model in (log_of_mean, average(models, CLASSES))
    )
    np.testing.assert_allclose(confidence, expected, atol=1e-5)


def test_maps_of_objects_are_averaged_as_they_are():
    settings = ModelSettings(encoder="plain", filters=2, depth=1)
    models = [build_model(settings, SHAPE, CLASSES + 3, "float32") for _ in range(3)]
    images = np.random.default_rng(0).normal(size=[2, *SHAPE]).astype(np.float32)
    found = average(models, CLASSES)(images)
    each = [model(images) for model in models]
    probabilities = np.mean([tf.nn.softmax(maps[..., :CLASSES]) for maps in each], axis=0)
    np.testing.assert_allclose(tf.nn.softmax(found[..., :CLASSES]), probabilities, atol=1e-6)
    np.testing.assert_allclose(found[..., CLASSES:], np.mean([maps[..., CLASSES:] for maps in each], axis=0), atol=1e-5)


@pytest.mark.parametrize(("flips", "views"), [("horizontal", [[], [2]]), ("both", [[], [2], [1], [1, 2]])])
def test_mirrored_images_are_averaged_too(models, flips, views):
    images = np.random.default_rng(0).normal(size=[2, *SHAPE]).astype(np.float32)

    def probabilities(model, axes):
        return tf.reverse(tf.nn.softmax(model(tf.reverse(images, axes))), axes)

    expected = np.mean([probabilities(model, axes) for model in models for axes in views], axis=0)
    together = average(models, CLASSES, flips)
    np.testing.assert_allclose(tf.exp(together(images)), expected, atol=1e-6)
    assert [id(weight) for weight in together.weights] == [id(weight) for model in models for weight in model.weights]
    mirrored = together(images[:, :, ::-1])[:, :, ::-1]
    np.testing.assert_allclose(mirrored, together(images), atol=1e-5)


def test_ways_to_centers_are_mirrored_back():
    """A model whose maps say of each pixel where the middle of the image is, as it sees it."""
    image = keras.Input(SHAPE)
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]].astype(np.float32)
    ways = np.stack([7.5 - rows, 5.5 - columns], axis=-1)
    maps = np.concatenate([np.zeros([*SHAPE[:2], CLASSES + 1], np.float32), ways], axis=-1)
    model = keras.Model(image, keras.layers.Lambda(lambda images: tf.zeros_like(images[..., :1]) + maps)(image))
    found = average([model], CLASSES, "both")(np.zeros([1, *SHAPE], np.float32))
    np.testing.assert_allclose(found[0, ..., CLASSES + 1 :], ways, atol=1e-5)
