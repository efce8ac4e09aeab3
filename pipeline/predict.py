"""Predicts with a pushed model: class-id masks and coloured overlays at each image's own size."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from PIL import Image

from components.versions import version_path, versions
from data import contract
from data.errors import UserError
from data.images import BadImageError, read_image
from data.label_map import LabelMap
from models.preprocessing import placement
from models.signatures import CLASS_IDS, read_facts

_OVERLAY_OPACITY = 0.5


class Predictor:
    """A loaded model with its label map.

    Args:
      model: folder of a SavedModel, or of numbered versions, of which the newest is taken.

    Raises:
      UserError: if there is no model of segpipe's.
    """

    def __init__(self, model: str):
        numbered = versions(model)
        folder = version_path(model, numbered[-1]) if numbered else model
        facts = read_facts(folder)
        if facts is None:
            raise UserError(f"{model} holds no model of segpipe's; a run that passed its gate says where it pushed one")
        self.label_map = LabelMap.model_validate(facts["label_map"])
        self._preprocessing: dict[str, Any] = facts["preprocessing"]
        try:
            self._model = tf.saved_model.load(folder)
        except (OSError, ValueError) as error:
            raise UserError(f"{folder} cannot be loaded: {error}") from None

    def class_ids(self, encoded: bytes, height: int, width: int) -> np.ndarray:
        """[height, width] uint8 class ids of one JPEG or PNG image."""
        outputs = self._model.signatures["serving_default"](tf.constant([encoded]))
        size = self._preprocessing
        top, left, inner_height, inner_width = (
            int(value) for value in placement(height, width, size["height"], size["width"], size["resize"])
        )
        inside = outputs[CLASS_IDS][0, top : top + inner_height, left : left + inner_width, tf.newaxis]
        return tf.image.resize(inside, [height, width], method="nearest").numpy()[..., 0]


def predict(
    model: str, inputs: list[str], output: str, max_pixels: int = 100_000_000
) -> Iterator[tuple[str, str | None]]:
    """Writes `NAME_mask.png` (class ids) and `NAME_overlay.png` for each image, going on after bad files.

    Args:
      model: as for `Predictor`.
      inputs: image files, and TFRecords by the data contract, of which every image is predicted.
      output: folder to make.
      max_pixels: images with more are not decoded.

    Yields:
      The name of each image, with the reason if it could not be used.

    Raises:
      UserError: if there is no model, or two files would write the same mask.
    """
    stems = [pathlib.Path(path).stem for path in inputs]
    twice = sorted({stem for stem in stems if stems.count(stem) > 1})
    if twice:
        raise UserError(f"several inputs would write {twice[0]}_mask.png; predict them into different folders")
    predictor = Predictor(model)
    palette = np.array(predictor.label_map.palette, np.uint8)
    try:
        os.makedirs(output, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make the folder {output}: {error.strerror}") from None
    written: set[str] = set()
    for path in inputs:
        try:
            for name, content in _images(path):
                if name in written:
                    yield name, "another image wrote a mask of this name; predict them into different folders"
                    continue
                written.add(name)
                try:
                    image = read_image(content, None, max_pixels)
                    ids = predictor.class_ids(image.encoded, image.height, image.width)
                    pixels = tf.io.decode_image(image.encoded, channels=3, expand_animations=False).numpy()
                except (BadImageError, tf.errors.OpError) as error:
                    yield name if _holds_records(path) else path, str(error)
                    continue
                overlay = pixels * (1 - _OVERLAY_OPACITY) + palette[ids] * _OVERLAY_OPACITY
                Image.fromarray(ids).save(os.path.join(output, f"{name}_mask.png"))
                Image.fromarray(overlay.astype(np.uint8)).save(os.path.join(output, f"{name}_overlay.png"))
                yield name, None
        except OSError as error:
            yield path, error.strerror or str(error)
        except tf.errors.OpError as error:
            yield path, str(error)


def _holds_records(path: str) -> bool:
    return ".tfrecord" in pathlib.Path(path).name


def _images(path: str) -> Iterator[tuple[str, bytes]]:
    """Name and content of an image file, or of every image in a TFRecord; content is empty where there is none."""
    if not _holds_records(path):
        yield pathlib.Path(path).stem, pathlib.Path(path).read_bytes()
        return
    for index, record in enumerate(tf.data.TFRecordDataset(path, contract.compression_type(path))):
        try:
            features = tf.train.Example.FromString(record.numpy()).features.feature
            names = features[contract.SOURCE_ID].bytes_list.value
            contents = features[contract.IMAGE].bytes_list.value
        except DecodeError:
            names, contents = [], []
        name = (
            names[0].decode(errors="replace")
            if names
            else f"{pathlib.Path(path).name.partition('.tfrecord')[0]}_{index:05d}"
        )
        yield name.replace("/", "_"), contents[0] if contents else b""
