"""How much does a prediction, and the confidence in it, contradict a label?"""

from __future__ import annotations

import dataclasses

import numpy as np

from data.contract import IGNORE_LABEL
from data.decoding.images import BadImageError
from models.evaluation import metrics

# Share of an image's labeled pixels. A class that has so few, all of them contradicted, counts half.
_SMALL = 0.002


@dataclasses.dataclass(frozen=True)
class Contradiction:
    """What is contradicted in a label.

    Attributes:
      score: 0 where the prediction is the label, near 1 where a class is all elsewhere.
      mean_iou: of the prediction, as if the label were right.
      classes: the labeled and the predicted class of the pixels that count most among those where they differ; None if
        they do not.
      share: of the labeled pixels, 0 to 1, that these are.
      confidence: mean of the model in these pixels.
    """

    score: float
    mean_iou: float
    classes: tuple[int, int] | None
    share: float
    confidence: float


def contradiction(label: np.ndarray, class_ids: np.ndarray, confidence: np.ndarray, num_classes: int) -> Contradiction:
    """Compares a label with a prediction.

    The score is 1 less the lowest IoU of a class, in which each pixel counts as much as the model is sure of it: a
    class that is elsewhere speaks for a fault, however well the larger ones fit. So that no handful of pixels decides,
    `_SMALL` is added to both parts of each IoU.

    Args:
      label: [height, width] class ids; 255 does not count.
      class_ids: likewise, of the prediction.
      confidence: [height, width], the probability of these.
      num_classes: C.

    Raises:
      BadImageError: if the two have not one size, or the label has other classes.
    """
    if label.shape != class_ids.shape:
        size = "×".join(map(str, class_ids.shape[::-1]))
        raise BadImageError(f"its mask has {label.shape[1]}×{label.shape[0]} pixels, the image {size}")
    counted = label != IGNORE_LABEL
    if (largest := label[counted].max(initial=0)) >= num_classes:
        raise BadImageError(f"its mask has the class {largest}, which is not in the label map")
    pairs = label[counted].astype(np.int64) * num_classes + class_ids[counted]
    square = (num_classes, num_classes)
    pixels = np.bincount(pairs, minlength=num_classes**2).reshape(square)
    weights = np.bincount(pairs, confidence[counted], minlength=num_classes**2).reshape(square)
    hit, labeled, predicted = metrics.class_totals(weights)
    small = max(1.0, _SMALL * len(pairs))
    score = 1 - ((hit + small) / (labeled + predicted - hit + small)).min()
    mean_iou = float(np.nan_to_num(metrics.mean_iou(metrics.class_totals(pixels)), nan=1.0))
    differing = weights * ~np.eye(num_classes, dtype=bool)
    if not differing.any():
        return Contradiction(float(score), mean_iou, None, 0.0, 0.0)
    row, column = map(int, np.unravel_index(differing.argmax(), square))
    count = pixels[row, column]
    return Contradiction(
        float(score), mean_iou, (row, column), float(count / len(pairs)), float(weights[row, column] / count)
    )
