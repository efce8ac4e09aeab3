"""Patch training: random windows of images that keep their own size.

After Isensee et al., "nnU-Net", 2021 (Methods, training): all images give as many patches, however large they are, and
a third of the patches are centered on a pixel of a class drawn from those in the image, so that rare classes are seen.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from data.contract import IGNORE_LABEL
from models.inputs import preprocessing
from models.inputs.input_pipeline import DecodedExamples, new_array
from models.inputs.order import Part
from models.inputs.settings import PreprocessingSettings
from models.instances.scale import ObjectScale

_CENTERED_SHARE = 1 / 3
# How many pixels of each class are remembered per image, spread evenly over it.
_PIXELS_OF_A_CLASS = 256


class Patches(DecodedExamples):
    """The patches of a split, by index: as many as it takes windows of the input's size to cover all images.

    Without a seed they are these windows. Each pixel is labeled in one window alone: where windows overlap, all but the
    first have 255, "ignore". With a seed they are random windows, of each image as many.

    Args:
      patterns: of the TFRecords; those that end in `.gz` are gzipped.
      transform: tf.Transform's layer.
      shape: of the model's input.
      count: of the images.
      pixels: of all images, in total.
      cache: where decoded images are kept: a folder, or "" for the memory.
      objects: what is known of them, if labels also say which object each pixel belongs to, as `transform` does.
    """

    unit = "patches"
    # Images differ in size, and one alone may be large.
    _decode_batch = 1

    def __init__(
        self,
        patterns: list[str],
        transform: Callable[[dict[str, tf.Tensor]], dict[str, tf.Tensor]],
        shape: PreprocessingSettings,
        count: int,
        pixels: int,
        cache: str,
        objects: ObjectScale | None = None,
    ):
        self._num_pixels = pixels
        super().__init__(patterns, transform, shape, count, cache, objects)

    def _decode_all(self, folder: str) -> None:
        num_channels, dtype = self.shape.num_channels, self._pixel_type.as_numpy_dtype
        pixels = new_array(folder, "pixels", (self._num_pixels, num_channels), dtype)
        labels = new_array(folder, "labels", (self._num_pixels,))
        objects = new_array(folder, "objects", (self._num_pixels,), np.uint16) if self.has_objects else None
        self._images: list[np.ndarray] = []
        self._labels: list[np.ndarray] = []
        self._objects: list[np.ndarray] = []
        self._pixels_of_classes: list[dict[int, np.ndarray]] = []
        corners, end = [], 0
        for features in self._decoded():
            serialized, channels = features[preprocessing.PIXELS][0], self.shape.num_channels
            image = preprocessing.pixels_of(serialized, channels, self._pixel_type).numpy()
            label = preprocessing.pixels_of(features[preprocessing.LABEL][0], 1).numpy()[..., 0]
            here = slice(end, end := end + label.size)
            pixels[here], labels[here] = image.reshape(-1, image.shape[-1]), label.ravel()
            corners += [(len(self._images), top, left) for top, left in _grid(label.shape, self._size)]
            self._images.append(pixels[here].reshape(image.shape))
            self._labels.append(labels[here].reshape(label.shape))
            if objects is not None:
                objects[here] = preprocessing.objects_of(features[preprocessing.OBJECTS][0]).numpy().ravel()
                self._objects.append(objects[here].reshape(label.shape))
            self._pixels_of_classes.append(_pixels_of_classes(label))
        self._fill = preprocessing.fill_color(self._mean[0], self._pixel_type).numpy()
        self._cover(np.array(corners, np.int64).reshape(-1, 3))

    def _cover(self, corners: np.ndarray) -> None:
        """Takes windows, [N, 3] numbers of images, tops and lefts, and deals as many random ones to the images."""
        self._corners, self.count = corners, len(corners)
        images = np.unique(corners[:, 0])
        # Of each index the image that a random window is cut from.
        self._drawn = images[np.arange(self.count) * len(images) // max(self.count, 1)]

    def select(self, images: np.ndarray) -> Patches:
        selected = copy.copy(self)
        selected._images_read = self._images_read[images]
        selected._cover(self._corners[np.isin(self._corners[:, 0], selected._images_read)])
        return selected

    @property
    def _size(self) -> tuple[int, int]:
        return self.shape.height, self.shape.width

    def classes_shown(self, num_classes: int) -> np.ndarray:
        shown = [[class_id in found for class_id in range(num_classes)] for found in self._pixels_of_classes]
        return np.array(shown)[self._drawn]

    def take(
        self, indices: tf.Tensor, seed: tf.Tensor | None = None, part: Part | None = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        if seed is None:
            pixels, label = tf.numpy_function(self._windows, [indices], (self._pixel_type, self._label_type))
        else:
            count = tf.size(indices)
            draws = (part or Part(0, count)).draw(count, seed, numbers=5)
            pixels, label = tf.numpy_function(
                self._random_windows, [indices, draws], (self._pixel_type, self._label_type)
            )
        return self._normalized(indices, pixels, label)

    def _windows(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        windows = [self._cut(*self._corners[index]) for index in indices]
        for index, (_, label) in zip(indices, windows, strict=True):
            # Corners lie at multiples of the size, except in the last row and column.
            top, left = (-self._corners[index, axis] % self._size[axis - 1] for axis in (1, 2))
            label[:top], label[:, :left] = IGNORE_LABEL, IGNORE_LABEL
        pixels, labels = zip(*windows, strict=True)
        return np.stack(pixels), np.stack(labels)

    def _random_windows(self, indices: np.ndarray, draws: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        windows = []
        for image, (kind, class_draw, pixel_draw, *place) in zip(self._drawn[indices], draws, strict=True):
            room = np.maximum(np.subtract(self._labels[image].shape, self._size), 0)
            corner = np.floor(place * (room + 1)).astype(int)
            of_classes = list(self._pixels_of_classes[image].values())
            if kind < _CENTERED_SHARE and of_classes:
                found = of_classes[int(class_draw * len(of_classes))]
                center = np.unravel_index(found[int(pixel_draw * len(found))], self._labels[image].shape)
                corner = np.clip(np.subtract(center, np.floor_divide(self._size, 2)), 0, room)
            windows.append(self._cut(image, *corner))
        pixels, labels = zip(*windows, strict=True)
        return np.stack(pixels), np.stack(labels)

    def _cut(self, image: int, top: int, left: int) -> tuple[np.ndarray, np.ndarray]:
        """A window; where a small image ends, it has the mean color and the label 255."""
        here = slice(top, top + self._size[0]), slice(left, left + self._size[1])
        label = self._labels[image][here]
        if self.has_objects:
            label = np.stack([label, self._objects[image][here]], axis=-1, dtype=np.int32)
        pixels = np.tile(self._fill, (*self._size, 1))
        labels = np.full([*self._size, *label.shape[2:]], IGNORE_LABEL, label.dtype)
        for whole, part in ((pixels, self._images[image][here]), (labels, label)):
            whole[: part.shape[0], : part.shape[1]] = part
        return pixels, labels

    def source_ids(self, indices: np.ndarray) -> list[str]:
        return [self._source_ids[image].decode(errors="replace") for image in self._corners[indices, 0]]


def _grid(image: tuple[int, ...], size: tuple[int, int]) -> list[tuple[int, int]]:
    """Top and left of adjacent windows; the last ones end at the image's edge."""
    tops, lefts = (
        [min(start, max(length - window, 0)) for start in range(0, length, window)]
        for length, window in zip(image, size, strict=True)
    )
    return [(top, left) for top in tops for left in lefts]


def _pixels_of_classes(label: np.ndarray) -> dict[int, np.ndarray]:
    """Positions in the flat label of some pixels of each class that occurs."""
    result = {}
    for class_id in np.flatnonzero(np.bincount(label.ravel(), minlength=256)[:IGNORE_LABEL]):
        found = np.flatnonzero(label == class_id)
        chosen = np.linspace(0, len(found) - 1, min(len(found), _PIXELS_OF_A_CLASS)).astype(int)
        result[int(class_id)] = found[chosen]
    return result
