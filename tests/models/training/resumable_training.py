"""A small training in a process of its own, which may end itself: `FOLDER SETTINGS SIGNAL STEP`, settings as JSON.

Prints the number of its steps, the best mean IoU and a digest of the best weights.
"""

import hashlib
import json
import os
import sys

import keras
import numpy as np
import tensorflow as tf

from data.contract import IMAGE, MASK, SOURCE_ID
from models.inputs import input_pipeline, preprocessing
from models.inputs.order import TrainingOrder
from models.inputs.settings import PreprocessingSettings
from models.settings import ModelSettings
from models.training import trainer
from models.training.checkpoints import Checkpoints
from models.training.loop import fit
from models.training.pace import pace_of
from models.training.settings import TrainerConfig, TrainSettings

SIZE, EXAMPLES, CLASSES = 16, 22, 3
SHAPE = PreprocessingSettings(height=SIZE, width=SIZE, channels=1)


def transform(features):
    """Stands for the transform graph: pixels and class ids are plain bytes."""

    def read(name):
        return tf.reshape(tf.io.decode_raw(features[name], tf.uint8), [-1, SIZE, SIZE])

    rows = [tf.size(features[IMAGE]), 1]
    return {
        preprocessing.PIXELS: read(IMAGE)[..., tf.newaxis],
        preprocessing.LABEL: read(MASK),
        preprocessing.MEAN: tf.fill(rows, 100.0),
        preprocessing.SCALE: tf.fill(rows, 0.02),
    }


def write_examples(path):
    """Noisy images of three gray levels, their classes."""
    generator = np.random.default_rng(0)
    with tf.io.TFRecordWriter(path) as writer:
        for index in range(EXAMPLES):
            label = np.kron(generator.integers(0, CLASSES, [4, 4]), np.ones([4, 4])).astype(np.uint8)
            image = (60 + 60 * label + generator.normal(0, 20, label.shape)).clip(0, 255).astype(np.uint8)
            values = {IMAGE: image.tobytes(), MASK: label.tobytes(), SOURCE_ID: f"example_{index}".encode()}
            feature = {
                name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value])) for name, value in values.items()
            }
            writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())


class EndsItself(Checkpoints):
    """Sends a signal to this process after a step."""

    signal_and_step = (0, 0)

    def after_step(self):
        super().after_step()
        if self.step == self.signal_and_step[1]:
            os.kill(os.getpid(), self.signal_and_step[0])


def main(folder, settings, signal, step):
    """Trains, or goes on with what is in the folder; as one of several workers if the settings say so."""
    strategy, worker = tf.distribute.get_strategy(), 0
    if settings.get("strategy") == "multi_worker":
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
        worker = strategy.cluster_resolver.task_id
    path = os.path.join(folder, "examples.tfrecord")
    if not os.path.exists(path):
        write_examples(path)
    config = TrainerConfig(
        preprocessing=SHAPE,
        model=ModelSettings(
            **{"encoder": "plain", "filters": 4, "depth": 2, "dropout": 0.2, **settings.pop("model", {})}
        ),
        train=TrainSettings.model_validate(
            {
                **{"epochs": 5, "batch_size": 4, "precision": "float32", "small_sizes": 0},
                # The gray level is the class.
                **{"augmentation": {"brightness": 0, "contrast": 0}},
                **settings,
            }
        ),
        label_map=[],
    )
    keras.utils.set_random_seed(config.train.seed)
    tf.config.experimental.enable_op_determinism()
    cache = None if config.train.cache == "none" else ""
    train, evaluation = (input_pipeline.DecodedExamples([path], transform, SHAPE, EXAMPLES, cache) for _ in range(2))
    order = TrainingOrder(EXAMPLES, config.train.batch_size, config.train.seed)

    def make_model(halvings):
        with strategy.scope():
            return trainer.compiled_model(config.halved(halvings), CLASSES, "float32")

    pace = pace_of(config.train, config.stages, order.steps_per_epoch)
    saved = EndsItself(os.path.join(folder, "checkpoints"), config.train, pace, worker)
    saved.signal_and_step = (signal, step)
    saved.find()
    with saved.saving_on_signals():
        fit(make_model, pace, strategy, train, evaluation, order, config.train, saved, "")
    if worker:
        return
    best = trainer._build(config, CLASSES, "float32")
    saved.load_best_weights(best)
    digest = hashlib.sha256(b"".join(weight.tobytes() for weight in best.get_weights())).hexdigest()
    norms = [float(np.linalg.norm(weight)) for weight in best.get_weights()]
    print(json.dumps({"digest": digest, "steps": saved.step, "best": saved.best, "norms": norms}))


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
