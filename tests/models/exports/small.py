"""A model that is exported in seconds: a U-Net of random weights for images that are stretched to 32x24."""

import keras
import numpy as np
import tensorflow as tf

from data import contract
from data.decoding.images import encode_png
from models.inputs import preprocessing
from models.network import build_model
from models.serving import signatures
from models.settings import ModelSettings

SIZE = (32, 24)
NAMES = ("nothing", "cat", "dog")
MEAN, SCALE = (120.0, 110.0, 100.0), (0.02, 0.025, 0.03)


def transform(features):
    """Stands for the transform graph."""

    def read(encoded):
        pixels = tf.io.decode_image(encoded, channels=3, expand_animations=False)
        return tf.cast(tf.round(tf.image.resize(pixels, SIZE, antialias=True)), tf.int64)

    spec = tf.TensorSpec([*SIZE, 3], tf.int64)
    pixels = tf.map_fn(read, features[contract.IMAGE], fn_output_signature=spec)
    rows = [tf.shape(pixels)[0], 1]
    mean, scale = tf.tile([MEAN], rows), tf.tile([SCALE], rows)
    found = {preprocessing.IMAGE: preprocessing.normalize(pixels, mean, scale), preprocessing.PIXELS: pixels}
    if contract.MASK in features:
        label = tf.map_fn(
            lambda encoded: preprocessing.fit_mask(tf.io.decode_png(encoded, 1), *SIZE, "stretch", 255),
            features[contract.MASK],
            fn_output_signature=tf.TensorSpec([*SIZE, 1], tf.uint8),
        )
        found[preprocessing.LABEL] = tf.cast(label[..., 0], tf.int64)
    return {**found, preprocessing.MEAN: mean, preprocessing.SCALE: scale}


def make_model(folder):
    """Exports the SavedModel."""
    keras.utils.set_random_seed(1)
    settings = ModelSettings(encoder="plain", filters=4, depth=1)
    model = build_model(settings, (*SIZE, 3), len(NAMES), "float32")
    facts = {
        "label_map": [{"id": i, "name": name, "color": [i, 90 * i, 200]} for i, name in enumerate(NAMES)],
        "preprocessing": {"height": SIZE[0], "width": SIZE[1], "channels": 3, "resize": "stretch"},
        "model": settings.model_dump(mode="json"),
    }
    signatures.export(model, transform, str(folder), facts)


def examples(count):
    """Encoded images of several sizes with their masks."""
    generator = np.random.default_rng(0)
    found = []
    for index in range(count):
        coarse = generator.integers(0, 256, [6, 5, 3]).astype(np.uint8)
        image = np.kron(coarse, np.ones([9 + index % 3, 8, 1], np.uint8))
        label = (image[..., 0] // 100).astype(np.uint8)
        label[:4] = contract.IGNORE_LABEL
        found.append((encode_png(image), encode_png(label)))
    return found


def write_records(folder, count=6, relabel=None):
    """The same as a data set; `relabel` is a network whose classes take the place of the labels."""
    folder.mkdir()
    for split in contract.SPLITS:
        with tf.io.TFRecordWriter(str(folder / f"{split}-00000-of-00001.tfrecord")) as writer:
            for image, mask in examples(count):
                if relabel:
                    mask = encode_png(relabel.segment(relabel.pixels(image))["class_ids"].numpy()[0])
                    image = encode_png(relabel.pixels(image)[0])
                example = tf.train.Example()
                example.features.feature[contract.IMAGE].bytes_list.value.append(image)
                example.features.feature[contract.MASK].bytes_list.value.append(mask)
                writer.write(example.SerializeToString())
