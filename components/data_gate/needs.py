"""What must the test split hold, so that each threshold can be measured?"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable
from typing import Any

from data.label_map import LabelMap
from models.evaluation.gate import EACH_SLICE, Threshold
from models.evaluation.metric_table import METRICS

_SHOWN = 10


@dataclasses.dataclass(frozen=True, order=True)
class Need:
    """What one or more thresholds need.

    It holds none of their values except the least number of images, which the data alone can reach: another value must
    not make the cache forget what was trained.

    Attributes:
      slice: whose images must be there; "" for all test images, `*` for each slice.
      class_name: the class that must occur on them; "" for any.
      images: how many of them there must be; 0 if it is labels that count.
    """

    slice: str
    class_name: str
    images: int

    @property
    def key(self) -> str:
        """Where the configuration has the thresholds."""
        return f"gate.slices.{self.slice}" if self.slice else "gate.min"


def needs_of(thresholds: Iterable[Threshold]) -> str:
    """The needs of thresholds as JSON, the same for the same needs."""
    needs = {
        Need(threshold.slice, "", max(1, math.ceil(threshold.bound)))
        if threshold.metric == METRICS["images"].name
        else Need(threshold.slice, threshold.class_name, 0)
        for threshold in thresholds
    }
    return json.dumps([dataclasses.astuple(need) for need in sorted(needs)])


def read_needs(text: str) -> list[Need]:
    """Reads what `needs_of` wrote."""
    return [Need(*values) for values in json.loads(text)]


def missing(need: Need, test: dict[str, Any], slices: dict[str, list[int]], label_map: LabelMap) -> list[str]:
    """What the test split lacks.

    Args:
      need: of thresholds.
      test: its statistics.
      slices: by slice: its number of images, then its pixels by class.
      label_map: of the data set.
    """
    # Of the pixels, what counts is only whether there are any.
    found = {"": [test["examples"], *test["examples_with_class"].values()], **slices}
    if need.slice == EACH_SLICE and not slices:
        return [f"no image has a slice ({need.key})"]
    if need.slice not in found and need.slice != EACH_SLICE:
        return [f"no image of slice {need.slice} ({need.key}); {_names('slices', slices)}"]
    lines = []
    for name in sorted(slices) if need.slice == EACH_SLICE else [need.slice]:
        images, *pixels = found[name]
        of_slice = f" in slice {name}" if name else ""
        if need.images:
            if images < need.images:
                lines.append(f"{images} images{of_slice}, where there must be {need.images} ({need.key}.images)")
        elif need.class_name:
            if not pixels[label_map.names.index(need.class_name)]:
                lines.append(f"no pixel of class {need.class_name}{of_slice}, which has a threshold ({need.key})")
        elif not any(pixels):
            lines.append(f"all pixels{of_slice} are ignored, and there is a threshold on them ({need.key})")
    return lines


def _names(what: str, names: Iterable[str]) -> str:
    found = sorted(names)
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return f"its {what} are {', '.join(found[:_SHOWN])}{more}" if found else f"it has no {what}"
