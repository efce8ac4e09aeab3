"""The worst, median and best images, each with its label, the prediction and where they differ."""

from __future__ import annotations

import base64
import dataclasses
import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

from data import contract
from data.base.files import list_files
from data.decoding.orientation import without_orientation
from data.decoding.pictures import picture_of
from data.label_map import LabelMap
from data.writing.objects import is_edge
from models.evaluation.objects.segments import Segments, keys, overlaps
from models.inputs.settings import PreprocessingSettings
from models.serving.signatures import CLASS_IDS, INSTANCE_IDS, SERVING, load

# Images in each group, and the length of their longer side in pixels, which shrinks until the file is small enough.
_GROUP = 12
SIDES = (800, 560, 400, 320, 256, 192, 128, 96, 64, 48)
# Vermilion and blue, from Okabe and Ito's palette.
_ERRORS = [(213, 94, 0), (0, 114, 178)]
_CLEAR = 255
# Of the colors of errors.
_MISSED, _INVENTED = 0, 1
# Stands for the edges of objects.
_EDGE = 254


@dataclasses.dataclass(frozen=True)
class Choice:
    """An image to show.

    Attributes:
      group: `worst`, `median` or `best`.
      name: its source id, or what the evaluation called it.
      mean_iou: of this image alone.
    """

    group: str
    name: str
    mean_iou: float


@dataclasses.dataclass(frozen=True)
class PicturedObjects:
    """The objects of a picture, of its size.

    Attributes:
      labeled: [h, w] int32, their numbers in the labels, 0 for none.
      predicted: [h, w] int32, likewise.
      outcome: [h, w] uint8: `_MISSED` in labeled objects that were not matched, `_INVENTED` in predicted ones.
    """

    labeled: np.ndarray
    predicted: np.ndarray
    outcome: np.ndarray


@dataclasses.dataclass(frozen=True)
class Picture:
    """An image as it is shown, at most `SIDES[0]` pixels long.

    Attributes:
      choice: which it is.
      size: its own width and height.
      pixels: [h, w, 3] uint8.
      label: [h, w] uint8 class ids.
      prediction: [h, w] uint8 class ids.
      objects: where the model tells objects apart.
    """

    choice: Choice
    size: tuple[int, int]
    pixels: np.ndarray
    label: np.ndarray
    prediction: np.ndarray
    objects: PicturedObjects | None = None


