"""Which sums over images do all metrics come from?"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from models.evaluation import metrics
from models.evaluation.objects.object_sums import ObjectSums

SIZES = ("small", "medium", "large")
# Where medium and large images begin, in pixels.
IMAGE_SIZES = (256**2, 1024**2)
# Where medium and large regions begin, as shares of their image.
REGION_SIZES = (0.01, 0.1)
# Up to so many images all are named; of more, so many of the worst, of the best and of all: sums must not grow.
MOST_NAMED, NAMED_IMAGES = 10_000, 3000


@dataclasses.dataclass
class Sums:
    """What was counted in a split or slice; `totals` are those of `metrics.class_totals`.

    Attributes:
      confusion: [C, C].
      boundary: [3, C] totals.
      by_image_size: [3, 3, C] totals of small, medium and large images.
      by_region_size: [3, 3, C] totals of each class over the images in which its region is small, medium or large.
      replicates: [REPLICATES, 3, C] totals of the bootstrap.
      count: number of images.
      images: mean IoU, name and seed of each image, or of those that are kept of many.
      groups: [3, C] totals of the images of each group, such as the slices of a volume, by its name.
      objects: what was counted of objects; None where the model tells none apart.
    """

    confusion: np.ndarray
    boundary: np.ndarray
    by_image_size: np.ndarray
    by_region_size: np.ndarray
    replicates: np.ndarray
    count: int
    images: list[tuple[float, str, int]]
    groups: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    objects: ObjectSums | None = None

    @classmethod
    def zeros(cls, num_classes: int) -> Sums:
        def zeros(*shape: int) -> np.ndarray:
            return np.zeros([*shape, num_classes], np.int64)

        return cls(zeros(num_classes), zeros(3), zeros(3, 3), zeros(3, 3), zeros(metrics.REPLICATES, 3), 0, [])

    @property
    def totals(self) -> np.ndarray:
        """[3, C] totals of all pixels."""
        return metrics.class_totals(self.confusion)

    def add(
        self, name: str, seed: int, confusion: np.ndarray, boundary: np.ndarray, size: np.ndarray, group: str = ""
    ) -> None:
        """Adds an image.

        Args:
          name: its name.
          seed: of its bootstrap weights.
          confusion: [C, C].
          boundary: [3, C] totals.
          size: its height and width in pixels.
          group: the volume, patient or scene that it is of; an empty string for none.
        """
        totals = metrics.class_totals(confusion)
        labeled = totals[1]
        self.confusion += confusion
        self.boundary += boundary
        self.by_image_size[np.searchsorted(IMAGE_SIZES, np.prod(size), side="right")] += totals
        shares = np.searchsorted(REGION_SIZES, labeled / max(1, labeled.sum()), side="right")
        for class_id in np.flatnonzero(labeled):
            self.by_region_size[shares[class_id], :, class_id] += totals[:, class_id]
        self.replicates += metrics.bootstrap_weights(seed)[:, np.newaxis, np.newaxis] * totals
        self.count += 1
        self.images.append((float(metrics.mean_iou(totals)), name, seed))
        if group:
            self._add_groups({group: totals})
        self._forget()

    def add_objects(self, name: str, seed: int, overlaps: np.ndarray, scores: np.ndarray) -> None:
        """Adds the objects of an image that was added, as `ObjectSums.add` takes them."""
        if self.objects is None:
            self.objects = ObjectSums.zeros(len(self.confusion))
        self.objects.add(name, seed, overlaps, scores)

    def merge(self, other: Sums) -> None:
        """Adds what another one counted."""
        if other.objects is not None:
            self.objects = self.objects or ObjectSums.zeros(len(self.confusion))
            self.objects.merge(other.objects)
        self._add_groups(other.groups)
        for field in dataclasses.fields(self):
            if field.name in ("objects", "groups"):
                continue
            mine = getattr(self, field.name)
            mine += getattr(other, field.name)
            setattr(self, field.name, mine)
        self._forget()

    def named(self) -> list[tuple[float, str, int]]:
        """The images to name; they do not depend on the order in which images were added."""
        return self.images if self.count <= MOST_NAMED else _named(self.images)

    @property
    def group_totals(self) -> np.ndarray:
        """[groups, 3, C] totals, in the order of the groups' names."""
        return np.array([self.groups[name] for name in sorted(self.groups)]).reshape(-1, 3, len(self.confusion))

    def _add_groups(self, groups: Mapping[str, np.ndarray]) -> None:
        for name, totals in groups.items():
            self.groups[name] = self.groups.get(name, 0) + totals

    def _forget(self) -> None:
        if len(self.images) > 2 * MOST_NAMED:  # Not at each image: it sorts.
            self.images = _named(self.images)


def _named(images: list[tuple[float, str, int]]) -> list[tuple[float, str, int]]:
    """The worst, the best, and as many that their seeds, which are as good as random, choose."""
    images = list(set(images))  # The same image twice counts twice, but is named once.
    numbers = sorted(image for image in images if not np.isnan(image[0]))
    by_seed = sorted(images, key=lambda image: (image[2], image[1]))
    return list({*numbers[:NAMED_IMAGES], *numbers[-NAMED_IMAGES:], *by_seed[:NAMED_IMAGES]})
