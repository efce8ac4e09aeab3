"""How large objects are, and what follows from it: the unit of ways, and which peaks and objects count."""

from __future__ import annotations

import bisect
import dataclasses
import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from data.base.errors import UserError
from data.label_map import LabelMap
from models.inputs.settings import PreprocessingSettings

if TYPE_CHECKING:
    import tensorflow as tf

    from models.instances.grouping import Objects

# Maps beside the classes' logits: the peaks at centers, and the way to the center in rows and columns.
OBJECT_MAPS = 3
# Where a peak is lower, no object has its center.
LEAST_PEAK = 0.25
# Touching discs of area a have centers 1.13 √a apart: one peak counts within 0.43 √a each way, of objects of the median
# area. With less, large objects fall apart: on nuclei, whose areas differ a hundredfold, half of it found 2 % fewer of
# those that are there and three times as many that are not.
_KERNEL_SHARE = 0.85
# An object may be so much smaller than all but the smallest ones that are labeled.
_SMALLEST, _LEAST_SHARE = 0.01, 0.25


def things(label_map: LabelMap, statistics: Mapping[str, Any]) -> tuple[bool, ...]:
    """[C], which classes have objects.

    Args:
      label_map: a class whose kind it does not say has objects if the train split shows one.
      statistics: the data gate's, of the train split.

    Raises:
      UserError: if no class has objects, or all have.
    """
    objects = statistics.get("objects", {})
    is_thing = tuple(
        bool(objects.get(label.name)) if label.kind is None else label.kind == "thing" for label in label_map.classes
    )
    if not any(objects.get(name) for name, thing in zip(label_map.names, is_thing, strict=True) if thing):
        raise UserError(
            "no image of the split train has an object: convert the data from a format that tells objects apart, or "
            "set task: semantic"
        )
    if all(is_thing):
        raise UserError(
            "each class has objects, so nothing is left for pixels that belong to none: add a class such as background "
            "to the label map"
        )
    return is_thing


@dataclasses.dataclass(frozen=True)
class ObjectScale:
    """What the labels say about objects.

    Attributes:
      is_thing: [C], which classes have objects.
      unit: the network's ways are in so many pixels of its input: the root of the median area.
      kernel: odd side, in pixels, of the square within which there is one center.
      least_area: pixels of an object.
    """

    is_thing: tuple[bool, ...]
    unit: float
    kernel: int
    least_area: int

    @classmethod
    def of(cls, label_map: LabelMap, statistics: Mapping[str, Any], shape: PreprocessingSettings) -> ObjectScale:
        """From the objects of a split.

        Args:
          label_map: as for `things`.
          statistics: the data gate's, of the split.
          shape: of the model's input.

        Raises:
          UserError: as `things`.
        """
        is_thing = things(label_map, statistics)
        if shape.resize == "none":
            areas = {float(area): count for area, count in statistics["objects_by_pixels"].items()}
        else:
            pixels = shape.height * shape.width * (_filled(shape, statistics) if shape.resize == "pad" else 1)
            areas = {float(share) * pixels: count for share, count in statistics["objects_by_share"].items()}
        median, smallest = (_quantile(areas, share) for share in (0.5, _SMALLEST))
        return cls(
            is_thing,
            unit=round(max(1.0, median**0.5), 3),
            kernel=max(3, 2 * round(_KERNEL_SHARE * median**0.5 / 2) + 1),
            least_area=max(1, int(_LEAST_SHARE * smallest)),
        )

    def targets(self, label: tf.Tensor) -> tf.Tensor:
        """What the network learns: [batch, height, width, 2] → [batch, height, width, 5], as `ObjectLoss` reads it."""
        from models.instances.targets import training_targets

        return training_targets(label, self.is_thing, self.unit)

    def group(self, maps: tf.Tensor) -> Objects:
        """The objects of one image.

        Args:
          maps: [height, width, C + 3] float32: probabilities, peaks, and ways in the unit.
        """
        from models.instances.grouping import group

        classes = len(self.is_thing)
        return group(
            maps[..., :classes],
            maps[..., classes],
            maps[..., classes + 1 :] * self.unit,
            self.is_thing,
            kernel=self.kernel,
            least_peak=LEAST_PEAK,
            least_area=self.least_area,
        )


def _filled(shape: PreprocessingSettings, statistics: Mapping[str, Any]) -> float:
    """The share of the model's input that images cover which keep their shape, as the mean over objects."""
    by_aspect = {float(aspect): count for aspect, count in statistics["objects_by_aspect"].items()}
    of_input = shape.width / shape.height
    covered = sum(count * min(aspect / of_input, of_input / aspect) for aspect, count in by_aspect.items())
    return covered / sum(by_aspect.values())


def _quantile(areas: Mapping[float, int], share: float) -> float:
    """A quantile of areas that were counted by powers of two, as if each were evenly filled on a log scale."""
    bounds = sorted(areas)
    counts = [areas[bound] for bound in bounds]
    ends = list(itertools.accumulate(counts))
    wanted = share * ends[-1]
    place = bisect.bisect_left(ends, wanted)
    return float(bounds[place] * 2 ** ((wanted - ends[place] + counts[place]) / counts[place]))
