import numpy as np
import pytest
import tensorflow as tf

from data.writing.objects import FoundObjects
from models.instances.grouping import Objects
from models.serving import loaded_model
from models.serving.own_size import resizing


@pytest.mark.parametrize("resize", ["stretch", "pad"])
@pytest.mark.parametrize(("height", "width"), [(100, 37), (33, 200), (16, 24), (5, 9)])
def test_logits_are_resized_as_tensorflow_does_it(resize, height, width, monkeypatch):
    monkeypatch.setattr(resizing, "_BAND", 3 * width * 7)  # Several bands of seven rows.
    logits = np.random.default_rng(0).normal(size=[16, 24, 3]).astype(np.float32)
    inside = logits
    if resize == "pad":
        scale = min(16 / height, 24 / width)
        rows, columns = max(1, round(height * scale)), max(1, round(width * scale))
        top, left = (16 - rows) // 2, (24 - columns) // 2
        inside = logits[top : top + rows, left : left + columns]
    resized = tf.image.resize(inside, [height, width]).numpy()
    maps = [(resizing.class_ids, tf.uint8), (resizing.confidence, tf.float32)]
    class_ids, confidence = tf.function(resizing.maps_at_size)(
        tf.constant(logits), tf.constant([height, width]), resize, maps
    )
    assert (class_ids.dtype, class_ids.shape) == (tf.uint8, (height, width))
    # Where two logits are all but equal, rounding may decide otherwise.
    first, second = np.sort(resized, axis=-1)[..., -1], np.sort(resized, axis=-1)[..., -2]
    clear = first - second > 1e-4
    assert clear.mean() > 0.99
    np.testing.assert_array_equal(class_ids.numpy()[clear], resized.argmax(axis=-1)[clear])
    np.testing.assert_allclose(confidence, tf.reduce_max(tf.nn.softmax(resized), axis=-1), atol=1e-5)


@pytest.mark.parametrize("resize", ["stretch", "pad"])
def test_an_edge_has_no_steps_of_the_models_pixels(resize):
    """A slanted line, at the size of a photograph whose model sees 128x128."""
    side, (height, width) = 128, (375, 500)
    scale = np.array([height, width]) / side if resize == "stretch" else np.full(2, width / side)
    margin = np.array([0, 0]) if resize == "stretch" else np.array([16, 0])

    def distances(rows, columns):
        """Of points of the image to the line, in its pixels."""
        return 0.6 * (columns - width / 2) + 0.8 * (rows - height / 2)

    rows, columns = (np.mgrid[:side, :side] + 0.5 - margin[:, None, None]) * scale[:, None, None]
    # As a network has them: sure of itself a few pixels away from the edge.
    logits = np.stack([np.zeros([side, side]), 5 * np.tanh(distances(rows, columns) / 10)], axis=-1).astype(np.float32)
    expected = distances(*(np.mgrid[:height, :width] + 0.5))
    (found,) = tf.function(resizing.maps_at_size)(
        tf.constant(logits), tf.constant([height, width]), resize, [(resizing.class_ids, tf.uint8)]
    )

    def farthest(class_ids):
        """How far from the line a pixel lies that is on its wrong side; along the rim, the model has pixels on one side
        only."""
        is_wrong = (class_ids == 1) != (expected > 0)
        return np.abs(expected * is_wrong)[2:-2, 2:-2].max()

    assert farthest(found.numpy()) < 1
    inside = logits.argmax(axis=-1)[margin[0] : side - margin[0]]
    assert farthest(loaded_model._enlarge(inside, height, width)) > 1.5


@pytest.mark.parametrize("resize", ["stretch", "pad"])
@pytest.mark.parametrize("size", [(100, 37), (33, 200), (16, 24), (3, 9)])
def test_objects_have_the_boxes_and_areas_of_the_image(resize, size):
    model_size, generator = (16, 24), np.random.default_rng(0)
    # Many of one pixel, of which few are left in a smaller image.
    numbers = np.where(generator.random(model_size) < 0.3, generator.integers(1, 41, model_size), 0).astype(np.int32)
    classes = generator.integers(0, 3, 40).astype(np.int32)
    scores = generator.random(40).astype(np.float32)
    objects = Objects(numbers, numbers % 3, classes, scores, np.zeros([40, 4], np.int32), np.ones(40, np.int32))
    found = resizing.objects_at_size(
        Objects(*map(tf.constant, vars(objects).values())), tf.constant(size), model_size, resize
    )
    inside = np.s_[:, :]
    if resize == "pad":
        scale = min(16 / size[0], 24 / size[1])
        rows, columns = (max(1, round(side * scale)) for side in size)
        top, left = (16 - rows) // 2, (24 - columns) // 2
        inside = np.s_[top : top + rows, left : left + columns]
    expected = FoundObjects.measured(loaded_model._enlarge(numbers[inside], *size), classes, scores)
    assert size != (3, 9) or 0 < len(expected.areas) < 20
    np.testing.assert_array_equal(found.numbers, expected.numbers)
    np.testing.assert_array_equal(found.class_ids, loaded_model._enlarge((numbers % 3)[inside], *size))
    for name, values in (("object_classes", expected.class_ids), ("scores", expected.scores)):
        np.testing.assert_array_equal(getattr(found, name), values)
    np.testing.assert_array_equal(found.boxes, expected.boxes)
    np.testing.assert_array_equal(found.areas, expected.areas)
