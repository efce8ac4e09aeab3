"""What a plan has to know about a data set."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from data.base.errors import UserError
from data.contract import SPLITS
from data.inspection.sample import Sample
from data.inspection.widths import WIDTHS
from data.label_map import LabelMap


@dataclasses.dataclass(frozen=True)
class DataFacts:
    """A data set, by a sample of its images.

    Attributes:
      counts: images of each split.
      classes: names by id.
      sizes: [images, 2], height and width of each image of the sample.
      widths: [images, classes, len(WIDTHS)] pixels by the width of the structure that they are in, of the same images.
      is_gray: whether no image has a color.
      bands: how many the images have; 3 of pictures, even of gray ones.
      objects: [images, classes], objects of each class that has any, of the same images; None if they are not told
        apart in all of them.
    """

    counts: Mapping[str, int]
    classes: tuple[str, ...]
    sizes: np.ndarray
    widths: np.ndarray
    is_gray: bool
    bands: int = 3
    objects: np.ndarray | None = None

    @classmethod
    def of_sample(cls, counts: Mapping[str, int], sample: Sample, label_map: LabelMap) -> DataFacts:
        """What was seen of a data set.

        Raises:
          UserError: if a split has no image, or no pixel has a class.
        """
        if empty := [split for split in SPLITS if not counts[split]]:
            raise UserError(f"no example is in {' and '.join(empty)}; a run needs some in each of {', '.join(SPLITS)}")
        widths = np.stack([pair.widths[: len(label_map)] for pair in sample.pairs])
        if not widths.any():
            raise UserError(
                f"in the {len(sample.pairs)} masks that were looked at, all pixels are ignored: nothing can be learned "
                f"from them. Their ids are probably not those of the classes, {', '.join(label_map.names[:10])}; "
                "`segpipe inspect` shows them"
            )
        of_pairs = [pair.objects for pair in sample.pairs if pair.objects is not None]
        objects = None
        if len(of_pairs) == len(sample.pairs):
            objects = np.stack(of_pairs)[:, : len(label_map)]
            objects[:, [label.id for label in label_map.classes if label.kind == "stuff"]] = 0
        sizes = np.array(sample.sizes)
        return cls(counts, label_map.names, sizes, widths, sample.is_gray, sample.bands, objects)

    @property
    def train(self) -> int:
        """Training images."""
        return self.counts["train"]

    @property
    def shares(self) -> np.ndarray:
        """[classes], each class's share of the labeled pixels."""
        pixels = self.widths.sum(axis=(0, 2))
        return pixels / max(pixels.sum(), 1)

    @property
    def occurring(self) -> np.ndarray:
        """Ids of the classes that have pixels in the sample."""
        return np.flatnonzero(self.shares)

    @property
    def things(self) -> np.ndarray:
        """Ids of the classes that have objects, if an image has several of one class and a class has none."""
        if self.objects is None or self.objects.max(initial=0) < 2 or self.objects.any(axis=0).all():
            return np.zeros(0, np.int64)
        return np.flatnonzero(self.objects.any(axis=0))

    @property
    def middle(self) -> tuple[int, int]:
        """Height and width in the middle; each is the height, or width, of an image."""
        ordered = np.sort(self.sizes, axis=0)
        height, width = ordered[(len(ordered) - 1) // 2]
        return int(height), int(width)

    @property
    def mean_area(self) -> float:
        """Pixels of an image."""
        return float(self.sizes.prod(axis=1).mean())

    @property
    def aspects(self) -> tuple[float, float]:
        """Width / height, between which nine of ten images are."""
        low, high = np.quantile(self.sizes[:, 1] / self.sizes[:, 0], [0.05, 0.95])
        return float(low), float(high)

    def shrinking(self, height: int, width: int) -> np.ndarray:
        """[images], how many times smaller an input is, by the side that shrinks more; at least 1."""
        return np.maximum((self.sizes / (height, width)).max(axis=1), 1.0)

    def narrower(self, pixels: float, shrinking: np.ndarray | float = 1.0) -> np.ndarray:
        """The share of each class's pixels that lie in structures narrower than this.

        Args:
          pixels: of the image after shrinking.
          shrinking: [images], or one for all.

        Returns:
          [classes]; 0 where a class does not occur.
        """
        least = np.broadcast_to(pixels * np.asarray(shrinking, float), len(self.sizes))
        is_narrower = np.array(WIDTHS) < least[:, np.newaxis] - 1e-6
        found = np.einsum("ncw,nw->c", self.widths, is_narrower)
        return found / np.maximum(self.widths.sum(axis=(0, 2)), 1)

    def width(self, class_id: int, share: float) -> int:
        """The width that this share of a class's pixels reach at most: 0.1 for its narrow parts, 0.5 for the middle."""
        pixels = self.widths[:, class_id].sum(axis=0)
        return WIDTHS[int(np.searchsorted(np.cumsum(pixels), share * pixels.sum()))]
