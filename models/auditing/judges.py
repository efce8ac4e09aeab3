"""Who says what an image shows: the deployed model, or that one of its networks that has not learned from the image."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from data.base.errors import UserError, one_line
from data.base.files import join
from data.decoding.orientation import without_orientation
from data.label_map import LabelMap
from data.splits import fold_of
from models.ensemble.average import average
from models.inputs import arrays, preprocessing
from models.inputs.settings import PreprocessingSettings
from models.serving.loaded_model import UNDECODABLE, cannot_be_decoded
from models.serving.own_size import resizing, tiling
from models.serving.signatures import CLASS_IDS, CONFIDENCE, FACTS_PATH, SERVING, load, read_facts
from models.training.warm_start import load_network

# Class ids and their probabilities, both [height, width] of the image.
Maps = tuple[np.ndarray, np.ndarray]


class Judges:
    """The networks of a SavedModel.

    Attributes:
      facts: what the model says of itself.
      label_map: its classes.
      held_out: the number of folds, if for each image of train and eval a network is there that has not learned from
        it; else 0.

    Args:
      folder: the SavedModel.

    Raises:
      UserError: if it is no segpipe model, or its networks cannot be built again.
    """

    def __init__(self, folder: str):
        facts = read_facts(folder)
        if facts is None:
            raise UserError(f"{folder} is not a segpipe model: it has no {FACTS_PATH}")
        self.facts, self._folder = facts, folder
        self.label_map = LabelMap.model_validate(facts["label_map"])
        self._shape = PreprocessingSettings.of_facts(facts["preprocessing"])
        try:
            self._saved = load(folder)
        except Exception as error:  # TensorFlow raises nearly anything on a damaged model.
            raise UserError(f"{folder} cannot be used: {one_line(error)}") from None
        is_semantic = facts.get("task", "semantic") == "semantic"
        self.held_out = int(facts["train"]["folds"]) if is_semantic and facts.get("held_out") else 0
        self._networks = [self._network(member) for member in range(self.held_out)]

    def segment(self, encoded: bytes, group: str | None) -> Maps:
        """What the image shows, at its own size, as it is stored: an EXIF orientation is not looked at.

        Args:
          encoded: the image, as the data contract stores it.
          group: what its fold goes by, or None for all networks together, as they are served.

        Raises:
          BadImageError: if it cannot be decoded.
        """
        image = tf.constant(without_orientation(encoded))
        try:
            if group is not None and self.held_out:
                found = self._networks[fold_of(group, self.held_out)](image)
            else:
                outputs = self._saved.signatures[SERVING["original"]](image[tf.newaxis])
                found = (outputs[CLASS_IDS][0], outputs[CONFIDENCE][0])
        except UNDECODABLE as error:
            raise cannot_be_decoded(error) from None
        class_ids, confidence = (values.numpy() for values in found)
        return class_ids, confidence

    def _network(self, member: int) -> Callable[[tf.Tensor], Any]:
        """From an encoded image to its maps by one of the networks."""
        try:
            network = load_network(self._folder, member).network
        except Exception as error:  # As for a warm start: models of another time may hold anything.
            reason = one_line(error)
            raise UserError(f"the networks of {join(self._folder, '')} cannot be built again: {reason}") from None
        flips = self.facts["train"].get("test_time_flips", "none")
        whole = average([network], len(self.label_map), flips)

        def logits(images: tf.Tensor) -> tf.Tensor:
            return whole(images, training=False)

        def tiled(image: tf.Tensor) -> list[tf.Tensor]:
            _, size, pixels, mean, scale, *_ = self._saved.begin_bands(image)
            tile = (self._shape.height, self._shape.width)
            # A small image was enlarged to a tile.
            return [
                values[: size[0], : size[1]]
                for values in tiling.segment(logits, len(self.label_map), pixels, mean, scale, tile)
            ]

        def resized(image: tf.Tensor) -> list[tf.Tensor]:
            upright, *pixels = self._saved.pixels(image[tf.newaxis])
            size = arrays.size_of(upright[0])
            maps = [(resizing.class_ids, tf.uint8), (resizing.confidence, tf.float32)]
            return resizing.maps_at_size(logits(preprocessing.normalize(*pixels))[0], size, self._shape.resize, maps)

        found = tiled if self._shape.resize == "none" else resized
        return tf.function(found, input_signature=[tf.TensorSpec([], tf.string)], autograph=False)
