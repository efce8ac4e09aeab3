"""Threshold check: stops the pipeline before training if the test split lacks what a threshold of the gate is about.

It is not a part of the data gate, since Transform and Trainer read what that writes: a threshold on another class would
train again.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Iterable
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.types import artifact_utils, component_spec

from components.data_gate import DataGateError, DataStatistics, read_statistics
from data.base.files import write_text
from models.evaluation.gate import EACH_SLICE, REGRESSION_KEY, Threshold
from models.evaluation.metric_table import METRICS

_SHOWN = 10
_MOST_LINES = 20


class CheckedThresholds(types.Artifact):
    """What thresholds need, and the data has."""

    TYPE_NAME = "components.CheckedThresholds"


class ThresholdCheckSpec(component_spec.ComponentSpec):
    """Inputs, outputs and parameters of the component."""

    PARAMETERS = {"needs": component_spec.ExecutionParameter(type=str)}
    INPUTS = {"data_statistics": component_spec.ChannelParameter(type=DataStatistics)}
    OUTPUTS = {"checked": component_spec.ChannelParameter(type=CheckedThresholds)}


@dataclasses.dataclass(frozen=True, order=True)
class Need:
    """What one or more thresholds need.

    It holds none of their values except the least number of images, which the data alone can reach.

    Attributes:
      slice: whose images must be there; "" for all test images, `*` for each slice.
      class_name: the class that must occur on them; "" for any.
      images: how many of them there must be; 0 if it is labels that count.
      objects: whether there must be objects, not just pixels.
    """

    slice: str
    class_name: str
    images: int
    objects: bool = False

    @property
    def key(self) -> str:
        """Where the configuration has the thresholds."""
        return f"gate.slices.{self.slice}" if self.slice else "gate.min"


def needs_of(thresholds: Iterable[Threshold]) -> str:
    """The needs of thresholds as JSON, the same for the same needs."""
    needs = {
        Need(threshold.slice, "", max(1, math.ceil(threshold.bound)))
        if threshold.metric == METRICS["images"].name
        else Need(threshold.slice, threshold.class_name, 0, METRICS[threshold.metric].of_things)
        for threshold in thresholds
    }
    return json.dumps([dataclasses.astuple(need) for need in sorted(needs)])


def read_needs(text: str) -> list[Need]:
    """Reads what `needs_of` wrote."""
    return [Need(*values) for values in json.loads(text)]


def missing(need: Need, test: dict[str, Any]) -> list[str]:
    """What the test split lacks.

    Args:
      need: of thresholds.
      test: its statistics.
    """
    slices = test["slices"]
    # Of the pixels, what counts is only whether there are any.
    found = {"": {"examples": test["examples"], "pixels": test["examples_with_class"]}, **slices}
    if need.slice == EACH_SLICE and not slices:
        return [f"no image has a slice ({need.key})"]
    if need.slice not in found and need.slice != EACH_SLICE:
        return [f"no image of slice {need.slice} ({need.key}); {_names('slices', slices)}"]
    lines = []
    for name in sorted(slices) if need.slice == EACH_SLICE else [need.slice]:
        images, pixels = found[name]["examples"], found[name]["pixels"]
        of_slice = f" in slice {name}" if name else ""
        if need.images:
            if images < need.images:
                lines.append(f"{images} images{of_slice}, where there must be {need.images} ({need.key}.images)")
        # Of slices nobody counted objects.
        elif need.objects and not name and not _objects(test, need.class_name):
            of_class = f" of class {need.class_name}" if need.class_name else ""
            keys = need.key if need.class_name else f"{need.key} or {REGRESSION_KEY}"
            lines.append(f"no object{of_class}, and there is a threshold on objects ({keys})")
        elif need.class_name:
            if not pixels[need.class_name]:
                lines.append(f"no pixel of class {need.class_name}{of_slice}, which has a threshold ({need.key})")
        elif not any(pixels.values()):
            lines.append(f"all pixels{of_slice} are ignored, and there is a threshold on them ({need.key})")
    return lines


def _objects(test: dict[str, Any], class_name: str) -> int:
    """How many objects of a class, or of any class if it is "", the test split has."""
    counts = test.get("objects", {})
    return int(counts.get(class_name, 0)) if class_name else sum(counts.values())


def _names(what: str, names: Iterable[str]) -> str:
    found = sorted(names)
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return f"its {what} are {', '.join(found[:_SHOWN])}{more}" if found else f"it has no {what}"


class Executor(base_executor.BaseExecutor):
    """Compares what thresholds need with the data gate's statistics."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Raises a DataGateError if the test split lacks something."""
        test = read_statistics(artifact_utils.get_single_uri(input_dict["data_statistics"]))["splits"]["test"]
        needs = read_needs(exec_properties["needs"])
        unmet = dict.fromkeys(line for need in needs for line in missing(need, test))
        lines = [f"  split test: {line}" for line in unmet]
        if lines:
            more = [f"  … and {len(lines) - _MOST_LINES} more"] if len(lines) > _MOST_LINES else []
            raise DataGateError(
                "\n".join(
                    [
                        "the data lacks what the gate is to measure:",
                        *lines[:_MOST_LINES],
                        *more,
                        "a threshold on what test lacks refuses every model: add such images to test, or take the "
                        "threshold out",
                    ]
                )
            )
        uri = artifact_utils.get_single_uri(output_dict["checked"])
        write_text(os.path.join(uri, "needs.json"), exec_properties["needs"])


class ThresholdCheck(base_component.BaseComponent):
    """Stops the pipeline if the test split lacks what a threshold is about; name it in `add_upstream_node`."""

    SPEC_CLASS = ThresholdCheckSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(self, data_statistics: types.BaseChannel, thresholds: Iterable[Threshold]):
        """Constructs the component.

        Args:
          data_statistics: of the data gate.
          thresholds: of the model's gate.
        """
        super().__init__(
            spec=ThresholdCheckSpec(
                data_statistics=data_statistics,
                needs=needs_of(thresholds),
                checked=types.Channel(type=CheckedThresholds),
            )
        )
