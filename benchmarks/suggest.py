"""Mean IoU on the pets' test images by the number of labeled ones: those that `suggest` chooses, and random ones.

From some labeled images on, each contender chooses more in rounds, and a model learns from all that it has chosen:

  random     by chance
  suggested  as `segpipe suggest` does: of twice as many that are the most uncertain, by k-means++ among embeddings
  uncertain  the most uncertain ones
  core_set   those that are farthest, by their embeddings, from all that are labeled (Sener and Savarese 2018)

So that dozens of trainings take minutes, a decoder is trained on the maps of the pretrained encoder, which stays as it
is: for so many steps, whatever the number of images. All contenders begin with the same images and the same weights.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from common import arguments, num_classes, report, source_folder, train_files
from recipes import chosen

from data.near_duplicates import HASH_BYTES
from models.evaluation import metrics
from models.exports.exports import read_examples
from models.network import build_with_features
from models.settings import ModelSettings
from models.suggestions.choice import choose

_WARMUP = 20
# From uncertainty, embeddings, embeddings of what is labeled, how many to choose and a seed to indexes.
_Chooser = Callable[[np.ndarray, np.ndarray, np.ndarray, int, int], list[int]]


def _random(uncertainty: np.ndarray, _: np.ndarray, __: np.ndarray, count: int, seed: int) -> list[int]:
    return np.random.default_rng(seed).permutation(len(uncertainty))[:count].tolist()


def _suggested(uncertainty: np.ndarray, embeddings: np.ndarray, _: np.ndarray, count: int, seed: int) -> list[int]:
    del seed
    # No two of the pets look alike.
    hashes = np.random.default_rng(0).integers(0, 256, [len(uncertainty), HASH_BYTES]).astype(np.uint8)
    return choose(uncertainty, embeddings, hashes, hashes[:0], count).chosen


def _uncertain(uncertainty: np.ndarray, _: np.ndarray, __: np.ndarray, count: int, seed: int) -> list[int]:
    del seed
    return np.argsort(-uncertainty)[:count].tolist()


def _core_set(_: np.ndarray, embeddings: np.ndarray, labeled: np.ndarray, count: int, seed: int) -> list[int]:
    del seed
    every = np.concatenate([embeddings, labeled])
    every /= np.linalg.norm(every, axis=1, keepdims=True)
    distances = np.linalg.norm(every[: len(embeddings), np.newaxis] - every, axis=2)
    nearest = distances[:, len(embeddings) :].min(axis=1)
    taken: list[int] = []
    for _ in range(count):
        taken.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, distances[:, taken[-1]])
    return taken


_CONTENDERS: dict[str, _Chooser] = {
    "random": _random,
    "suggested": _suggested,
    "uncertain": _uncertain,
    "core_set": _core_set,
}


class _Learner:
    """Trains decoders on the maps of a pretrained encoder, each from weights that only the seed decides on."""

    def __init__(self, sizes: Any):
        self._sizes, self._num_classes = sizes, num_classes(source_folder())
        images, labels = _read([*train_files(source_folder()), *train_files(source_folder(), "eval")], sizes.pixels)
        test, self._test_labels = _read(train_files(source_folder(), "test"), sizes.pixels)
        mean, scale = images.mean((0, 1, 2)), 1 / images.std((0, 1, 2))
        images, test = ((pixels - mean) * scale for pixels in (images, test))
        self.count, self._shape = len(images), (sizes.pixels, sizes.pixels, 3)
        settings = ModelSettings(filters=sizes.filters, encoder_weights="imagenet")
        self._settings = settings.for_input(sizes.pixels, sizes.pixels)
        network, self._features = build_with_features(self._settings, self._shape, self._num_classes, "float32")
        self._settings.chosen_encoder.load_weights(network)
        self._encoder = keras.Model(network.input, [level.maps for level in self._features])
        # The second half is mirrored.
        self._maps = self._encoded(np.concatenate([images, images[:, :, ::-1]]))
        self._labels = np.concatenate([labels, labels[:, :, ::-1]]).astype(np.int32)
        self._test = self._encoded(test)
        coarsest = next(maps for maps in reversed(self._maps) if maps.shape[1] * maps.shape[2] > 1)
        self.embeddings = coarsest[: self.count].mean((1, 2))
        self._first = {}
        for seed in range(sizes.seeds):
            keras.utils.set_random_seed(seed)
            self._first[seed] = self._decoder().get_weights()
        self._model = self._decoder()
        for layer in self._model._flatten_layers():
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.momentum = 0.9
        self._optimizer = keras.optimizers.Adam()
        self._optimizer.build(self._model.trainable_variables)
        self._before = [np.array(variable) for variable in self._optimizer.variables]
        self._step = tf.function(self._train_step, autograph=False)
        self._logits = tf.function(lambda maps: self._model(maps, training=False), autograph=False)

    def _encoded(self, images: np.ndarray) -> list[np.ndarray]:
        parts = [[maps.numpy() for maps in self._encoder(part, training=False)] for part in _parts(images)]
        return [np.concatenate(maps) for maps in zip(*parts, strict=True)]

    def _decoder(self) -> keras.Model:
        inputs = [keras.Input(maps.shape[1:]) for maps in self._maps]
        levels = [dataclasses.replace(level, maps=maps) for level, maps in zip(self._features, inputs, strict=True)]
        decoder = self._settings.chosen_decoder
        return keras.Model(inputs, decoder.build(keras.Input(self._shape), levels, self._num_classes, "float32"))

    def _train_step(self, maps: list[tf.Tensor], labels: tf.Tensor) -> None:
        variables = self._model.trainable_variables
        with tf.GradientTape() as tape:
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, self._model(maps, training=True))
            loss = tf.reduce_mean(losses)
        self._optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))

    def train(self, indexes: np.ndarray, seed: int) -> None:
        """Trains on some images."""
        sizes, generator = self._sizes, np.random.default_rng(seed)
        self._model.set_weights(self._first[seed])
        for variable, value in zip(self._optimizer.variables, self._before, strict=True):
            variable.assign(value)
        epochs = sizes.steps * sizes.batch_size // len(indexes) + 1
        order = np.concatenate([generator.permutation(indexes) for _ in range(epochs)])
        order = order + generator.integers(0, 2, len(order)) * self.count
        for step in range(sizes.steps):
            part = order[step * sizes.batch_size : (step + 1) * sizes.batch_size]
            fall = 0.5 * (1 + np.cos(np.pi * step / sizes.steps))
            self._optimizer.learning_rate = 4e-3 * min(1, (step + 1) / _WARMUP) * fall
            self._step([tf.constant(maps[part]) for maps in self._maps], tf.constant(self._labels[part]))

    def _predict(self, maps: list[np.ndarray]) -> np.ndarray:
        parts = zip(*(_parts(one) for one in maps), strict=True)
        return np.concatenate([self._logits([tf.constant(one) for one in part]) for part in parts])

    def mean_iou(self) -> float:
        """Of the test images."""
        ids = self._predict(self._test).argmax(axis=-1)
        confusion = metrics.confusion_matrix(self._test_labels, ids, self._num_classes)
        return float(metrics.mean_iou(metrics.class_totals(confusion)))

    def uncertainty(self) -> np.ndarray:
        """The mean entropy of each image's pixels."""
        logs = tf.nn.log_softmax(self._predict([maps[: self.count] for maps in self._maps])).numpy()
        return -(np.exp(logs) * logs).sum(axis=-1).mean(axis=(1, 2)) / np.log(self._num_classes)


