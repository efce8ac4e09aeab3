"""Which segment of the labels shares how many pixels with which segment of the prediction: all that metrics need.

A segment is an object of a thing class, or all pixels of a stuff class. Segments of one map do not overlap, so a few
numbers for each pair that meets say everything about an image; areas are sums of them.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from data.contract import CROWD, IGNORE_LABEL

# A segment's key is class id · 65,536 + number of the object, 0 for stuff.
NUMBERS = 1 << 16
VOID = IGNORE_LABEL * NUMBERS
# Above all keys.
KEYS = 256 * NUMBERS
# Above this IoU a segment has at most one partner (Kirillov et al., "Panoptic Segmentation", 2019, section 4.1).
LEAST_IOU = 0.5


def keys(class_ids: np.ndarray, objects: np.ndarray, is_thing: np.ndarray) -> np.ndarray:
    """The key of each pixel's segment, int64; `VOID` where the class is 255.

    A pixel of a thing without an object belongs to a crowd; stuff has no objects.

    Args:
      class_ids: of each pixel.
      objects: the number of each pixel's object, 0 for none, 65535 for a crowd.
      is_thing: [C] bool, which classes have objects.
    """
    class_ids, objects = np.asarray(class_ids, np.int64), np.asarray(objects, np.int64)
    ignored = class_ids == IGNORE_LABEL
    of_thing = np.asarray(is_thing)[np.where(ignored, 0, class_ids)]
    numbers = np.where(of_thing, np.where(objects == 0, CROWD, objects), 0)
    return np.where(ignored, VOID, class_ids * NUMBERS + numbers)


def overlaps(labels: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """Counts the pixels of each pair of segments that meets.

    Args:
      labels: keys of any shape.
      predictions: keys of the same shape.

    Returns:
      [n, 3] int64: key of the label, key of the prediction, and the pixels that they share.
    """
    pairs, pixels = np.unique(np.ravel(labels) * KEYS + np.ravel(predictions), return_counts=True)
    return np.stack([pairs // KEYS, pairs % KEYS, pixels], axis=1)


@dataclasses.dataclass(frozen=True)
class Side:
    """The segments of an image's labels, or of its prediction.

    Attributes:
      keys: [n] int64.
      class_ids: [n] int64.
      areas: [n] int64 pixels.
    """

    keys: np.ndarray
    class_ids: np.ndarray
    areas: np.ndarray

    @property
    def numbers(self) -> np.ndarray:
        """[n] int64, of objects; 0 for stuff."""
        return self.keys % NUMBERS

    @property
    def is_thing(self) -> np.ndarray:
        """[n] bool, which are objects."""
        return self.numbers > 0


@dataclasses.dataclass(frozen=True)
class Segments:
    """What meets in an image.

    Attributes:
      labeled: segments of the labels, without crowds.
      predicted: those of the prediction. Pixels without a label do not count in their areas.
      label_index: [pairs] int64, which labeled segment each pair of segments with an IoU of at least 0.5 and one class
        has.
      predicted_index: [pairs] int64, which predicted one.
      ious: [pairs] float64.
      crowd: of each predicted segment, the pixels that lie in a crowd of its class.
      unlabeled: of each predicted segment, the pixels that have no label.
    """

    labeled: Side
    predicted: Side
    label_index: np.ndarray
    predicted_index: np.ndarray
    ious: np.ndarray
    crowd: np.ndarray
    unlabeled: np.ndarray

    @property
    def matched(self) -> np.ndarray:
        """[pairs] bool: with an IoU above 0.5, so that neither has another partner."""
        return self.ious > LEAST_IOU

    @property
    def is_missed(self) -> np.ndarray:
        """Which labeled segments have no match, bool."""
        missed = np.ones(len(self.labeled.keys), bool)
        missed[self.label_index[self.matched]] = False
        return missed

    @property
    def is_invented(self) -> np.ndarray:
        """Which predicted segments have no match and count, bool.

        One does not count if more than half of it has no label or lies in a crowd of its class (Kirillov et al. 2019,
        section 4).
        """
        invented = 2 * (self.unlabeled + self.crowd) <= self.predicted.areas + self.unlabeled
        invented[self.predicted_index[self.matched]] = False
        return invented

    @classmethod
    def of(cls, counts: np.ndarray) -> Segments:
        """From [n, 3] that `overlaps` counted; in a prediction a crowd is no segment."""
        label, predicted, pixels = counts.T
        is_crowd, is_labeled = label % NUMBERS == CROWD, label != VOID
        is_predicted = (predicted != VOID) & (predicted % NUMBERS != CROWD)

        labeled = _side(label, pixels, is_labeled & ~is_crowd)
        found = _side(predicted, pixels, is_predicted)
        place = np.searchsorted(found.keys, predicted)
        same_class = label // NUMBERS == predicted // NUMBERS

        def sum_by_predicted(chosen: np.ndarray) -> np.ndarray:
            chosen = chosen & is_predicted
            return np.bincount(place[chosen], pixels[chosen], len(found.keys)).astype(np.int64)

        unlabeled, crowd = sum_by_predicted(~is_labeled), sum_by_predicted(is_crowd & same_class)
        areas = found.areas - unlabeled
        pairs = np.flatnonzero(is_labeled & ~is_crowd & is_predicted & same_class)
        label_index, predicted_index = np.searchsorted(labeled.keys, label[pairs]), place[pairs]
        ious = pixels[pairs] / (labeled.areas[label_index] + areas[predicted_index] - pixels[pairs])
        close = ious >= LEAST_IOU
        return cls(
            labeled,
            dataclasses.replace(found, areas=areas),
            label_index[close],
            predicted_index[close],
            ious[close],
            crowd,
            unlabeled,
        )


def _side(segment_keys: np.ndarray, pixels: np.ndarray, chosen: np.ndarray) -> Side:
    found, index = np.unique(segment_keys[chosen], return_inverse=True)
    areas = np.bincount(index.ravel(), pixels[chosen], len(found)).astype(np.int64)
    return Side(found, found // NUMBERS, areas)
