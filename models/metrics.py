"""Mean IoU from one confusion matrix: the reference that the Keras and the TFMA metric are tested against."""

from __future__ import annotations

import numpy as np

from data.contract import IGNORE_LABEL


def confusion_matrix(labels: np.ndarray, predictions: np.ndarray, num_classes: int) -> np.ndarray:
    """Counts pixels by label (row) and prediction (column).

    Args:
      labels: integer class ids of any shape; 255 is not counted.
      predictions: class ids of the same shape, all below `num_classes`.
      num_classes: C.

    Returns:
      [C, C] int64 counts.

    Raises:
      ValueError: if a label that counts, or its prediction, is not in 0 … C-1.
    """
    labels, predictions = np.asarray(labels).ravel(), np.asarray(predictions).ravel()
    counted = labels != IGNORE_LABEL
    labels, predictions = labels[counted].astype(np.int64), predictions[counted].astype(np.int64)
    for name, values in (("label", labels), ("prediction", predictions)):
        if values.size and not 0 <= values.min() <= values.max() < num_classes:
            raise ValueError(f"a {name} is outside 0 to {num_classes - 1}: {values.min()} to {values.max()} occur")
    pairs = np.bincount(labels * num_classes + predictions, minlength=num_classes**2)
    return pairs.reshape(num_classes, num_classes)


def class_iou(confusion: np.ndarray) -> np.ndarray:
    """Intersection over union of each class, TP / (TP + FP + FN) (Everingham et al., "Pascal VOC", 2015, section 4.3).

    Args:
      confusion: [C, C] counts.

    Returns:
      [C] float64; NaN for a class that neither the labels nor the predictions contain.
    """
    true_positives = np.diag(confusion).astype(np.float64)
    union = confusion.sum(axis=0) + confusion.sum(axis=1) - np.diag(confusion)
    return np.divide(true_positives, union, out=np.full(len(confusion), np.nan), where=union > 0)


def mean_iou(confusion: np.ndarray) -> float:
    """The mean of `class_iou` over the classes that occur; NaN if none does."""
    values = class_iou(confusion)
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")
