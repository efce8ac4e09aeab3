"""The exported SavedModel: what clients and the evaluator call, and the facts that travel with it."""

from __future__ import annotations

import json
import os
from typing import Any

import tensorflow as tf

from data import contract
from models import preprocessing

# Names in the signatures.
IMAGES = "image_bytes"
EXAMPLES = "examples"
CLASS_IDS = "class_ids"
CONFIDENCE = "confidence"
LABEL = "label"

# TF Serving leaves the folder `assets.extra` alone, and copies of a SavedModel keep it.
FACTS_PATH = os.path.join("assets.extra", "segpipe.json")


class ServingModule(tf.Module):
    """The transform graph and the model as one; every signature decodes, resizes and normalizes by that graph.

    Args:
      model: [batch, height, width, channels] → [batch, height, width, C] logits.
      transform: tf.Transform's layer from raw to transformed features.
    """

    def __init__(self, model: Any, transform: Any):
        super().__init__()
        self.model = model
        # In Keras' order, by which another training can read them.
        self.weights = [variable.value for variable in model.weights]
        # A plain function: of a layer that it tracks, TensorFlow would export traces that nobody calls, in ten seconds.
        self.transform = lambda features: transform(features)

    def _predict(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
        probabilities = tf.nn.softmax(self.model(image, training=False))
        return {
            CLASS_IDS: tf.cast(tf.argmax(probabilities, axis=-1), tf.uint8),
            CONFIDENCE: tf.reduce_max(probabilities, axis=-1),
        }

    @tf.function(autograph=False, input_signature=[tf.TensorSpec([None], tf.string, name=IMAGES)])
    def serve_images(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """[batch] JPEG or PNG bytes → `class_ids` uint8 and `confidence` float32, both [batch, height, width]."""
        return self._predict(self.transform({contract.IMAGE: image_bytes})[preprocessing.IMAGE])

    @tf.function(autograph=False, input_signature=[tf.TensorSpec([None], tf.string, name=EXAMPLES)])
    def serve_examples(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """[batch] serialized tf.train.Examples → the same, and `label` uint8 [batch, height, width]."""
        transformed = self.transform(tf.io.parse_example(examples, feature_spec()))
        label = tf.cast(transformed[preprocessing.LABEL], tf.uint8)
        return {**self._predict(transformed[preprocessing.IMAGE]), LABEL: label}


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
    module = ServingModule(model, transform)
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
