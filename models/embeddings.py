"""Images as vectors, in which images that a model sees alike lie close together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import keras
import numpy as np
import tensorflow as tf

from data.base.errors import UserError, one_line
from models.exports.network import cut_tiles
from models.inputs import preprocessing
from models.inputs.settings import PreprocessingSettings
from models.serving.loaded_model import UNDECODABLE, cannot_be_decoded
from models.serving.signatures import load, read_facts
from models.training.warm_start import load_network

# Images, or tiles of one, that go through the network at once.
_BATCH = 16


class Embedder:
    """The encoder of a SavedModel, fed as the SavedModel feeds it; of an ensemble, the encoder of its first network.

    Attributes:
      saved_model: TensorFlow's object.
      dimensions: d, the channels of the encoder's coarsest maps that have more than one pixel.

    Args:
      folder: the SavedModel.

    Raises:
      UserError: if it is no segpipe model, or its encoder cannot be had by itself.
    """

    def __init__(self, folder: str):
        facts = read_facts(folder)
        if facts is None:
            raise UserError(f"{folder} is not a segpipe model")
        try:
            exported, self.saved_model = load_network(folder), load(folder)
        except Exception as error:  # As for a warm start: models of another time may hold anything.
            reason = "it does not say its network" if isinstance(error, KeyError) else one_line(error)
            raise UserError(f"the encoder of {folder} cannot be built again: {reason}; train the model again") from None
        shape = PreprocessingSettings.of_facts(facts["preprocessing"])
        self._size, self._has_tiles = (shape.height, shape.width), shape.resize == "none"
        if not hasattr(self.saved_model, "begin_bands" if self._has_tiles else "pixels"):
            tells_apart = facts.get("task", "semantic") != "semantic"
            why = "tells objects apart in tiles" if tells_apart else "is of an earlier release; train it again"
            raise UserError(f"the encoder of {folder} cannot be had by itself: the model {why}")
        levels = [level.maps for level in exported.features]
        maps = next((maps for maps in reversed(levels) if maps.shape[1] * maps.shape[2] > 1), levels[-1])
        encoder = keras.Model(exported.network.inputs, maps)
        self.dimensions = int(maps.shape[-1])
        self._encode = tf.function(
            lambda inputs: tf.reduce_mean(encoder(inputs, training=False), axis=[1, 2]),
            input_signature=[tf.TensorSpec([None, *encoder.input_shape[1:]], tf.float32)],
            autograph=False,
        )

    def embed(self, images: Sequence[bytes]) -> np.ndarray:
        """The mean over space of what the encoder sees: [images, d] float32.

        Args:
          images: encoded, as clients send them.

        Raises:
          BadImageError: if one of them cannot be decoded.
        """
        return self.means(images, self.encode, self.dimensions)

    def encode(self, inputs: tf.Tensor) -> tf.Tensor:
        """[batch, height, width, channels] normalized images → [batch, d]."""
        return self._encode(inputs)

    def means(self, images: Sequence[bytes], measure: Callable[[tf.Tensor], tf.Tensor], count: int) -> np.ndarray:
        """What a function gives of each image, or the mean of that over an image's tiles: [images, count] float32.

        Args:
          images: likewise.
          measure: [batch, height, width, channels] normalized images at the model's size → [batch, count].
          count: how many numbers it gives.

        Raises:
          BadImageError: if one of them cannot be decoded.
        """
        found = np.empty([len(images), count], np.float32)
        try:
            if self._has_tiles:
                for index, image in enumerate(images):
                    found[index] = np.concatenate([measure(inputs) for inputs in self._tiles(image)]).mean(axis=0)
            else:
                for start in range(0, len(images), _BATCH):
                    _, *pixels = self.saved_model.pixels(tf.constant(list(images[start : start + _BATCH])))
                    found[start : start + _BATCH] = measure(preprocessing.normalize(*pixels))
        except UNDECODABLE as error:
            raise cannot_be_decoded(error) from None
        return found

    def _tiles(self, image: bytes) -> Iterator[tf.Tensor]:
        """Batches of the normalized tiles of an image."""
        _, _, pixels, mean, scale, *_ = self.saved_model.begin_bands(tf.constant(image))
        tiles = cut_tiles(pixels.numpy(), *self._size)
        for start in range(0, len(tiles), _BATCH):
            yield preprocessing.normalize(tiles[start : start + _BATCH], mean, scale)
