"""What the data path is compared with: the plain tf.data code that one would write by hand for the same files."""

from __future__ import annotations

import time

import tensorflow as tf

_FEATURES = {
    "image/encoded": tf.io.FixedLenFeature([], tf.string),
    "image/segmentation/class/encoded": tf.io.FixedLenFeature([], tf.string),
}


def decoding_rate(files: list[str], size: int | None, warm_up: int = 200) -> float:
    """Images a second of one tf.data pass that decodes image and mask on all cores, after a warm-up.

    Args:
      files: TFRecords by the data contract.
      size: image and mask are resized to that many pixels on each side, antialiased; None leaves them.
      warm_up: images that are decoded before.
    """

    def decode(serialized: tf.Tensor) -> tf.Tensor:
        example = tf.io.parse_single_example(serialized, _FEATURES)
        image = tf.io.decode_image(example["image/encoded"], channels=3, expand_animations=False)
        mask = tf.io.decode_image(example["image/segmentation/class/encoded"], channels=1, expand_animations=False)
        if size is not None:
            image.set_shape([None, None, 3])
            mask.set_shape([None, None, 1])
            image = tf.cast(tf.round(tf.image.resize(image, [size, size], antialias=True)), tf.uint8)
            mask = tf.image.resize(mask, [size, size], method="nearest")
        # One number of each, so that nothing is left out and nothing is copied.
        return tf.cast(tf.reshape(image, [-1])[0], tf.int32) + tf.cast(tf.reshape(mask, [-1])[0], tf.int32)

    records = tf.data.TFRecordDataset(files, buffer_size=1 << 20)
    decoded = records.map(decode, num_parallel_calls=tf.data.AUTOTUNE)
    for _ in decoded.take(warm_up):
        pass
    started = time.monotonic()
    count = int(decoded.reduce(tf.constant(0, tf.int64), lambda total, _: total + 1))
    return count / (time.monotonic() - started)


def training_step_rate(config: dict, num_classes: int, steps: int) -> float:
    """Images a second of the bare training step on one batch in memory: loss, gradients, optimizer, nothing else.

    Args:
      config: of the trainer, as `TrainerConfig` reads it.
      num_classes: C.
      steps: timed steps, after three that are not.
    """
    from models.training.settings import TrainerConfig
    from models.training.trainer import compiled_model, resolve_precision

    trainer = TrainerConfig.model_validate(config)
    shape, batch_size = trainer.preprocessing, trainer.train.batch_size
    precision = resolve_precision(trainer.train)
    model = compiled_model(trainer, num_classes, precision)
    image = tf.random.normal([batch_size, shape.height, shape.width, shape.channels])
    label = tf.random.uniform([batch_size, shape.height, shape.width], maxval=num_classes, dtype=tf.int32)

    @tf.function
    def step() -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = model.compute_loss(image, label, model(image, training=True), None, training=True)
        model.optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
        return loss

    for _ in range(3):
        step()
    started = time.monotonic()
    for _ in range(steps):
        step()
    return steps * batch_size / (time.monotonic() - started)
