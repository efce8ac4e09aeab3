"""Average precision by the definition of COCO (Lin et al., "Microsoft COCO", 2014; its evaluation code), exactly.

There is one difference: no limit of 100 objects an image, which would punish whoever finds all of a crowd of cells.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from models.evaluation.objects.segments import Segments

# IoUs from which on an object counts as found.
THRESHOLDS = np.linspace(0.5, 0.95, 10)
# Recalls at which precision is read.
_RECALLS = np.linspace(0.0, 1.0, 101)


@dataclasses.dataclass(frozen=True)
class Detections:
    """Predicted objects of one class, each with what it was at each threshold; and how many there should be.

    Attributes:
      scores: [n] float32.
      is_hit: [n, 10] bool.
      is_ignored: [n, 10] bool, those in crowds or where nothing is labeled.
      labeled: number of labeled objects.
    """

    scores: np.ndarray
    is_hit: np.ndarray
    is_ignored: np.ndarray
    labeled: int

    @classmethod
    def sum(cls, parts: Sequence[Detections]) -> Detections:
        """Of several images together, or of none."""
        empty = np.zeros([0, len(THRESHOLDS)], bool)
        none = cls(np.zeros(0, np.float32), empty, empty, 0)
        scores, is_hit, is_ignored = (
            np.concatenate([getattr(part, name) for part in (none, *parts)])
            for name in ("scores", "is_hit", "is_ignored")
        )
        return cls(scores, is_hit, is_ignored, sum(part.labeled for part in parts))

    @classmethod
    def of(cls, segments: Segments, scores: np.ndarray, class_id: int) -> Detections:
        """Of one image.

        Args:
          segments: of the image.
          scores: [n] of its predicted segments.
          class_id: of a thing.
        """
        chosen = np.flatnonzero(segments.predicted.class_ids == class_id)
        chosen = chosen[np.argsort(-scores[chosen], kind="stable")]
        is_hit = np.zeros([len(segments.predicted.keys), len(THRESHOLDS)], bool)
        best = np.argsort(-segments.ious, kind="stable")
        # Objects do not overlap: only at an IoU of exactly 0.5 has one two partners, of which the better score wins.
        order = best[np.argsort(-scores[segments.predicted_index[best]], kind="stable")]
        for level, threshold in enumerate(THRESHOLDS):
            enough = order[segments.ious[order] >= threshold]
            _, first = np.unique(segments.label_index[enough], return_index=True)
            is_hit[segments.predicted_index[enough[first]], level] = True
        areas = segments.predicted.areas
        is_ignored = (segments.crowd / np.maximum(areas, 1))[:, np.newaxis] >= THRESHOLDS
        is_ignored |= (segments.unlabeled > areas)[:, np.newaxis]
        hit = is_hit[chosen]
        labeled = int(np.count_nonzero(segments.labeled.class_ids == class_id))
        return cls(scores[chosen].astype(np.float32), hit, is_ignored[chosen] & ~hit, labeled)

    def average_precision(self) -> np.ndarray:
        """[10] float64, at each threshold; NaN if no object is labeled."""
        if not self.labeled:
            return np.full(len(THRESHOLDS), np.nan)
        # Of equal scores the misses come first, so that the order of images does not matter.
        values = []
        for level in range(len(THRESHOLDS)):
            counted = ~self.is_ignored[:, level]
            hits = self.is_hit[counted, level]
            order = np.lexsort([hits, -self.scores[counted]])
            values.append(_precision(hits[order], self.labeled).mean())
        return np.array(values)


def _precision(hits: np.ndarray, labeled: int) -> np.ndarray:
    """[101], the best precision at each recall or a higher one; 0 at recalls that are not reached."""
    found = np.cumsum(hits)
    precision = found / np.arange(1, len(hits) + 1)
    best = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    return best[np.searchsorted(found / labeled, _RECALLS, side="left")]
