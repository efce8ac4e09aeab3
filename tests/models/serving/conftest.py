"""A model for images at their own size, in tiles, as small as can be."""

import numpy as np
import pytest
import tensorflow as tf

TILE = (16, 12)


def transform(features):
    """Stands for the transform graph without resizing."""
    from data.contract import IMAGE, INSTANCES, MASK
    from models.inputs import preprocessing

    def serialized(encoded, channels):
        pixels = tf.io.decode_image(encoded, channels=channels, expand_animations=False)
        return tf.io.serialize_tensor(pixels)

    def all_serialized(name, channels):
        return tf.map_fn(
            lambda encoded: serialized(encoded, channels),
            features[name],
            fn_output_signature=tf.TensorSpec([], tf.string),
        )

    rows = [tf.shape(features[IMAGE])[0], 1]
    statistics = {
        preprocessing.MEAN: tf.tile([[90.0, 100.0, 110.0]], rows),
        preprocessing.SCALE: tf.tile([[0.02, 0.03, 0.04]], rows),
    }
    masks = {preprocessing.LABEL: all_serialized(MASK, 1)} if MASK in features else {}
    if INSTANCES in features:
        masks[preprocessing.OBJECTS] = tf.map_fn(
            lambda encoded: tf.io.serialize_tensor(tf.io.decode_png(encoded, 1, tf.uint16)), features[INSTANCES].values
        )
    return {preprocessing.PIXELS: all_serialized(IMAGE, 3), **masks, **statistics}


@pytest.fixture(scope="session")
def tiled(once_for_all):
    """Folder of a model of random weights with `resize: none`."""
    import keras

    from models.serving import signatures

    def make(folder):
        layer = keras.layers.Conv2D(3, 3, padding="same")
        model = keras.Sequential([keras.Input([*TILE, 3]), layer])
        kernel = np.random.default_rng(0).normal(size=[3, 3, 3, 3]).astype(np.float32)
        layer.set_weights([kernel, np.zeros(3, np.float32)])
        names = ("nothing", "cat", "dog")
        facts = {
            "label_map": [{"id": i, "name": name, "color": [i, 90 * i, 200]} for i, name in enumerate(names)],
            "preprocessing": {"height": TILE[0], "width": TILE[1], "channels": 3, "resize": "none"},
        }
        signatures.export(model, transform, str(folder), facts)

    return once_for_all("tiled", make)


@pytest.fixture(scope="session")
def of_objects(once_for_all):
    """Folder of a model with `resize: none` that finds cats in red and dogs in blue, one around each green pixel."""
    import keras

    from models.instances.scale import ObjectScale
    from models.serving import signatures

    def make(folder):
        layer = keras.layers.Conv2D(6, 1, use_bias=False)
        model = keras.Sequential([keras.Input([*TILE, 3]), layer])
        kernel = np.zeros([1, 1, 3, 6], np.float32)
        # Normalized, 255 is 3.3 in red and 4.65 in green; below the mean, red and blue are negative.
        kernel[0, 0, 0, 1], kernel[0, 0, 1, 3], kernel[0, 0, 2, 2] = 5, 1 / 4.65, 5
        layer.set_weights([kernel])
        names = ("nothing", "cat", "dog")
        facts = {
            "task": "instance",
            "things": ["cat", "dog"],
            "label_map": [{"id": i, "name": name, "color": [i, 90 * i, 200]} for i, name in enumerate(names)],
            "preprocessing": {"height": TILE[0], "width": TILE[1], "channels": 3, "resize": "none"},
        }
        scale = ObjectScale((False, True, True), unit=1.0, kernel=5, least_area=4)
        signatures.export(model, transform, str(folder), facts, scale)

    return once_for_all("of_objects", make)
