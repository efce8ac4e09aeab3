"""A version of a model in memory, and the follower that keeps the newest one there."""

from __future__ import annotations

import dataclasses
import logging
import os
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf import json_format
from tensorflow.core.protobuf import saved_model_pb2

from data.base.errors import UserError
from data.images import encode_png, open_image
from models.serving.signatures import CLASS_IDS, CONFIDENCE, read_facts
from models.serving.versions import fingerprint, version_path, versions

_LOG = logging.getLogger("segpipe.model_server")


class BadImageError(ValueError):
    """An image that the model does not take; the message is for the client."""


class TooManyPixelsError(BadImageError):
    """An image larger than the server's limit."""


@dataclasses.dataclass(frozen=True)
class Segmentation:
    """What the model makes of one image.

    Attributes:
      class_ids: [h, w] uint8.
      confidence: [h, w] float32, the probability of that class.
    """

    class_ids: np.ndarray
    confidence: np.ndarray


def image_size(content: bytes, max_pixels: int) -> tuple[int, int]:
    """Height and width of an encoded image, by its header alone: nothing is decoded that is too large.

    Args:
      content: the file.
      max_pixels: the most that are taken.

    Raises:
      BadImageError: if it is no JPEG or PNG.
      TooManyPixelsError: if it has more pixels.
    """
    try:
        # Pillow's other formats are none of the model's.
        width, height = open_image(content, formats=("JPEG", "PNG")).size
    except Exception:  # Pillow raises nearly anything on broken headers.
        raise BadImageError("not a JPEG or PNG image") from None
    if width * height > max_pixels:
        raise TooManyPixelsError(f"the image has {width}x{height} pixels; the limit is {max_pixels}")
    return height, width


class LoadedModel:
    """A SavedModel that is ready to answer.

    Args:
      folder: of the SavedModel.
      version: its number.

    Raises:
      ValueError: if it is no model of segpipe's, or does not answer.
    """

    def __init__(self, folder: str, version: int):
        facts = read_facts(folder)
        if facts is None:
            raise ValueError(f"{folder} holds no model of segpipe's")
        self.folder, self.version, self.facts = folder, version, facts
        self._model = tf.saved_model.load(folder)
        self.signatures = self._model.signatures
        # The first request makes TensorFlow optimize the graph; no client shall wait for that.
        size = [facts["preprocessing"][name] for name in ("height", "width")]
        self.segment([encode_png(np.zeros(size, np.uint8))], [(size[0], size[1])])

    def segment(self, images: Sequence[bytes], sizes: Sequence[tuple[int, int]]) -> list[Segmentation]:
        """Segments images at once.

        Args:
          images: JPEG or PNG files.
          sizes: height and width of each.

        Raises:
          BadImageError: if one of them cannot be decoded.
        """
        try:
            outputs = self.signatures["serving_default"](tf.constant(list(images)))
        except tf.errors.InvalidArgumentError:
            raise BadImageError(
                "the image cannot be decoded: it is damaged, or its channels are neither grey nor RGB"
            ) from None
        class_ids, confidence = outputs[CLASS_IDS].numpy(), outputs[CONFIDENCE].numpy()
        # Without resizing each map has its image's size, and the batch that of the largest.
        own_size = self.facts["preprocessing"]["resize"] == "none"
        areas = [np.s_[:height, :width] if own_size else np.s_[:, :] for height, width in sizes]
        return [Segmentation(class_ids[i][area], confidence[i][area]) for i, area in enumerate(areas)]

    def signature_definitions(self) -> dict[str, Any]:
        """The signatures as TF Serving describes them."""
        with tf.io.gfile.GFile(os.path.join(self.folder, "saved_model.pb"), "rb") as file:
            graph = saved_model_pb2.SavedModel.FromString(file.read()).meta_graphs[0]
        return {
            name: json_format.MessageToDict(signature, preserving_proto_field_name=True)
            for name, signature in graph.signature_def.items()
            if not name.startswith("__")
        }


class Follower:
    """Keeps the newest version of a push destination loaded; of a single SavedModel, that one.

    A version that cannot be loaded is left out until it changes, and the one before it stays. If the newest one is
    removed, the newest that is there is taken again.

    Args:
      model: folder of numbered versions, or of a SavedModel.
      poll_seconds: time between two looks at the folder.

    Raises:
      UserError: if there is nothing to serve.
    """

    def __init__(self, model: str, poll_seconds: float):
        self._destination, self._poll_seconds = model, poll_seconds
        self._broken: dict[int, str] = {}
        self._current: tuple[LoadedModel, str] | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="versions", daemon=True)
        if read_facts(model) is not None:
            try:
                self._current = LoadedModel(model, 1), ""
            except Exception as error:
                raise UserError(f"{model} cannot be served: {_one_line(error)}") from None
            return
        self._look()
        if self._current is None:
            raise UserError(
                f"{model} holds no model that can be served; a run that passed its gate says where it pushed one"
            )
        self._thread.start()

    @property
    def model(self) -> LoadedModel:
        """The one to answer with now."""
        assert self._current is not None
        return self._current[0]

    def stop(self) -> None:
        """Ends the following."""
        self._stopping.set()

    def _follow(self) -> None:
        while not self._stopping.wait(self._poll_seconds):
            try:
                self._look()
            except Exception:  # A folder that is away for a moment must not end the following.
                _LOG.exception("cannot look for versions in %s", self._destination)

    def _look(self) -> None:
        for version in reversed(versions(self._destination)):
            folder = version_path(self._destination, version)
            state = _state(folder)
            if self._current and (self._current[0].version, self._current[1]) == (version, state):
                return
            if self._broken.get(version) == state:
                continue
            try:
                self._current = LoadedModel(folder, version), state
            except Exception as error:
                self._broken[version] = state
                _LOG.error("version %d cannot be served and is left out: %s", version, _one_line(error))
                continue
            _LOG.info("serving version %d", version)
            return


def _state(folder: str) -> str:
    """What changes when a folder's model does."""
    try:
        return fingerprint(folder)
    except (FileNotFoundError, RuntimeError):
        return f"no SavedModel, {len(tf.io.gfile.listdir(folder))} entries"


def _one_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
