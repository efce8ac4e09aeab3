"""What a model makes of images that may be labeled, and which images have labels already."""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

import numpy as np
import tensorflow as tf

from data import contract
from data.base.errors import one_line
from data.decoding.errors import BadImageError
from data.decoding.images import EncodedImage, read_image
from data.decoding.pictures import picture_of
from data.formats.volume.files import is_volume
from data.label_map import LabelMap
from data.listing.split_folders import placing
from data.near_duplicates import perceptual_hash
from data.records import read_features
from models.embeddings import Embedder
from models.inputs.settings import PreprocessingSettings
from models.serving.inputs import holds_records, read_images
from models.serving.signatures import read_facts

_BATCH = 16
_PLAIN = "it shows nothing: all of it has nearly one color"


@dataclasses.dataclass(frozen=True)
class Place:
    """Where an image is.

    Attributes:
      path: of the file.
      number: its place in a TFRecord file, from 0 on; 0 for an image file.
      name: what it is called: its id in a TFRecord, or its path without the suffix below the folder that was given.
    """

    path: str
    number: int
    name: str

    @property
    def label(self) -> str:
        """What messages call it."""
        return self.name if holds_records(self.path) else self.path


@dataclasses.dataclass(frozen=True)
class Candidate:
    """An image that may be labeled.

    Attributes:
      place: where it is.
      hash: of `perceptual_hash`.
      embedding: [d] float32.
      uncertainty: the mean entropy of the pixels' class probabilities, at the model's size, from 0 for certain to 1
        for equal probabilities of all classes.
    """

    place: Place
    hash: int
    embedding: np.ndarray
    uncertainty: float


@dataclasses.dataclass(frozen=True)
class Labeled:
    """The images that have labels.

    Attributes:
      names: what they are called, without folders of splits.
      hashes: of `perceptual_hash`, of those that have one.
    """

    names: set[str]
    hashes: list[int]


def images_at(
    files: Mapping[str, str], max_pixels: int, wanted: Collection[tuple[str, int]] | None = None
) -> Iterator[tuple[Place, EncodedImage | BadImageError]]:
    """Each image with its place, checked and upright, or what is wrong with it; one image is in memory at a time.

    Args:
      files: with the names of their results, as `find_inputs` returns them.
      max_pixels: larger images are refused.
      wanted: path and number of the places that are looked at; by default all.
    """
    for path, stem in files.items():
        number = 0
        try:
            if is_volume(path):
                raise BadImageError("it is a volume, not an image")
            for number, (name, content) in enumerate(read_images(path, stem)):
                if wanted is not None and (path, number) not in wanted:
                    continue
                place = Place(path, number, name)
                try:
                    if not content:
                        raise BadImageError("it is empty")
                    image = read_image(content, None, max_pixels)
                    if image.format == "npy":
                        raise BadImageError("labeling tools open images with one or three bands only")
                    yield place, image
                except BadImageError as error:
                    yield place, error
        except (BadImageError, OSError, tf.errors.OpError) as error:  # What comes after it in a file is lost.
            yield Place(path, number, path), BadImageError(getattr(error, "strerror", None) or one_line(error))


class Viewer:
    """What a SavedModel makes of images.

    Attributes:
      dimensions: d, of embeddings.

    Args:
      folder: the SavedModel.

    Raises:
      UserError: as for `Embedder`.
    """

    def __init__(self, folder: str):
        self._embedder = Embedder(folder)
        self.dimensions = self._embedder.dimensions
        facts = read_facts(folder) or {}
        self._shape = PreprocessingSettings.of_facts(facts["preprocessing"])
        self._num_classes = len(LabelMap.model_validate(facts["label_map"]))

    def candidates(
        self,
        images: Iterable[tuple[Place, EncodedImage | BadImageError]],
        left_out: Callable[[Place, str], None],
        progress: Callable[[int], None] = lambda number: None,
    ) -> Iterator[Candidate]:
        """The images that can be used.

        Args:
          images: of `images_at`.
          left_out: called with the place of an image that cannot be used, and the reason.
          progress: called with the number of images so far, now and then.
        """
        number = 0
        images = iter(images)
        while batch := list(itertools.islice(images, _BATCH)):
            good = []
            for place, image in batch:
                if isinstance(image, BadImageError):
                    left_out(place, str(image))
                elif (found := self.hash_of(image.encoded)) is None:
                    left_out(place, _PLAIN)
                else:
                    good.append((place, image.encoded, found))
            seen = self._seen([encoded for _, encoded, _ in good])
            for (place, _, found), row in zip(good, seen, strict=True):
                if isinstance(row, BadImageError):
                    left_out(place, str(row))
                else:
                    yield Candidate(place, found, row[:-1], float(row[-1]))
            number += len(batch)
            progress(number)

    def hash_of(self, encoded: bytes) -> int | None:
        """The perceptual hash of an image as the data contract stores it."""
        return perceptual_hash(picture_of(encoded, self._shape.band_names, self._shape.nodata))

    def _seen(self, images: list[bytes]) -> list[np.ndarray | BadImageError]:
        """Of each image embedding and uncertainty, or why there is none."""
        if not images:
            return []
        try:
            return list(self._embedder.means(images, self._measure, self.dimensions + 1))
        except BadImageError as error:
            # Another one of the batch may be to blame.
            return [error] if len(images) == 1 else [row for image in images for row in self._seen([image])]

    def _measure(self, inputs: tf.Tensor) -> tf.Tensor:
        logs = tf.nn.log_softmax(self._embedder.saved_model.logits(inputs)[..., : self._num_classes])
        entropy = -tf.reduce_mean(tf.reduce_sum(tf.exp(logs) * logs, axis=-1), axis=[1, 2]) / np.log(self._num_classes)
        return tf.concat([self._embedder.encode(inputs), entropy[:, tf.newaxis]], axis=1)

    def labeled(self, paths: Iterable[str], progress: Callable[[int], None] = lambda number: None) -> Labeled:
        """The images in TFRecords that keep the data contract; what cannot be decoded is passed over.

        Args:
          paths: the files.
          progress: called with the number of images so far.

        Raises:
          UserError: if a file is damaged.
        """
        names: set[str] = set()
        hashes: list[int] = []
        number = 0
        for path in paths:
            for features in read_features(path):
                for source_id in features[contract.SOURCE_ID].bytes_list.value[:1]:
                    names.add(plain_name(source_id.decode(errors="replace")))
                for encoded in features[contract.IMAGE].bytes_list.value[:1]:
                    try:
                        found = self.hash_of(encoded)
                    except BadImageError:  # The data gate says so.
                        continue
                    hashes += [] if found is None else [found]
                number += 1
                progress(number)
        return Labeled(names, hashes)


def plain_name(name: str) -> str:
    """The name of an image without folders of splits."""
    return placing(name.replace(os.sep, "/")).rest
