"""How is each metric defined? Once, in NumPy; what graphs and TFMA compute is tested against this.

A mean over classes is over those that occur in the labels or the predictions; label 255 counts nowhere. What each
metric is called is in `models/evaluation/metric_table.py`.
"""

from __future__ import annotations

import numpy as np

from data.contract import IGNORE_LABEL

# Share of an image's diagonal that is a boundary's width (Cheng et al. 2021, section 4).
BOUNDARY_SHARE = 0.02
# Of the bootstrap.
REPLICATES = 1000
# Percentiles at the ends of a confidence interval.
_INTERVAL = (2.5, 97.5)


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


def class_totals(confusion: np.ndarray) -> np.ndarray:
    """What IoU needs from a confusion matrix: […, C, C] → […, 3, C], each class's pixels hit, labeled, predicted."""
    hit = np.diagonal(confusion, axis1=-2, axis2=-1)
    return np.stack([hit, confusion.sum(axis=-1), confusion.sum(axis=-2)], axis=-2)


def class_iou(totals: np.ndarray) -> np.ndarray:
    """Intersection over union of each class, TP / (TP + FP + FN) (Everingham et al., "Pascal VOC", 2015, section 4.3).

    Args:
      totals: […, 3, C] of `class_totals`, summed over images.

    Returns:
      […, C] float64; NaN for a class that neither the labels nor the predictions contain.
    """
    hit, labeled, predicted = np.moveaxis(totals, -2, 0)
    return share(hit, labeled + predicted - hit)


def mean_iou(totals: np.ndarray) -> np.ndarray:
    """The mean of `class_iou` over the classes that occur: […, 3, C] → […]; NaN if none does."""
    return mean_over_classes(class_iou(totals))


def class_dice(totals: np.ndarray) -> np.ndarray:
    """Dice coefficient of each class, 2 TP / (2 TP + FP + FN) (Dice 1945): […, 3, C] → […, C], NaN as `class_iou`."""
    hit, labeled, predicted = np.moveaxis(totals, -2, 0)
    return share(2 * hit, labeled + predicted)


def pixel_accuracy(totals: np.ndarray) -> np.ndarray:
    """Share of pixels with the right class (Long et al., "Fully Convolutional Networks", 2015, section 5)."""
    hit, labeled, _ = np.moveaxis(totals, -2, 0)
    return share(hit.sum(axis=-1), labeled.sum(axis=-1))


def frequency_weighted_iou(totals: np.ndarray) -> np.ndarray:
    """Mean of `class_iou` weighted by the classes' shares of the labeled pixels (Long et al. 2015, section 5)."""
    labeled = totals[..., 1, :]
    return share((labeled * np.nan_to_num(class_iou(totals))).sum(axis=-1), labeled.sum(axis=-1))


def boundary_width(height: int, width: int) -> int:
    """How far a boundary reaches into its region, in pixels, at least 1."""
    return max(1, round(BOUNDARY_SHARE * (height**2 + width**2) ** 0.5))


def boundary(region: np.ndarray, width: int) -> np.ndarray:
    """The pixels of a region that are not farther than a width from its contour or the image's edge.

    Args:
      region: [h, w] bool.
      width: in pixels, by the larger of the distances in rows and in columns.

    Returns:
      [h, w] bool: the region without its erosion by a square of 2 · width + 1 pixels.
    """
    side = 2 * width + 1
    sums = np.pad(region.astype(np.int64), ((width + 1, width), (width + 1, width))).cumsum(0).cumsum(1)
    square = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    return region & (square < side**2)


def boundary_totals(labels: np.ndarray, predictions: np.ndarray, num_classes: int) -> np.ndarray:
    """What boundary IoU needs from one image: `class_totals` of the pixels at boundaries.

    Args:
      labels: [h, w] class ids; 255 is not counted.
      predictions: [h, w] class ids.
      num_classes: C.

    Returns:
      [3, C] int64: pixels at both the label's and the prediction's boundary of a class, at the label's, at the
      prediction's. `class_iou` of their sum over images is boundary IoU (Cheng et al., "Boundary IoU", 2021, section
      4).
    """
    width = boundary_width(*labels.shape)
    counted = labels != IGNORE_LABEL
    totals = []
    for class_id in range(num_classes):
        of_label, of_prediction = (boundary(ids == class_id, width) & counted for ids in (labels, predictions))
        totals.append([(of_label & of_prediction).sum(), of_label.sum(), of_prediction.sum()])
    return np.array(totals).T


def bootstrap_weights(seed: int) -> np.ndarray:
    """How often an image occurs in each replicate of the Poisson bootstrap: [REPLICATES] int64.

    Images are drawn without knowing how many there are, so one pass is enough (Chamandy et al., "Estimating
    Uncertainty for Massive Data Streams", 2012, section 3). The seed comes from the image: two models then see the same
    replicates, so that the replicates of their difference are paired.
    """
    return np.random.default_rng(seed).poisson(1.0, REPLICATES)


def confidence_interval(replicates: np.ndarray) -> tuple[float, float]:
    """The middle 95 % of a metric's bootstrap replicates (Efron and Tibshirani 1993, section 13.3); NaN if none."""
    finite = replicates[np.isfinite(replicates)]
    lower, upper = np.percentile(finite, _INTERVAL) if finite.size else (np.nan, np.nan)
    return float(lower), float(upper)


def mean_over_classes(values: np.ndarray) -> np.ndarray:
    """[…, C] → […]: the mean of what is not NaN; NaN if nothing is."""
    return share(np.nansum(values, axis=-1), np.isfinite(values).sum(axis=-1))


def mean_over_groups(values: np.ndarray) -> np.ndarray:
    """[groups, C] → [C]: the mean over the groups in which a class occurs; NaN if it occurs in none."""
    return mean_over_classes(values.T)


def share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole, of any shape; NaN where the whole is 0."""
    part, whole = np.asarray(part, np.float64), np.asarray(whole, np.float64)
    # [()] makes a number of an array without dimensions.
    return np.divide(part, whole, out=np.full(np.broadcast(part, whole).shape, np.nan), where=whole > 0)[()]
