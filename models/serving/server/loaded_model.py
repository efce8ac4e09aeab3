"""A version of a model in memory, and the follower that keeps the newest one there."""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf import json_format
from tensorflow.core.protobuf import saved_model_pb2

from data.base.errors import UserError
from data.base.files import FileInfo, UnreachableError, exists, find_below, join, read_bytes
from data.decoding.images import BadImageError, encode_png, upright_size
from models.inputs.encoded import NO_RANGE
from models.serving.signatures import CLASS_IDS, CONFIDENCE, FACTS_PATH, load, read_facts
from models.serving.versions import GRAPH_FILE, NotAModelError, fingerprint, numbers, version_path

_LOG = logging.getLogger("segpipe.model_server")


class BadRequestError(ValueError):
    """A request that cannot be answered, most often for an image; the message is for the client."""


class TooManyPixelsError(BadRequestError):
    """An image larger than the server's limit."""


@dataclasses.dataclass(frozen=True)
class Segmentation:
    """The model's output for one image.

    Attributes:
      class_ids: [h, w] uint8.
      confidence: [h, w] float32, the probability of that class.
    """

    class_ids: np.ndarray
    confidence: np.ndarray


def image_size(content: bytes, max_pixels: int) -> tuple[int, int]:
    """Height and width of an encoded image once it is upright, by its header, so that nothing too large is decoded.

    Args:
      content: the file.
      max_pixels: the limit.

    Raises:
      BadRequestError: if it is neither JPEG nor PNG.
      TooManyPixelsError: if it has more pixels.
    """
    try:
        height, width = upright_size(content)
    except BadImageError:
        raise BadRequestError("not a JPEG or PNG image") from None
    if width * height > max_pixels:
        raise TooManyPixelsError(f"the image has {width}x{height} pixels; the limit is {max_pixels}")
    return height, width


class LoadedModel:
    """A SavedModel that is ready to answer.

    Args:
      folder: the SavedModel.
      version: its number.

    Raises:
      ValueError: if it is not a segpipe model, or does not answer.
    """

    def __init__(self, folder: str, version: int):
        facts = read_facts(folder)
        if facts is None:
            raise ValueError(f"{folder} is not a segpipe model: it has no {FACTS_PATH}")
        self.folder, self.version, self.facts = folder, version, facts
        self._model = load(folder)
        self.signatures = self._model.signatures
        # The first request makes TensorFlow optimize the graph; no client should wait for that.
        size = [facts["preprocessing"][name] for name in ("height", "width")]
        self.segment([encode_png(np.zeros(size, np.uint8))], [(size[0], size[1])])

    def segment(self, images: Sequence[bytes], sizes: Sequence[tuple[int, int]]) -> list[Segmentation]:
        """Segments images at once.

        Args:
          images: JPEG or PNG files.
          sizes: height and width of each.

        Raises:
          BadRequestError: if one of them cannot be decoded.
        """
        try:
            outputs = self.signatures["serving_default"](tf.constant(list(images)))
        except tf.errors.InvalidArgumentError as error:
            if NO_RANGE in str(error):
                raise BadRequestError(f"{NO_RANGE}; send it in 8 bits") from None
            raise BadRequestError("the image cannot be decoded: it is damaged, or neither grayscale nor RGB") from None
        class_ids, confidence = outputs[CLASS_IDS].numpy(), outputs[CONFIDENCE].numpy()
        # Without resizing, each map has its image's size, and the batch has the size of the largest.
        own_size = self.facts["preprocessing"]["resize"] == "none"
        areas = [np.s_[:height, :width] if own_size else np.s_[:, :] for height, width in sizes]
        return [Segmentation(class_ids[i][area], confidence[i][area]) for i, area in enumerate(areas)]

    def signature_definitions(self) -> dict[str, Any]:
        """The signatures as TF Serving describes them."""
        graph = saved_model_pb2.SavedModel.FromString(read_bytes(join(self.folder, GRAPH_FILE))).meta_graphs[0]
        return {
            name: json_format.MessageToDict(signature, preserving_proto_field_name=True)
            for name, signature in graph.signature_def.items()
            if not name.startswith("__")
        }


class Follower:
    """Keeps the newest version at a push destination loaded; or a single SavedModel.

    A version that is incomplete or cannot be loaded is passed over until its files change, and the one before it stays.
    If the newest version is removed, the newest of those that remain is loaded again.

    Args:
      model: folder of numbered versions, or of a SavedModel.
      poll_seconds: time between two looks at the folder.

    Raises:
      UserError: if there is nothing to serve.
    """

    def __init__(self, model: str, poll_seconds: float):
        self._destination, self._poll_seconds = model, poll_seconds
        # By version, its files at the time of the attempt: a copy may still have been going on.
        self._failed: dict[int, list[FileInfo]] = {}
        self._current: tuple[LoadedModel, list[FileInfo]] | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="versions", daemon=True)
        if exists(join(model, GRAPH_FILE)):
            try:
                self._current = LoadedModel(model, 1), []
            except Exception as error:
                raise UserError(f"{model} cannot be served: {_one_line(error)}") from None
            return
        self._look()
        if self._current is None:
            raise UserError(
                f"{model} holds no model that can be served; a run whose model passes the gate says where it was pushed"
            )
        self._thread.start()

    @property
    def model(self) -> LoadedModel:
        """The one to answer with now."""
        assert self._current is not None
        return self._current[0]

    def stop(self) -> None:
        """Stops following the folder."""
        self._stopping.set()

    def _follow(self) -> None:
        while not self._stopping.wait(self._poll_seconds):
            try:
                self._look()
            except Exception:  # A folder that is away for a moment must not end the following.
                _LOG.exception("cannot look for versions in %s", self._destination)

    def _look(self) -> None:
        for version in reversed(numbers(self._destination)):
            folder = version_path(self._destination, version)
            files = find_below(folder)  # Before the attempt, so that what arrives meanwhile leads to another one.
            if self._current and (self._current[0].version, self._current[1]) == (version, files):
                return
            if self._failed.get(version) == files:
                continue
            try:
                fingerprint(folder)
                self._current = LoadedModel(folder, version), files
            except UnreachableError:  # The next look may reach it.
                raise
            except Exception as error:
                if not (isinstance(error, NotAModelError) and version in self._failed):  # Not for each file that comes.
                    _LOG.error("version %d is passed over until its files change: %s", version, _one_line(error))
                self._failed[version] = files
                continue
            self._failed.pop(version, None)
            _LOG.info("serving version %d", version)
            return


def _one_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
