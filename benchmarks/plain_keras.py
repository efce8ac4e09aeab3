"""The plain Keras loop that `quality` compares with: `DATA.npz SECONDS SEED PREDICTIONS.npy FILTERS`.

As in tutorials: Adam, cross-entropy, random mirroring, `fit`, the weights of the least validation loss.
"""

import sys
import time

import keras
import numpy as np
import tensorflow as tf

from models.network import build_model
from models.settings import ModelSettings

_BATCH_SIZE = 8


class _StopInTime(keras.callbacks.Callback):
    """Ends the training where another epoch would take it beyond its time."""

    def __init__(self, end: float):
        super().__init__()
        self._end, self._started = end, 0.0

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self._started = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        now = time.monotonic()
        self.model.stop_training = now + (now - self._started) > self._end


def main(data: str, seconds: float, seed: int, predictions: str, filters: int) -> None:
    """Trains for a time, and saves the class ids of the test images."""
    started = time.monotonic()
    keras.utils.set_random_seed(seed)
    arrays = np.load(data)
    num_classes = 1 + max(int(arrays[name][arrays[name] < 255].max()) for name in ("train_y", "test_y"))

    def examples(split: str) -> tf.data.Dataset:
        images = arrays[f"{split}_x"].astype(np.float32) / 255
        return tf.data.Dataset.from_tensor_slices((images, arrays[f"{split}_y"]))

    def mirror(image: tf.Tensor, label: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        mirrored = image[:, ::-1], label[:, ::-1]
        return tf.cond(tf.random.uniform([]) < 0.5, lambda: mirrored, lambda: (image, label))

    train = examples("train").shuffle(1000).map(mirror, tf.data.AUTOTUNE).batch(_BATCH_SIZE).prefetch(tf.data.AUTOTUNE)
    model = build_model(
        ModelSettings(encoder="plain", filters=filters), arrays["train_x"].shape[1:], num_classes, "float32"
    )
    model.compile(
        optimizer=keras.optimizers.Adam(1e-3),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=255),
    )
    model.fit(
        train,
        epochs=10_000,
        validation_data=examples("eval").batch(_BATCH_SIZE),
        verbose=0,
        callbacks=[
            _StopInTime(started + seconds),
            keras.callbacks.EarlyStopping(patience=10_000, restore_best_weights=True, start_from_epoch=0),
        ],
    )
    print(time.monotonic() - started)
    logits = model.predict(examples("test").map(lambda image, _: image).batch(_BATCH_SIZE), verbose=0)
    np.save(predictions, logits.argmax(axis=-1).astype(np.uint8))


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), sys.argv[4], int(sys.argv[5]))
