"""The network of a SavedModel by itself: what exports are made of, and what they are compared with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from data.base.errors import UserError
from data.contract import IGNORE_LABEL
from data.decoding.arrays import encode_array
from data.decoding.images import encode_png
from data.label_map import LabelMap
from models.inputs import preprocessing
from models.inputs.settings import PreprocessingSettings
from models.serving.signatures import load, read_facts
from models.settings import ModelSettings


def outputs_of(logits: tf.Tensor) -> dict[str, tf.Tensor]:
    """What an export gives: `class_ids` and `confidence` of logits, and the `logits` themselves."""
    return {
        "class_ids": tf.cast(tf.argmax(logits, axis=-1, output_type=tf.int32), tf.uint8),
        "confidence": tf.reduce_max(tf.nn.softmax(logits), axis=-1),
        # With a name of their own: an output of the graph may be nothing else.
        "logits": tf.identity(logits),
    }


class Network:
    """From pixels at the model's size to class ids; normalization is inside.

    Attributes:
      facts: of the model.
      saved_model: TensorFlow's object, which holds the weights.
      segment: `pixels` [batch, height, width, channels] → `class_ids` uint8 and `confidence` float32, both [batch,
        height, width], and `logits` [batch, height, width, C] float32. Pixels are uint8 where the images are gray or
        RGB of 8 bits, and else float32.
      mean: of the training images, by channel, in values of pixels.

    Args:
      folder: the SavedModel.

    Raises:
      UserError: if it is not a segpipe model, or its network cannot be exported by itself.
    """

    def __init__(self, folder: str):
        facts = read_facts(folder)
        if facts is None:
            raise UserError(f"{folder} is not a segpipe model")
        if facts.get("task", "semantic") != "semantic":
            raise UserError(f"{folder} tells objects apart, which is done outside its network: it cannot be exported")
        if reason := _not_exported(facts):
            raise UserError(f"{folder} cannot be exported: {reason}")
        self.facts, self.saved_model = facts, load(folder)
        self._shape = PreprocessingSettings.of_facts(facts["preprocessing"])
        self._keeps_size = self._shape.resize == "none"
        if not hasattr(self.saved_model, "begin_bands" if self._keeps_size else "pixels"):
            raise UserError(f"{folder} is of an earlier release, which exported nothing; train it again")
        self.num_classes = len(LabelMap.model_validate(facts["label_map"]).names)
        self.pixel_type = np.dtype(self._shape.exported_type)
        _, mean, scale = self._read(self._constant_image(0))
        self.mean, self._scale = mean, scale
        self._limits = self._find_limits() if self._shape.percentiles else None
        size = (self._shape.height, self._shape.width, self._shape.num_channels)
        self.segment = tf.function(
            self._segment,
            input_signature=[tf.TensorSpec([None, *size], tf.as_dtype(self.pixel_type), name="pixels")],
            autograph=False,
        )

    def _segment(self, pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        # As NumPy arrays: tensors that a function captures would become inputs of the exported one.
        if self._limits:
            pixels = tf.clip_by_value(pixels, *self._limits)
        logits = self.saved_model.logits(preprocessing.normalize(pixels, self.mean[None], self._scale[None]))
        return outputs_of(logits)

    def pixels(self, encoded: bytes) -> np.ndarray:
        """What the network sees of an encoded image: [tiles, height, width, channels], one tile if it is resized."""
        pixels, _, _ = self._read(encoded)
        return cut_tiles(pixels, self._shape.height, self._shape.width) if self._keeps_size else pixels[None]

    def labels(self, mask: bytes) -> np.ndarray:
        """The same of its mask: [tiles, height, width] class ids, each pixel of the mask once, 255 elsewhere."""
        label = tf.io.decode_png(mask, 1)
        shape = self._shape
        if not self._keeps_size:
            fitted = preprocessing.fit_mask(label, shape.height, shape.width, shape.resize, IGNORE_LABEL)
            return fitted.numpy()[None, ..., 0]
        height, width = label.shape[:2]
        missing = [(0, max(0, shape.height - height)), (0, max(0, shape.width - width)), (0, 0)]
        padded = np.pad(label.numpy(), missing, constant_values=IGNORE_LABEL)
        return cut_tiles(padded, shape.height, shape.width, IGNORE_LABEL)[..., 0]

    def seen(self, examples: Iterable[tuple[bytes, bytes]]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """`pixels` and `labels` of encoded images and masks."""
        return ((self.pixels(image), self.labels(mask)) for image, mask in examples)

    def noise(self) -> tuple[np.ndarray, np.ndarray]:
        """Pixels like those of the training images, at random, and labels that do not count."""
        shape = (1, self._shape.height, self._shape.width, self._shape.num_channels)
        pixels = np.random.default_rng(0).normal(self.mean, 1 / self._scale, shape)
        if self.pixel_type.kind == "u":
            pixels = np.clip(pixels, 0, 255)
        return pixels.astype(self.pixel_type), np.full(shape[:3], IGNORE_LABEL)

    def describe(self) -> dict[str, Any]:
        """What a user of an export alone has to know."""
        shape = self._shape
        return {
            "label_map": self.facts["label_map"],
            "preprocessing": self.facts["preprocessing"],
            "input": {
                "name": "pixels",
                "shape": ["batch", shape.height, shape.width, shape.num_channels],
                "type": self.pixel_type.name,
                "padding": [round(float(value), 3) for value in self.mean],
            },
            "outputs": {
                "class_ids": {"shape": ["batch", shape.height, shape.width], "type": "uint8"},
                "confidence": {"shape": ["batch", shape.height, shape.width], "type": "float32"},
                "logits": {"shape": ["batch", shape.height, shape.width, self.num_classes], "type": "float32"},
            },
        }

    def _read(self, encoded: bytes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """[h, w, channels] pixels of an image, [channels] mean and scale."""
        if self._keeps_size:
            _, _, pixels, mean, scale, *_ = self.saved_model.begin_bands(tf.constant(encoded))
        else:
            _, batch, mean, scale = self.saved_model.pixels(tf.constant([encoded]))
            pixels = batch[0]
        return pixels.numpy().astype(self.pixel_type), mean.numpy()[0], scale.numpy()[0]

    def _constant_image(self, value: float) -> bytes:
        shape = self._shape
        bands = [] if shape.has_pictures else [shape.num_bands]
        image = np.full([shape.height, shape.width, *bands], value, shape.type)
        return encode_png(image) if shape.has_pictures else encode_array(image)

    def _find_limits(self) -> tuple[np.ndarray, np.ndarray]:
        """The percentiles to which values are clipped, by channel: what becomes of the least and the largest value."""
        dtype = np.dtype(self._shape.type)
        # The extreme values themselves may stand for no data.
        ends = (-1e30, 1e30)
        if dtype.kind in "iu":
            limits = np.iinfo(dtype.name)
            ends = (limits.min + 1, limits.max - 1)
        low, high = (self._read(self._constant_image(end))[0][0, 0] for end in ends)
        return low, high


def _not_exported(facts: dict[str, Any]) -> str:
    """Why no model with this decoder can be exported; "" if it can, or the decoder is not known here."""
    try:
        return ModelSettings.model_validate(facts["model"]).chosen_decoder.not_exported
    except (KeyError, ValueError):
        return ""


def cut_tiles(values: np.ndarray, height: int, width: int, seen: int | None = None) -> np.ndarray:
    """Cuts an image into tiles of a network's size, of which the last of a row or column overlap with those before.

    Args:
      values: [h, w, …], at least as large as a tile.
      height: of a tile.
      width: likewise.
      seen: what takes the place of values that an earlier tile holds; by default they stay.

    Returns:
      [tiles, height, width, …].
    """
    tiles = []
    for top, row in _starts(len(values), height):
        for left, column in _starts(values.shape[1], width):
            tile = values[top : top + height, left : left + width]
            if seen is not None:
                tile = tile.copy()
                tile[: row - top], tile[:, : column - left] = seen, seen
            tiles.append(tile)
    return np.stack(tiles)


def _starts(length: int, side: int) -> list[tuple[int, int]]:
    """Where tiles begin along a side, and where what is new in each begins."""
    return [(min(start, length - side), start) for start in range(0, length, side)]
