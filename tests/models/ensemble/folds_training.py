"""A training with folds in a process of its own, which may end itself: `FOLDER SETTINGS SIGNAL MODEL STEP`.

Settings are those of `train`, as JSON. Prints a digest of each model's best weights.
"""

import hashlib
import json
import os
import pathlib
import sys
import types

import numpy as np
import tensorflow as tf
import tensorflow_transform as tft

from data.contract import SegmentationExample
from data.decoding.images import encode_png
from models.inputs import preprocessing
from models.training import checkpoints, trainer

SIZE, CLASSES = 16, 3
EXAMPLES = {"train": 16, "eval": 6}
NAMES = ("dark", "gray", "bright")
GROUPED = 4  # The first four of each split are of one group.


def transform(features):
    """Stands for the transform graph: images of the model's size are decoded and normalized."""

    def decoded(name):
        pixels = tf.map_fn(
            lambda encoded: tf.io.decode_png(encoded, 1),
            features[name],
            fn_output_signature=tf.TensorSpec([SIZE, SIZE, 1], tf.uint8),
        )
        return tf.ensure_shape(pixels, [None, SIZE, SIZE, 1])

    from data.contract import IMAGE, MASK

    rows = [tf.shape(features[IMAGE])[0], 1]
    pixels, mean, scale = decoded(IMAGE), tf.fill(rows, 100.0), tf.fill(rows, 0.02)
    result = {
        preprocessing.PIXELS: pixels,
        preprocessing.MEAN: mean,
        preprocessing.SCALE: scale,
        preprocessing.IMAGE: preprocessing.normalize(pixels, mean, scale),
    }
    return {**result, preprocessing.LABEL: decoded(MASK)[..., 0]} if MASK in features else result


def examples(split):
    """Noisy images of three gray levels, their classes."""
    generator = np.random.default_rng(len(split))
    for index in range(EXAMPLES[split]):
        label = np.kron(generator.integers(0, CLASSES, [4, 4]), np.ones([4, 4])).astype(np.uint8)
        image = (60 + 60 * label + generator.normal(0, 20, label.shape)).clip(0, 255).astype(np.uint8)
        yield SegmentationExample(
            encode_png(image),
            "png",
            *label.shape,
            encode_png(label),
            f"{split}_{index}",
            group=f"group {split}" if index < GROUPED else "",
        )


def config(folder, settings):
    """The trainer's, as it goes through TFX."""
    return {
        "preprocessing": {"height": SIZE, "width": SIZE, "channels": 1},
        "model": {"encoder": "plain", "filters": 2, "depth": 1, "dropout": 0.2},
        "train": {
            **{"epochs": 2, "batch_size": 4, "small_sizes": 0, "precision": "float32", "deterministic": True},
            **{"learning_rate": 0.02, "warmup_epochs": 0, "augmentation": {"brightness": 0, "contrast": 0}},
            **settings,
        },
        "label_map": [{"id": i, "name": name, "color": [i, i, i]} for i, name in enumerate(NAMES)],
        "checkpoints": str(folder / "checkpoints"),
        "statistics": {
            "splits": {
                split: {"examples": count, "pixels": count * SIZE**2, "pixel_shares": dict.fromkeys(NAMES, 1 / 3)}
                for split, count in EXAMPLES.items()
            }
        },
    }


class EndsItself(checkpoints.Checkpoints):
    """Sends a signal to this process after a step of one of the models."""

    signal_model_and_step = (0, "", 0)

    def after_step(self):
        super().after_step()
        if (os.path.basename(self._folder), self.step) == self.signal_model_and_step[1:]:
            os.kill(os.getpid(), self.signal_model_and_step[0])


def main(folder, settings):
    """Trains, or goes on with what is in the folder."""
    for split in EXAMPLES:
        path = folder / split
        if not path.exists():
            with tf.io.TFRecordWriter(str(path)) as writer:
                for example in examples(split):
                    writer.write(example.serialize())
    tft.TFTransformOutput = lambda _: types.SimpleNamespace(transform_features_layer=lambda: transform)
    fn_args = types.SimpleNamespace(
        custom_config=config(folder, settings),
        hyperparameters=None,
        transform_output="",
        train_files=[str(folder / "train")],
        eval_files=[str(folder / "eval")],
        model_run_dir=str(folder / "run"),
        serving_model_dir=str(folder / "model"),
    )
    trainer.run_fn(fn_args)


if __name__ == "__main__":
    place = pathlib.Path(sys.argv[1])
    EndsItself.signal_model_and_step = (int(sys.argv[3]), sys.argv[4], int(sys.argv[5]))
    checkpoints.Checkpoints = EndsItself
    main(place, json.loads(sys.argv[2]))
    reader = tf.train.load_checkpoint(str(place / "model" / "variables" / "variables"))
    names = sorted(name for name in reader.get_variable_to_shape_map() if name.startswith("weights/"))
    print(hashlib.sha256(b"".join(reader.get_tensor(name).tobytes() for name in names)).hexdigest())
