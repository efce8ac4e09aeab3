"""Compares each label of a data set with what a model says, and orders them: those that it contradicts most first."""

from __future__ import annotations

import csv
import dataclasses
import heapq
import io
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from data import contract
from data.decoding.images import BadImageError, encode_png
from data.label_map import LabelMap
from data.records import first_value, read_features
from models.auditing.contradiction import Contradiction, contradiction
from models.auditing.judges import Judges


@dataclasses.dataclass(frozen=True)
class Finding:
    """A label, and how much the model contradicts it.

    Attributes:
      image: its name.
      split: that it is in.
      folder: of its TFRecords.
      contradiction: of the label.
    """

    image: str
    split: str
    folder: str
    contradiction: Contradiction


@dataclasses.dataclass(frozen=True)
class Example:
    """What a finding is about: as PNG or JPEG, since there may be many large ones.

    Attributes:
      image: as in the TFRecords.
      label: likewise.
      prediction: class ids of the same size, as PNG.
    """

    image: bytes
    label: bytes
    prediction: bytes


@dataclasses.dataclass(frozen=True)
class Audit:
    """What was found.

    Attributes:
      findings: of all images, the worst first.
      examples: of the first of them, in the same order.
      unusable: names of examples that cannot be judged, each with the reason.
    """

    findings: list[Finding]
    examples: list[Example]
    unusable: list[tuple[str, str]]


def audit(
    judges: Judges, files: Mapping[str, Sequence[str]], shown: int, progress: Callable[[int], None] = lambda done: None
) -> Audit:
    """Goes through the data once.

    Args:
      judges: of the model.
      files: TFRecords of each split.
      shown: how many of the worst are kept as examples.
      progress: called with the number of images that are done, after each.
    """
    findings: list[Finding] = []
    unusable: list[tuple[str, str]] = []
    # The least of them first, to be replaced; the number tells equal ones apart.
    kept: list[tuple[float, int, Finding, Example]] = []
    for done, (split, path, name, features) in enumerate(_examples(files)):
        image, mask = (first_value(features, key) for key in (contract.IMAGE, contract.MASK))
        try:
            label, (class_ids, confidence) = _label(mask), judges.segment(image, _group(split, name, features))
            found = contradiction(label, class_ids, confidence, len(judges.label_map))
        except BadImageError as error:
            unusable.append((name, str(error)))
            continue
        finding = Finding(name, split, os.path.dirname(path), found)
        findings.append(finding)
        entry = (found.score, -done)
        if len(kept) < shown or (kept and entry > kept[0][:2]):
            heapq.heappush(kept, (*entry, finding, Example(image, mask, encode_png(class_ids))))
            if len(kept) > shown:
                heapq.heappop(kept)
        progress(done + 1)
    # As among those that are kept.
    findings.sort(key=lambda finding: -finding.contradiction.score)
    worst = sorted(kept, key=lambda item: item[:2], reverse=True)
    return Audit(findings, [example for *_, example in worst], unusable)


def _examples(files: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, str, str, Any]]:
    """Split, file, name and features of each example."""
    for split, paths in files.items():
        for path in paths:
            for features in read_features(path):
                image = first_value(features, contract.IMAGE)
                yield split, path, contract.example_name(first_value(features, contract.SOURCE_ID), image), features


def _group(split: str, name: str, features: Any) -> str | None:
    """What the fold of an image goes by; None of the test split, from which no network has learned."""
    return None if split == "test" else first_value(features, contract.GROUP).decode(errors="replace") or name


def _label(mask: bytes) -> np.ndarray:
    try:
        return tf.io.decode_png(mask, 1).numpy()[..., 0]
    except tf.errors.InvalidArgumentError:
        raise BadImageError("its mask cannot be decoded") from None


def in_words(finding: Finding, label_map: LabelMap) -> str:
    """What speaks against a label."""
    found = finding.contradiction
    if found.classes is None:
        return "the model agrees"
    labeled, predicted = (label_map.names[index] for index in found.classes)
    return (
        f"labeled {labeled}, predicted {predicted}: {found.share:.0%} of the pixels, of which the model is "
        f"{found.confidence:.0%} sure; mean IoU {found.mean_iou:.3f}"
    )


def who_judged(judges: Judges) -> str:
    """What must be known of the model to believe it."""
    if judges.held_out:
        return (
            "Each image of train and eval was judged by that one of its networks that has not learned from it "
            f"(train.folds: {judges.held_out}), the test images by all of them."
        )
    return (
        "It has learned from the labels of train, wrong ones too, and may repeat them: with train.folds, each label "
        "would be judged by a network that has not learned from it."
    )


def to_csv(findings: Sequence[Finding], label_map: LabelMap) -> str:
    """A table of findings, in their order."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image", "split", "score", "mean_iou", "labeled", "predicted", "share", "confidence", "folder"])
    for one in findings:
        found = one.contradiction
        labeled, predicted = (label_map.names[index] for index in found.classes) if found.classes else ("", "")
        numbers = [f"{value:.4f}" for value in (found.score, found.mean_iou, found.share, found.confidence)]
        writer.writerow([one.image, one.split, *numbers[:2], labeled, predicted, *numbers[2:], one.folder])
    return text.getvalue()
