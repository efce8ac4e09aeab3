"""Predicts with a pushed model: class-id masks and colored overlays at each image's own size."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import glob
import json
import os
import pathlib
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from PIL import Image

from data import contract
from data.base.errors import UserError
from data.decoding.images import BadImageError, encode_png, read_image
from data.decoding.orientation import without_orientation
from data.label_map import LabelMap
from models.inputs.preprocessing import placement
from models.serving.signatures import CLASS_IDS, CONFIDENCE, FACTS_PATH, load, read_facts
from models.serving.versions import model_folder

RESULTS_FILE = "predictions.jsonl"
_OVERLAY_OPACITY = 0.5
_NO_NAME = re.compile(r"[/\x00-\x1f\x7f]")


class Predictor:
    """A loaded model with its label map.

    Args:
      model: folder of a SavedModel, or a push destination, whose deployed version is taken.

    Raises:
      UserError: if there is no segpipe model.
    """

    def __init__(self, model: str):
        folder = model_folder(model)
        try:
            facts = read_facts(folder)
            if facts is not None:
                self.label_map = LabelMap.model_validate(facts["label_map"])
                self._preprocessing: dict[str, Any] = facts["preprocessing"]
                self.intensity_range = self._preprocessing.get("intensity_range")
                # Kept, as signatures hold no reference to it.
                self._model = load(folder)
                self._serve = self._model.signatures["serving_default"]
                height, width = (self._preprocessing[side] for side in ("height", "width"))
                self(encode_png(np.zeros([height, width], np.uint8)), height, width)
        except Exception as error:  # TensorFlow raises nearly anything on a damaged model.
            raise UserError(f"{folder} cannot be used: {_one_line(error)}") from None
        if facts is None:
            raise UserError(f"{folder} is not a segpipe model: it has no {FACTS_PATH}")

    def __call__(self, encoded: bytes, height: int, width: int) -> tuple[np.ndarray, float]:
        """Segments one JPEG or PNG image.

        Args:
          encoded: the image.
          height: in pixels.
          width: in pixels.

        Returns:
          [height, width] uint8 class ids, and the mean probability of the predicted classes.
        """
        outputs = self._serve(tf.constant([encoded]))
        size = self._preprocessing
        top, left, inner_height, inner_width = (
            int(value) for value in placement(height, width, size["height"], size["width"], size["resize"])
        )
        inside = np.s_[0, top : top + inner_height, left : left + inner_width]
        resized = tf.image.resize(outputs[CLASS_IDS][inside][..., tf.newaxis], [height, width], method="nearest")
        return resized.numpy()[..., 0], float(tf.reduce_mean(outputs[CONFIDENCE][inside]))


@dataclasses.dataclass(frozen=True)
class Prediction:
    """The result for one image; if there is an error, there is no mask.

    Attributes:
      image: file, or name in a TFRecord.
      error: why it could not be used.
      mask: path of the class ids.
      overlay: path of the colored image.
      height: of the image, in pixels.
      width: of the image, in pixels.
      class_shares: share of its pixels, by class name.
      confidence: mean probability of the predicted classes.
    """

    image: str
    error: str | None = None
    mask: str = ""
    overlay: str = ""
    height: int = 0
    width: int = 0
    class_shares: dict[str, float] = dataclasses.field(default_factory=dict)
    confidence: float = 0.0


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).strip() or 'no message').splitlines()[0]}"


def find_inputs(inputs: list[str]) -> dict[str, str]:
    """The files that inputs stand for.

    Args:
      inputs: files, patterns such as `photos/*.jpg`, and folders, which stand for all images and TFRecords below them.

    Returns:
      Files, each with the name that its results begin with; for a file from a folder that is its path below the folder.

    Raises:
      UserError: if a folder or pattern has no files, or several files have one name.
    """
    found: dict[str, str] = {}
    for given in inputs:
        path = pathlib.Path(given)
        if path.is_dir():
            below = [file for file in sorted(path.rglob("*")) if file.is_file() and _is_input(file)]
            files = {str(file): str(file.relative_to(path).with_suffix("")) for file in below}
        elif glob.has_magic(given) and not path.exists():
            files = {file: pathlib.Path(file).stem for file in sorted(glob.glob(given, recursive=True))}
        else:
            files = {given: path.stem}
        if not files:
            raise UserError(f"{given}: no image found")
        found.update(files)
    names = collections.Counter(found.values())
    twice = sorted(name for name, count in names.items() if count > 1)
    if twice:
        raise UserError(f"several inputs would write {twice[0]}_mask.png; predict them into different folders")
    return found


def _is_input(path: pathlib.Path) -> bool:
    return _holds_records(str(path)) or Image.registered_extensions().get(path.suffix.lower()) in Image.OPEN


def predict(model: str, inputs: dict[str, str], output: str, max_pixels: int = 100_000_000) -> Iterator[Prediction]:
    """Writes `NAME_mask.png` (class ids) and `NAME_overlay.png` for each image, going on after bad files.

    Each prediction is also a line of `predictions.jsonl`.

    Args:
      model: as for `Predictor`.
      inputs: as `find_inputs` returns them; in a TFRecord file that keeps the data contract, every image is predicted.
      output: folder to make.
      max_pixels: images with more are not decoded.

    Raises:
      UserError: if there is no model, or the folder cannot be made.
    """
    predictor = Predictor(model)
    try:
        os.makedirs(output, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make the folder {output}: {error.strerror}") from None
    with open(os.path.join(output, RESULTS_FILE), "w", encoding="utf-8") as lines:
        for prediction in _predictions(predictor, inputs, output, max_pixels):
            fields = dataclasses.asdict(prediction)
            kept = ("image", "error") if prediction.error else fields.keys() - {"error"}
            lines.write(json.dumps({key: value for key, value in fields.items() if key in kept}) + "\n")
            lines.flush()
            yield prediction


def _predictions(predictor: Predictor, inputs: dict[str, str], output: str, max_pixels: int) -> Iterator[Prediction]:
    written: set[str] = set()
    for path, stem in inputs.items():
        try:
            for name, content in _images(path, stem):
                label = name if _holds_records(path) else path
                if name in written:
                    yield Prediction(
                        label, "another image wrote a mask with this name; predict them into different folders"
                    )
                    continue
                written.add(name)
                try:
                    yield _predict_one(predictor, label, content, os.path.join(output, name), max_pixels)
                except (BadImageError, tf.errors.OpError, OSError) as error:
                    yield Prediction(label, getattr(error, "strerror", None) or str(error))
        except OSError as error:
            yield Prediction(path, error.strerror or str(error))
        except tf.errors.OpError as error:
            yield Prediction(path, str(error))


def _predict_one(predictor: Predictor, label: str, content: bytes, base: str, max_pixels: int) -> Prediction:
    image = read_image(content, None, max_pixels, intensity_range=predictor.intensity_range)
    ids, confidence = predictor(image.encoded, image.height, image.width)
    pixels = tf.io.decode_image(image.encoded, channels=3, expand_animations=False).numpy()
    palette = np.array(predictor.label_map.palette, np.uint8)
    overlay = pixels * (1 - _OVERLAY_OPACITY) + palette[ids] * _OVERLAY_OPACITY
    mask_path, overlay_path = f"{base}_mask.png", f"{base}_overlay.png"
    os.makedirs(os.path.dirname(mask_path), exist_ok=True)
    try:
        Image.fromarray(ids).save(mask_path)
        Image.fromarray(overlay.astype(np.uint8)).save(overlay_path)
    except OSError:
        # Half a mask must not be taken for a whole one.
        for path in (mask_path, overlay_path):
            with contextlib.suppress(OSError):
                os.remove(path)
        raise
    shares = np.bincount(ids.ravel(), minlength=len(predictor.label_map)) / ids.size
    return Prediction(
        label,
        mask=mask_path,
        overlay=overlay_path,
        height=image.height,
        width=image.width,
        class_shares=dict(zip(predictor.label_map.names, shares.round(6).tolist(), strict=True)),
        confidence=round(confidence, 6),
    )


def _holds_records(path: str) -> bool:
    return ".tfrecord" in pathlib.Path(path).name


def _images(path: str, name: str) -> Iterator[tuple[str, bytes]]:
    """Name and content of an image file, or of every image in a TFRecord; content is empty where there is none."""
    if not _holds_records(path):
        yield name, pathlib.Path(path).read_bytes()
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
            if names and names[0]
            else f"{pathlib.Path(path).name.partition('.tfrecord')[0]}_{index:05d}"
        )
        # Masks in TFRecords belong to the images as they are stored, so nothing turns these.
        # So that it can leave neither the folder nor the line on the terminal.
        yield _NO_NAME.sub("_", name), without_orientation(contents[0]) if contents else b""
