"""The exported SavedModel: what clients and the evaluator call, and the facts that travel with it."""

from __future__ import annotations

import json
import os
from typing import Any

import tensorflow as tf

from data import contract
from models import preprocessing, tiling

# Names in the signatures.
IMAGES = "image_bytes"
EXAMPLES = "examples"
CLASS_IDS = "class_ids"
CONFIDENCE = "confidence"
CONFUSION = "confusion_matrix"

# TF Serving leaves the folder `assets.extra` alone, and copies of a SavedModel keep it.
FACTS_PATH = os.path.join("assets.extra", "segpipe.json")


class ServingModule(tf.Module):
    """The transform graph and the model as one; every signature decodes, resizes and normalizes by that graph.

    Args:
      model: [batch, height, width, channels] → [batch, height, width, C] logits.
      transform: tf.Transform's layer from raw to transformed features.
      by_tiles: whether images are not resized, but segmented at their own size by tiles of the model's input.
    """

    def __init__(self, model: Any, transform: Any, by_tiles: bool):
        super().__init__()
        self.model = model
        self._by_tiles, self._num_classes = by_tiles, model.output_shape[-1]
        # In Keras' order, by which another training can read them.
        self.weights = [variable.value for variable in model.weights]
        # A plain function: of a layer that it tracks, TensorFlow would export traces that nobody calls, in ten seconds.
        self.transform = lambda features: transform(features)

    @tf.function(autograph=False, input_signature=[tf.TensorSpec([None], tf.string, name=IMAGES)])
    def serve_images(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """[batch] JPEG or PNG bytes → `class_ids` uint8 and `confidence` float32, both [batch, height, width].

        By tiles, height and width are those of the largest image; beside the others the class is 255, the confidence 0.
        """
        if self._by_tiles:
            return self._each_at_its_size(image_bytes)
        return self._predict(self.transform({contract.IMAGE: image_bytes})[preprocessing.IMAGE])

    @tf.function(autograph=False, input_signature=[tf.TensorSpec([None], tf.string, name=EXAMPLES)])
    def serve_examples(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """[batch] serialized tf.train.Examples → `confusion_matrix` [batch, C, C] int64, by label and class id."""
        if self._by_tiles:
            confusion = tf.map_fn(
                self._confusion_at_its_size,
                examples,
                fn_output_signature=tf.TensorSpec([self._num_classes] * 2, tf.int64),
                parallel_iterations=1,
            )
            return {CONFUSION: confusion}
        transformed = self.transform(tf.io.parse_example(examples, feature_spec()))
        class_ids = self._predict(transformed[preprocessing.IMAGE])[CLASS_IDS]
        return {CONFUSION: _confusion_matrices(transformed[preprocessing.LABEL], class_ids, self._num_classes)}

    def _predict(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
        probabilities = tf.nn.softmax(self.model(image, training=False))
        return {
            CLASS_IDS: tf.cast(tf.argmax(probabilities, axis=-1), tf.uint8),
            CONFIDENCE: tf.reduce_max(probabilities, axis=-1),
        }

    def _each_at_its_size(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        def one(encoded: tf.Tensor) -> tuple[tf.RaggedTensor, ...]:
            maps = self._predict_by_tiles(self.transform({contract.IMAGE: encoded[tf.newaxis]}))
            return tuple(tf.RaggedTensor.from_tensor(values) for values in maps)

        # One at a time: an image of 12 million pixels takes 36 MB decoded.
        class_ids, confidence = tf.map_fn(
            one,
            image_bytes,
            fn_output_signature=tuple(
                tf.RaggedTensorSpec([None, None], dtype, ragged_rank=1) for dtype in (tf.uint8, tf.float32)
            ),
            parallel_iterations=1,
        )
        return {CLASS_IDS: class_ids.to_tensor(contract.IGNORE_LABEL), CONFIDENCE: confidence.to_tensor(0.0)}

    def _confusion_at_its_size(self, example: tf.Tensor) -> tf.Tensor:
        transformed = self.transform(tf.io.parse_example(example[tf.newaxis], feature_spec()))
        class_ids, _ = self._predict_by_tiles(transformed)
        label = preprocessing.pixels_of(transformed[preprocessing.LABEL][0], 1)
        return _confusion_matrices(label[tf.newaxis], class_ids[tf.newaxis], self._num_classes)[0]

    def _predict_by_tiles(self, transformed: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        """[h, w] class ids and confidence of the one image in a batch."""
        _, height, width, channels = self.model.input_shape
        return tiling.segment(
            lambda tiles: self.model(tiles, training=False),
            self._num_classes,
            preprocessing.pixels_of(transformed[preprocessing.PIXELS][0], channels),
            transformed[preprocessing.MEAN],
            transformed[preprocessing.SCALE],
            (height, width),
        )


def _confusion_matrices(labels: tf.Tensor, class_ids: tf.Tensor, num_classes: int) -> tf.Tensor:
    """`models.metrics.confusion_matrix` of each image of a batch: so that no map leaves the graph.

    Args:
      labels: [batch, …] integer class ids; 255 is not counted.
      class_ids: [batch, …] predicted ones.
      num_classes: C.

    Returns:
      [batch, C, C] int64.
    """
    labels, class_ids = (tf.cast(tf.reshape(ids, [tf.shape(ids)[0], -1]), tf.int32) for ids in (labels, class_ids))
    pairs = tf.where(labels == contract.IGNORE_LABEL, num_classes**2, labels * num_classes + class_ids)
    counts = tf.math.bincount(pairs, minlength=num_classes**2 + 1, maxlength=num_classes**2 + 1, axis=-1)
    return tf.cast(tf.reshape(counts[:, :-1], [-1, num_classes, num_classes]), tf.int64)


def feature_spec() -> dict[str, tf.io.FixedLenFeature]:
    """How to parse the features that the transform graph reads."""
    return {name: tf.io.FixedLenFeature([], tf.string) for name in (contract.IMAGE, contract.MASK)}


def export(model: Any, transform: Any, folder: str, facts: dict[str, Any]) -> None:
    """Saves a model with the signatures `serving_default` and `examples`, for batches of any size.

    Args:
      model: the trained model, in float32.
      transform: tf.Transform's layer.
      folder: where the SavedModel goes.
      facts: what users of the model need to know: label map and preprocessing, kept in `assets.extra/segpipe.json`.
    """
    module = ServingModule(model, transform, by_tiles=facts["preprocessing"]["resize"] == "none")
    tf.saved_model.save(
        module, folder, signatures={"serving_default": module.serve_images, EXAMPLES: module.serve_examples}
    )
    path = os.path.join(folder, FACTS_PATH)
    tf.io.gfile.makedirs(os.path.dirname(path))
    with tf.io.gfile.GFile(path, "w") as file:
        json.dump(facts, file, indent=2)


def read_facts(folder: str) -> dict[str, Any] | None:
    """The facts that `export` kept, or None if the folder is not a model of segpipe's."""
    path = os.path.join(folder, FACTS_PATH)
    if not tf.io.gfile.exists(path):
        return None
    with tf.io.gfile.GFile(path) as file:
        return json.load(file)
