"""What is a metric? A name, words, a definition and a function of sums over images. Nothing here imports TensorFlow."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any


@dataclasses.dataclass(frozen=True)
class Metric:
    """One row: a number, or one for each class, of a split or slice.

    Attributes:
      name: its key in the configuration. In TFMA's results it is `NAME`, or `NAME_CLASS` for each class.
      words: what people call it.
      definition: one line for the docs.
      compute: from `Sums` to the number, or to an array [C] if it is by class; NaN where there is nothing to measure.
        If it is a change: from the candidate's and the deployed model's `Sums`.
      by_class: whether there is one for each class.
      change_of: the metric whose change against the deployed model it is.
      most: the largest bound that a threshold may have.
      of_objects: whether only tasks with objects have it.
      of_groups: whether only data sets with groups of images have it.
      of_things: whether it is measured on classes with objects alone.
      higher_is_better: whether a larger value is a better one; a threshold, which is a least value, needs that.
      is_headline: whether it is one of the numbers that the report begins with, or, by class, a column of its table.
    """

    name: str
    words: str
    definition: str
    compute: Callable[..., Any]
    by_class: bool = False
    change_of: str = ""
    most: float = 1.0
    of_objects: bool = False
    of_groups: bool = False
    of_things: bool = False
    higher_is_better: bool = True
    is_headline: bool = False

    @property
    def least(self) -> float:
        """The smallest bound that a threshold may have."""
        return -1.0 if self.change_of else 0.0

    @property
    def is_count(self) -> bool:
        """Whether it is a number of things, not a share."""
        return self.most > 1

    def key(self, class_name: str = "") -> str:
        """Its name in TFMA's results."""
        return f"{self.name}_{class_name}" if self.by_class else self.name

    def label(self, class_name: str = "", slice_name: str = "") -> str:
        """It in words, such as `IoU of car on night`."""
        of_class = f" of {class_name}" if self.by_class else ""
        return self.words + of_class + (f" on {slice_name}" if slice_name else "")
