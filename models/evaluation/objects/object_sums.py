"""Which sums over images do all metrics of objects come from?"""

from __future__ import annotations

import dataclasses

import numpy as np

from models.evaluation import metrics
from models.evaluation.objects.average_precision import Detections
from models.evaluation.objects.panoptic_quality import matched_share, quality_totals
from models.evaluation.objects.segments import Segments

# Areas are counted by powers of two.
_POWERS = 32
# Of more images, the counts of as many are kept, which their seeds choose.
_KEPT_IMAGES = 3000


@dataclasses.dataclass(frozen=True)
class ImageCount:
    """How many objects an image has.

    Attributes:
      seed: of the image, as good as random.
      name: of the image.
      labeled: objects in the labels.
      predicted: objects found there, without those in crowds and where nothing is labeled.
    """

    seed: int
    name: str
    labeled: int
    predicted: int


@dataclasses.dataclass
class ObjectSums:
    """What was counted in a split or slice.

    Attributes:
      totals: [4, C] of `panoptic_quality.quality_totals`.
      replicates: [REPLICATES, 4, C] of the bootstrap.
      is_thing: [C] bool, of which classes an object was labeled or found.
      detections: of each class, of images or groups of images.
      shares: the sum over images of the share of objects that were matched, and the number of images with objects.
      counts: the sums over images and classes of the smaller and of the larger of the numbers of labeled and of
        predicted objects, and of their absolute difference.
      by_area: [4, 32]: labeled objects, those of them that were matched, the sum of their IoUs, and invented objects,
        by the power of two of their pixels.
      images: the counts of each image, or of those that are kept of many.
    """

    totals: np.ndarray
    replicates: np.ndarray
    is_thing: np.ndarray
    detections: dict[int, list[Detections]]
    shares: np.ndarray
    counts: np.ndarray
    by_area: np.ndarray
    images: list[ImageCount]

    @classmethod
    def zeros(cls, num_classes: int) -> ObjectSums:
        return cls(
            np.zeros([4, num_classes]),
            np.zeros([metrics.REPLICATES, 4, num_classes]),
            np.zeros(num_classes, bool),
            {},
            np.zeros(2),
            np.zeros(3, np.int64),
            np.zeros([4, _POWERS]),
            [],
        )

    def add(self, name: str, seed: int, overlaps: np.ndarray, scores: np.ndarray) -> None:
        """Adds an image.

        Args:
          name: its name.
          seed: of its bootstrap weights.
          overlaps: [n, 3] of `segments.overlaps`; rows without pixels do not count.
          scores: of the objects, by their numbers, which begin at 1.
        """
        segments = Segments.of(overlaps[overlaps[:, 2] > 0])
        num_classes = self.totals.shape[1]
        totals = quality_totals(segments, num_classes)
        of_things = np.zeros(num_classes, bool)
        for side in (segments.labeled, segments.predicted):
            of_things[side.class_ids[side.is_thing]] = True
        self.totals += totals
        self.replicates += metrics.bootstrap_weights(seed)[:, np.newaxis, np.newaxis] * totals
        self.is_thing |= of_things
        things = totals[:, of_things]
        if of_things.any() and things[1:].any():
            self.shares += [matched_share(things), 1]
        _, hit, invented, missed = things
        labeled, predicted = hit + missed, hit + invented
        pairs = np.minimum(labeled, predicted), np.maximum(labeled, predicted), np.abs(labeled - predicted)
        self.counts += [int(values.sum()) for values in pairs]
        self._count_areas(segments)
        numbers = segments.predicted.numbers
        of_segments = np.where(numbers > 0, np.append(scores, 0)[numbers - 1], 0)
        for class_id in np.flatnonzero(of_things):
            self.detections.setdefault(int(class_id), []).append(Detections.of(segments, of_segments, int(class_id)))
        self.images.append(ImageCount(seed, name, int(labeled.sum()), int(predicted.sum())))
        self._shorten()

    def _count_areas(self, segments: Segments) -> None:
        matched = segments.matched & segments.labeled.is_thing[segments.label_index]
        chosen = segments.labeled.is_thing
        labeled, predicted = (_powers(side.areas) for side in (segments.labeled, segments.predicted))
        of_matched = labeled[segments.label_index[matched]]
        invented = segments.is_invented & segments.predicted.is_thing
        self.by_area += np.stack(
            [
                np.bincount(labeled[chosen], minlength=_POWERS),
                np.bincount(of_matched, minlength=_POWERS),
                np.bincount(of_matched, segments.ious[matched], _POWERS),
                np.bincount(predicted[invented], minlength=_POWERS),
            ]
        )

    def merge(self, other: ObjectSums) -> None:
        """Adds what another one counted."""
        for name in ("totals", "replicates", "shares", "counts", "by_area"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.is_thing = self.is_thing | other.is_thing
        for class_id, found in other.detections.items():
            self.detections.setdefault(class_id, []).extend(found)
        self.images = [*self.images, *other.images]
        self._shorten()

    def kept_images(self) -> list[ImageCount]:
        """The images whose counts are known; they do not depend on the order in which images were added."""
        return sorted(self.images, key=lambda image: (image.seed, image.name))[:_KEPT_IMAGES]

    def _shorten(self) -> None:
        if len(self.images) > 2 * _KEPT_IMAGES:
            self.images = self.kept_images()
        for class_id, found in self.detections.items():
            if len(found) > _KEPT_IMAGES:
                self.detections[class_id] = [Detections.sum(found)]

    def average_precision(self) -> np.ndarray:
        """[C, 10], of each class at each threshold; NaN for classes without labeled objects."""
        num_classes = self.totals.shape[1]
        found = [Detections.sum(self.detections.get(class_id, [])) for class_id in range(num_classes)]
        return np.stack([of_class.average_precision() for of_class in found])


def _powers(areas: np.ndarray) -> np.ndarray:
    return np.log2(np.maximum(areas, 1)).astype(np.int64)
