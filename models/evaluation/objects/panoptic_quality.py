"""Panoptic quality, and other shares of objects that were matched, from sums over images."""

from __future__ import annotations

import numpy as np

from models.evaluation.metrics import share
from models.evaluation.objects.segments import Segments


def quality_totals(segments: Segments, num_classes: int) -> np.ndarray:
    """What panoptic quality needs of one image: the sum of IoUs of matched segments, TP, FP and FN of each class.

    A predicted and a labeled segment of one class match if their IoU is above 0.5. A predicted one without a match
    counts nowhere if more than half of it has no label or lies in a crowd of its class (Kirillov et al. 2019, section
    4; pixels without a label count in no IoU).

    Returns:
      [4, C] float64.
    """
    matched = segments.matched
    class_ids = segments.labeled.class_ids[segments.label_index[matched]]
    return np.stack(
        [
            np.bincount(class_ids, segments.ious[matched], num_classes),
            np.bincount(class_ids, minlength=num_classes),
            np.bincount(segments.predicted.class_ids[segments.is_invented], minlength=num_classes),
            np.bincount(segments.labeled.class_ids[segments.is_missed], minlength=num_classes),
        ]
    )


def panoptic_quality(totals: np.ndarray) -> np.ndarray:
    """PQ of each class, the sum of the IoUs / (TP + FP / 2 + FN / 2): […, 4, C] → […, C]; NaN where no segment is.

    Kirillov et al., "Panoptic Segmentation", 2019, section 4.2.
    """
    ious, hit, invented, missed = np.moveaxis(np.asarray(totals, np.float64), -2, 0)
    return share(ious, hit + invented / 2 + missed / 2)


def segmentation_quality(totals: np.ndarray) -> np.ndarray:
    """SQ of each class, the mean IoU of matched segments: […, 4, C] → […, C]; 0 where none is matched, NaN as PQ."""
    ious, hit, invented, missed = np.moveaxis(np.asarray(totals, np.float64), -2, 0)
    return np.where(hit + invented + missed > 0, np.nan_to_num(share(ious, hit)), np.nan)


def recognition_quality(totals: np.ndarray) -> np.ndarray:
    """RQ of each class, TP / (TP + FP / 2 + FN / 2), an F1 score: […, 4, C] → […, C]; NaN as PQ."""
    _, hit, invented, missed = np.moveaxis(np.asarray(totals, np.float64), -2, 0)
    return share(hit, hit + invented / 2 + missed / 2)


def matched_share(totals: np.ndarray) -> np.ndarray:
    """TP / (TP + FP + FN) over all classes of the totals, at an IoU of 0.5: […, 4, C] → […]; NaN if there is none.

    The Data Science Bowl of 2018 calls it precision.
    """
    _, hit, invented, missed = np.moveaxis(np.asarray(totals, np.float64).sum(axis=-1), -1, 0)
    return share(hit, hit + invented + missed)