def _parts(values: np.ndarray) -> list[np.ndarray]:
    return [values[start : start + 20] for start in range(0, len(values), 20)]


def _read(files: list[str], pixels: int) -> tuple[np.ndarray, np.ndarray]:
    """[n, pixels, pixels, 3] float32 images and [n, pixels, pixels] labels."""
    images, labels = [], []
    for image, mask in read_examples(files):
        decoded = tf.io.decode_image(image, 3, expand_animations=False)
        images.append(tf.image.resize(decoded, (pixels, pixels), antialias=True).numpy())
        labels.append(tf.image.resize(tf.io.decode_png(mask, 1), (pixels, pixels), "nearest").numpy()[..., 0])
    return np.stack(images), np.stack(labels)


def _fewer(counts: list[int], values: list[float], reference: list[float]) -> float | None:
    """Which share of the images a contender saves to reach what the reference does in the end.

    Between the rounds, values are taken to rise evenly; None if it never gets there.
    """
    best = np.maximum.accumulate(values)
    if best[-1] < reference[-1]:
        return None
    place = int(np.argmax(best >= reference[-1]))
    if not place:
        return 1 - counts[0] / counts[-1]
    share = (reference[-1] - best[place - 1]) / (best[place] - best[place - 1])
    return float(1 - (counts[place - 1] + share * (counts[place] - counts[place - 1])) / counts[-1])


def main() -> None:
    """Measures and prints."""
    sizes = arguments(
        __doc__,
        pixels=64,
        filters=8,
        batch_size=8,
        steps=400,
        seeds=3,
        first=40,
        more=40,
        rounds=3,
        contenders="suggested,uncertain,random",
    )
    names = chosen(sizes.contenders, _CONTENDERS)
    learner = _Learner(sizes)
    counts = [sizes.first + turn * sizes.more for turn in range(sizes.rounds + 1)]
    found: dict[str, list[list[float]]] = {name: [] for name in names}
    for seed in range(sizes.seeds):
        first = np.random.default_rng(100 + seed).permutation(learner.count)[: sizes.first]
        learner.train(first, seed)
        begun = learner.mean_iou(), learner.uncertainty()
        for name in names:
            labeled, (value, uncertainty) = first, begun
            values = [value]
            for turn in range(sizes.rounds):
                rest = np.setdiff1d(np.arange(learner.count), labeled)
                embeddings = learner.embeddings
                seen = (uncertainty[rest], embeddings[rest], embeddings[labeled])
                picked = _CONTENDERS[name](*seen, sizes.more, seed * sizes.rounds + turn)
                labeled = np.concatenate([labeled, rest[picked]])
                learner.train(labeled, seed)
                values.append(learner.mean_iou())
                uncertainty = learner.uncertainty()
            found[name].append([round(value, 4) for value in values])
            print(f"seed {seed}, {name}: {found[name][-1]}", flush=True)
    means = {
        name: [statistics.mean(values) for values in zip(*of_seeds, strict=True)] for name, of_seeds in found.items()
    }
    (first_name, *others) = names
    reference = others[-1] if others else first_name
    report(
        "suggest",
        means[first_name][-1],
        f"mean IoU of {first_name} with {counts[-1]} images",
        reference,
        means[reference][-1],
        **vars(sizes)
        | {
            "contenders": {
                name: {
                    "mean_ious": [round(value, 4) for value in means[name]],
                    "of_seeds": found[name],
                    "fewer_images": _fewer(counts, means[name], means[reference]),
                }
                for name in names
            }
        },
        images=counts,
    )


if __name__ == "__main__":
    main()
