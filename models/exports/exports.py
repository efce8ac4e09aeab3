"""The exports of a model: made, measured beside the SavedModel, kept in its folder, and checked before use."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import math
import os
import pathlib
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from data.base.errors import UserError, one_line
from data.base.files import join, read_bytes, write_text
from data.contract import IMAGE, MASK
from data.decoding.orientation import without_orientation
from data.records import first_value, read_features
from models.evaluation.metrics import class_totals, confusion_matrix, mean_iou
from models.exports import FORMATS, SAVED_MODEL
from models.exports.export_format import Maps

if TYPE_CHECKING:
    from models.exports.export_format import ExportFormat, Segment
    from models.exports.network import Network

# TF Serving leaves the folder `assets.extra` alone, and copies of a SavedModel keep it.
FOLDER = os.path.join("assets.extra", "exports")
_LIST = "exports.json"
# Enough for the ranges of values: more images change them little.
_CALIBRATION_IMAGES = 100
_BATCH = 8
_TIMED = 20
_REMEDY = "push the model again, or deploy another version with `segpipe rollback`"


@dataclasses.dataclass(frozen=True)
class MeasuredExport:
    """What was measured of the SavedModel, or of an export of it.

    Attributes:
      mean_iou: on the test images at the network's size; None if they have no labels, or there are none.
      agreement: the share of their pixels, those of label 255 too, that have the SavedModel's class.
      milliseconds: for one image, the median on all cores of the machine that made the export.
      bytes: size of the file; 0 of the SavedModel.
      sha256: of the file; "" of the SavedModel.
    """

    mean_iou: float | None
    agreement: float
    milliseconds: float
    bytes: int = 0
    sha256: str = ""


def make_exports(
    network: Network,
    names: Sequence[str],
    folder: str,
    training: Iterable[bytes],
    test: Iterable[tuple[np.ndarray, np.ndarray]],
    progress: Callable[[str], None] = lambda line: None,
) -> dict[str, MeasuredExport]:
    """Makes exports and measures them; the last file to be written is their list.

    Args:
      network: what to export.
      names: keys of `FORMATS`.
      folder: an empty one on this machine, for the files.
      training: encoded images, to find ranges of values on.
      test: pixels and labels, as `Network.seen` gives them, by which all forms are measured.
      progress: called with what is being done.

    Returns:
      By name what was measured, the SavedModel as `saved_model` among them.

    Raises:
      UserError: if a form cannot be made, there is no test image, or no training image for a form that needs some.
    """
    formats = {name: FORMATS[name]() for name in names}
    description = network.describe()
    images = []
    if any(form.is_quantized for form in formats.values()):
        # Of large images one tile each, so that many images have a say, and not always the corner.
        tiles = (network.pixels(image) for image in itertools.islice(training, _CALIBRATION_IMAGES))
        images = [tiles_of[index % len(tiles_of)] for index, tiles_of in enumerate(tiles)]
        if not images:
            raise UserError("an export in integers needs training images, to find the ranges of values; there are none")
    runtimes = {SAVED_MODEL: _by_tensorflow(network)}
    files: dict[str, dict[str, Any]] = {}
    for name, form in formats.items():
        progress(f"making {form.file}")
        path = os.path.join(folder, form.file)
        try:
            content = form.convert(network, images, description)
            pathlib.Path(path).write_bytes(content)
            runtimes[name] = form.load(path)
        except Exception as error:  # The converters raise nearly anything.
            raise UserError(f"{form.file} cannot be made of this model: {one_line(error)}") from error
        for companion, text in form.companions(description).items():
            write_text(os.path.join(folder, companion), text)
        files[name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    progress("measuring")
    found = {
        name: MeasuredExport(**values, **files.get(name, {}))
        for name, values in _measure(network, runtimes, test).items()
    }
    write_text(
        os.path.join(folder, _LIST), json.dumps({name: dataclasses.asdict(item) for name, item in found.items()})
    )
    return found


def read_examples(files: Iterable[str]) -> Iterator[tuple[bytes, bytes]]:
    """The encoded image and mask of each example in TFRecord files; images as they are stored, never turned.

    Raises:
      UserError: if an example has none, or a file is damaged.
    """
    for path in files:
        for features in read_features(path):
            image, mask = (first_value(features, name) for name in (IMAGE, MASK))
            if not image or not mask:
                raise UserError(f"{path} holds an example without {'a mask' if image else 'an image'}")
            yield without_orientation(image), mask


def read_exports(model: str) -> dict[str, MeasuredExport]:
    """What was measured of the exports in a SavedModel's folder, by name; empty if it holds none.

    Raises:
      UserError: if it cannot be read.
    """
    path = join(model, FOLDER, _LIST)
    try:
        text = read_bytes(path)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    try:
        return {name: MeasuredExport(**values) for name, values in json.loads(text).items()}
    except (ValueError, TypeError, AttributeError):
        raise UserError(f"{path} is damaged: it is not what was written; {_REMEDY}") from None


def check_files(model: str) -> dict[str, MeasuredExport]:
    """As `read_exports`, with the files as they were written.

    Raises:
      UserError: if one is missing, damaged, or of a form that this release does not know.
    """
    found = read_exports(model)
    for name, item in found.items():
        if name == SAVED_MODEL:
            continue
        if name not in FORMATS:
            raise UserError(f"{model} holds an export {name!r}, which this release does not know")
        path = join(model, FOLDER, FORMATS[name].file)
        try:
            content = read_bytes(path)
        except FileNotFoundError:
            raise UserError(f"{path} is missing, so that the version is not whole; {_REMEDY}") from None
        if hashlib.sha256(content).hexdigest() != item.sha256:
            raise UserError(f"{path} is damaged: it is not what was written; {_REMEDY}")
    return found


def check_exports(model: str) -> dict[str, MeasuredExport]:
    """As `check_files`, after each export has segmented an image of the mean color, as its description says.

    Raises:
      UserError: if one does not.
    """
    found = check_files(model)
    for name in found:
        if name == SAVED_MODEL:
            continue
        form, path = FORMATS[name](), join(model, FOLDER, FORMATS[name].file)
        form.require_packages()
        with tempfile.TemporaryDirectory(prefix="segpipe-export-") as scratch:
            # The runtimes read no buckets.
            here = os.path.join(scratch, form.file)
            pathlib.Path(here).write_bytes(read_bytes(path))
            try:
                _run(form, here)
            except Exception as error:  # The runtimes raise nearly anything.
                raise UserError(f"{path} does not run: {one_line(error)}; {_REMEDY}") from None
    return found


def _run(form: ExportFormat, path: str) -> None:
    facts = form.description(path)
    if "logits" not in facts["outputs"]:
        raise ValueError("it is of an earlier release, which gave no logits: train again to export it anew")
    size, color = facts["input"]["shape"][1:3], facts["input"]["padding"]
    pixels = np.broadcast_to(np.array(color), [1, *size, len(color)]).astype(facts["input"]["type"])
    for values in form.load(path)(np.ascontiguousarray(pixels)):
        if values.shape[:3] != (1, *size):
            raise ValueError(f"it gives maps of {values.shape}")


def lossy(found: Mapping[str, MeasuredExport], max_losses: Mapping[str, float]) -> list[str]:
    """Why exports may not be used: those that lose more mean IoU than they may, and those that are not there.

    Args:
      found: what was measured, by name.
      max_losses: by name of those that are wanted.
    """
    reasons = []
    for name, most in max_losses.items():
        if name not in found:
            reasons.append(f"the export {name} is missing")
            continue
        reference, measured = found[SAVED_MODEL].mean_iou, found[name].mean_iou
        if reference is None or measured is None:
            reasons.append(f"nothing could be measured of the export {name}: the test images have no labels")
        elif reference - measured > most:
            key = "export.max_loss_int8" if FORMATS[name].is_quantized else "export.max_loss"
            reasons.append(
                f"the export {name} has a mean IoU of {measured:.4f}, {reference - measured:.4f} below the "
                f"SavedModel's {reference:.4f}; {key} is {most:g}"
            )
    return reasons


def _by_tensorflow(network: Network) -> Segment:
    def segment(pixels: np.ndarray) -> Maps:
        return Maps(**{name: values.numpy() for name, values in network.segment(pixels).items()})

    return segment


def _measure(
    network: Network, runtimes: Mapping[str, Segment], test: Iterable[tuple[np.ndarray, np.ndarray]]
) -> dict[str, dict[str, Any]]:
    """What each runtime makes of the same pixels, the SavedModel's the first."""
    classes = network.num_classes
    confusion = {name: np.zeros([classes, classes], np.int64) for name in runtimes}
    equal, total = dict.fromkeys(runtimes, 0), 0
    one: np.ndarray | None = None
    for tiles, labels in test:
        for start in range(0, len(tiles), _BATCH):
            pixels, label = tiles[start : start + _BATCH], labels[start : start + _BATCH]
            reference: np.ndarray | None = None
            for name, segment in runtimes.items():
                class_ids = segment(pixels).class_ids
                reference = class_ids if reference is None else reference
                confusion[name] += confusion_matrix(label, class_ids, classes)
                equal[name] += int((class_ids == reference).sum())
            total += label.size
            one = pixels[:1] if one is None else one
    if one is None:
        raise UserError("there is no test image to measure the exports by")
    # In turns, so that what slows the machine down for a while slows them all.
    seconds = [[_seconds(segment, one) for segment in runtimes.values()] for _ in range(_TIMED)]
    medians = dict(zip(runtimes, np.median(seconds, axis=0), strict=True))
    mean_ious = {name: float(mean_iou(class_totals(counts))) for name, counts in confusion.items()}
    return {
        name: {
            "mean_iou": None if math.isnan(mean_ious[name]) else mean_ious[name],
            "agreement": equal[name] / total,
            "milliseconds": round(1000 * float(medians[name]), 3),
        }
        for name in runtimes
    }


def _seconds(segment: Segment, pixels: np.ndarray) -> float:
    started = time.perf_counter()
    segment(pixels)
    return time.perf_counter() - started