def choose(names: list[str], values: np.ndarray) -> list[Choice]:
    """The worst, median and best images by their mean IoU, at most twelve each and none twice."""
    order = [index for index in np.argsort(values, kind="stable") if np.isfinite(values[index])]
    count = min(_GROUP, -(-len(order) // 3))
    worst, rest = order[:count], order[count:]
    best = rest[max(0, len(rest) - count) :][::-1]
    middle = rest[: len(rest) - len(best)]
    start = max(0, (len(middle) - count) // 2)
    groups = {"worst": worst, "median": middle[start : start + count], "best": best}
    return [Choice(group, names[i], float(values[i])) for group, chosen in groups.items() for i in chosen]


def draw(model: str, facts: dict[str, Any], examples: str, choices: list[Choice]) -> list[Picture]:
    """Predicts the chosen images.

    Args:
      model: folder of the SavedModel.
      facts: the model's.
      examples: folder of the split's TFRecords.
      choices: which images, in the order of the result.
    """
    by_name = {choice.name: choice for choice in choices}
    serve = load(model).signatures[SERVING["original"]]
    found = {}
    for name, features in _named_examples(examples):
        if name in by_name and name not in found:
            found[name] = _picture(by_name[name], features, serve, facts)
    return [found[choice.name] for choice in choices if choice.name in found]


def _named_examples(folder: str) -> Iterator[tuple[str, Any]]:
    for path in list_files(folder):
        for record in tf.data.TFRecordDataset(path, contract.compression_type(path)):
            features = tf.train.Example.FromString(record.numpy()).features.feature
            source_id = b"".join(features[contract.SOURCE_ID].bytes_list.value[:1])
            yield contract.example_name(source_id, features[contract.IMAGE].bytes_list.value[0]), features


def _picture(choice: Choice, features: Any, serve: Any, facts: dict[str, Any]) -> Picture:
    shape = PreprocessingSettings.of_facts(facts["preprocessing"])
    encoded = features[contract.IMAGE].bytes_list.value[0]
    pixels = picture_of(encoded, shape.band_names, shape.nodata)
    label = tf.io.decode_png(features[contract.MASK].bytes_list.value[0], 1).numpy()[..., 0]
    height, width = label.shape
    outputs = serve(tf.constant([without_orientation(encoded)]))
    prediction = outputs[CLASS_IDS].numpy()[0]
    size = _fit(width, height, SIDES[0])
    objects = None
    if facts.get("things"):
        numbers = tf.io.decode_png(features[contract.INSTANCES].bytes_list.value[0], 1, tf.uint16).numpy()[..., 0]
        own = outputs[INSTANCE_IDS].numpy()[0]
        is_thing = [label["name"] in facts["things"] for label in facts["label_map"]]
        objects = _pictured(label, numbers.astype(np.int32), prediction, own, np.array(is_thing), size)
    return Picture(
        choice,
        (width, height),
        np.array(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS, reducing_gap=2)),
        _resized(label, size),
        _resized(prediction, size),
        objects,
    )


def _resized(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.array(Image.fromarray(values).resize(size, Image.Resampling.NEAREST))


def _pictured(
    label: np.ndarray,
    numbers: np.ndarray,
    class_ids: np.ndarray,
    own: np.ndarray,
    is_thing: np.ndarray,
    size: tuple[int, int],
) -> PicturedObjects:
    """Which objects match, at the image's size; then at the picture's."""
    labeled, predicted = keys(label, numbers, is_thing), keys(class_ids, own, is_thing)
    segments = Segments.of(overlaps(labeled, predicted))
    outcome = np.full(label.shape, _CLEAR, np.uint8)
    for value, of_pixels, side, chosen in (
        (_INVENTED, predicted, segments.predicted, segments.is_invented),
        (_MISSED, labeled, segments.labeled, segments.is_missed),
    ):
        outcome[np.isin(of_pixels, side.keys[chosen & side.is_thing])] = value
    return PicturedObjects(*(_resized(values, size) for values in (numbers, own, outcome)))


def sides(pictures: list[Picture]) -> list[int]:
    """The lengths to try, longest first, without those that change nothing; at last 0, for no pictures."""
    longest = max((max(picture.label.shape) for picture in pictures), default=0)
    return [side for side, smaller in zip(SIDES, (*SIDES[1:], 0), strict=True) if smaller < longest] + [0]


def _fit(width: int, height: int, side: int) -> tuple[int, int]:
    scale = min(1.0, side / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def layers(picture: Picture, label_map: LabelMap, side: int) -> dict[str, str]:
    """The layers of the view: `image`, `label`, `prediction` and `errors` as data URIs.

    Args:
      picture: what to show.
      label_map: with the colors.
      side: length of the longer side, in pixels.
    """
    height, width = picture.label.shape
    size = _fit(width, height, side)
    label, prediction = (_resized(ids, size) for ids in (picture.label, picture.prediction))
    if picture.objects is None:
        wrong = np.where((label != prediction) & (label != contract.IGNORE_LABEL), 0, _CLEAR).astype(np.uint8)
    else:
        wrong = _resized(picture.objects.outcome, size)
        for ids, numbers in ((label, picture.objects.labeled), (prediction, picture.objects.predicted)):
            ids[is_edge(_resized(numbers, size))] = _EDGE
    image = Image.fromarray(picture.pixels).resize(size, Image.Resampling.LANCZOS)
    return {
        "image": _data_uri(image, "JPEG", quality=80),
        "label": _palette_png(label, label_map.palette),
        "prediction": _palette_png(prediction, label_map.palette),
        "errors": _palette_png(wrong, _ERRORS),
    }


def _palette_png(ids: np.ndarray, palette: list[tuple[int, int, int]]) -> str:
    image = Image.fromarray(ids)
    colors = np.zeros([256, 3], np.uint8)
    colors[_EDGE] = 255
    colors[: len(palette)] = palette
    image.putpalette(colors.tobytes())
    return _data_uri(image, "PNG", optimize=True, transparency=_CLEAR)


def _data_uri(image: Image.Image, file_format: str, **options: Any) -> str:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return f"data:image/{file_format.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"
