"""Which labels does a model doubt that has never seen them? A table of images, those it disagrees with most first.

Confident learning ranks labels by predictions of models that were not trained on them (Northcutt et al., "Confident
Learning", 2021, section 3).
"""

from __future__ import annotations

import collections
import csv
import dataclasses
import io
from collections.abc import Iterable
from typing import Any

import numpy as np
import tensorflow as tf

from data.base.files import read_bytes, write_text
from data.contract import IGNORE_LABEL
from models.evaluation import in_graph, metrics
from models.inputs.input_pipeline import DecodedExamples, evaluation_batches
from models.instances.scale import OBJECT_MAPS


@dataclasses.dataclass(frozen=True)
class Doubt:
    """How little a model agrees with the label of an image that it did not learn from.

    Attributes:
      image: its name.
      fold: the model's fold, to which the image belongs, from 1 on.
      mean_iou: of the prediction, over the classes in it or in the label, at the model's size.
      cross_entropy: mean of the labeled pixels, in nats.
    """

    image: str
    fold: int
    mean_iou: float
    cross_entropy: float


def measure(model: Any, examples: DecodedExamples, batch_size: int, fold: int) -> list[Doubt]:
    """Measures a model on each image; those without labeled pixels are left out.

    Args:
      model: from [batch, height, width, channels] images to [batch, height, width, C] logits; with objects, their maps
        after these, which are not looked at.
      examples: the images; the patches of one are taken together.
      batch_size: images or patches that are predicted at once.
      fold: as in `Doubt`.
    """
    num_classes = model.output_shape[-1] - (OBJECT_MAPS if examples.has_objects else 0)

    @tf.function(autograph=False)
    def measure_batch(images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        logits = model(images, training=False)
        if examples.has_objects:
            labels, logits = labels[..., 0], logits[..., :num_classes]
        counted = labels != IGNORE_LABEL
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
            tf.where(counted, tf.cast(labels, tf.int32), 0), tf.cast(logits, tf.float32)
        )
        confusion = in_graph.confusion_matrices(labels, tf.argmax(logits, axis=-1), num_classes)
        return confusion, tf.reduce_sum(tf.where(counted, losses, 0.0), axis=[1, 2])

    names = iter(examples.source_ids(np.arange(examples.count)))
    totals: dict[str, Any] = collections.defaultdict(lambda: np.zeros([3, num_classes], np.int64))
    losses: dict[str, float] = collections.defaultdict(float)
    for images, labels in evaluation_batches(examples, batch_size):
        confusion, sums = measure_batch(images, labels)
        for matrix, loss in zip(confusion.numpy(), sums.numpy(), strict=True):
            name = next(names)
            totals[name] += metrics.class_totals(matrix)
            losses[name] += float(loss)
    return [
        Doubt(name, fold, float(metrics.mean_iou(of_image)), losses[name] / int(of_image[1].sum()))
        for name, of_image in totals.items()
        if of_image[1].sum()
    ]


def write(doubts: Iterable[Doubt], path: str) -> None:
    """Writes a table in CSV: the lowest mean IoU first, and of equal ones the highest cross-entropy."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([field.name for field in dataclasses.fields(Doubt)])
    ordered = sorted(doubts, key=lambda doubt: (doubt.mean_iou, -doubt.cross_entropy, doubt.image))
    writer.writerows(dataclasses.astuple(doubt) for doubt in ordered)
    write_text(path, text.getvalue())


def read(path: str) -> list[Doubt]:
    """Reads what `write` wrote; nothing if there is no such file."""
    try:
        text = read_bytes(path).decode()
    except FileNotFoundError:
        return []
    rows = csv.DictReader(io.StringIO(text, newline=""))
    return [Doubt(row["image"], int(row["fold"]), float(row["mean_iou"]), float(row["cross_entropy"])) for row in rows]
