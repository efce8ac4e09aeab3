"""Real models that are as small as can be."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from data.contract import IMAGE, MASK
from models import preprocessing, signatures

SIZE = 16
NAMES = ("nothing", "cat", "dog")


def transform(features, evaluated_as):
    """Stands for the transform graph; the evaluator gets `evaluated_as` of the images."""

    def read(encoded):
        pixels = tf.io.decode_image(encoded, channels=3, expand_animations=False)
        return tf.ensure_shape(tf.image.resize(pixels, [SIZE, SIZE]), [SIZE, SIZE, 3])

    images = tf.map_fn(read, features[IMAGE], fn_output_signature=tf.float32)
    if MASK not in features:
        return {preprocessing.IMAGE: images}
    labels = tf.zeros([tf.shape(images)[0], SIZE, SIZE], tf.int64)
    return {preprocessing.IMAGE: evaluated_as(images), preprocessing.LABEL: labels}


@pytest.fixture(scope="session")
def push():
    """Puts a model into a folder, at once, that finds one class in bright pixels, and `nothing` in dark ones."""

    def push(destination, version, class_id, evaluated_as=lambda images: images):
        layer = keras.layers.Conv2D(3, 1)
        model = keras.Sequential([keras.Input([SIZE, SIZE, 3]), layer])
        kernel, bias = np.zeros([1, 1, 3, 3], np.float32), np.zeros(3, np.float32)
        kernel[..., class_id], bias[0] = 1 / 3, 128
        layer.set_weights([kernel, bias])
        colors = ([0, 0, 0], [230, 159, 0], [86, 180, 233])
        facts = {
            "label_map": [{"id": i, "name": name, "color": colors[i]} for i, name in enumerate(NAMES)],
            "preprocessing": {"height": SIZE, "width": SIZE, "channels": 3, "resize": "stretch"},
        }
        unfinished = destination.parent / f"unfinished-{version}"
        signatures.export(model, lambda features: transform(features, evaluated_as), str(unfinished), facts)
        destination.mkdir(exist_ok=True)
        unfinished.rename(destination / str(version))

    return push
