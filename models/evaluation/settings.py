"""What can be configured about the evaluation and the gate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import pydantic
from pydantic_core import InitErrorDetails, PydanticCustomError, ValidationError

from data.base.errors import did_you_mean
from data.base.section import Section
from models.evaluation.gate import REGRESSION_KEY, Threshold
from models.evaluation.metric_table import METRICS, Metric

DEFAULT_MIN_MEAN_IOU = 0.5
# By which metric a model of each task is compared with the deployed one.
WATCHED = {"semantic": "mean_iou", "instance": "pq_things", "panoptic": "pq"}
# Keys that earlier versions had, and what to write instead.
_MOVED = {
    "min_mean_iou": "gate.min.mean_iou",
    "min_class_iou": "gate.min.iou, such as gate: {min: {iou: {car: 0.5}}}",
    "min_slice_mean_iou": "gate.slices, such as gate: {slices: {night: {mean_iou: 0.5}}}",
}


def _check_name(name: Any) -> Any:
    if not isinstance(name, str):
        raise ValueError("takes a name; if this is one, put it in quotes")
    return name


def _check_by_class(bounds: Any) -> Any:
    if not isinstance(bounds, dict):
        raise ValueError("takes classes and their least values, such as {car: 0.5}")
    return bounds


Name = Annotated[str, pydantic.BeforeValidator(_check_name), pydantic.Field(min_length=1)]


def _check_bounds(values: Any) -> Any:
    """Bounds by name of their metric; those of a metric by class are by class again."""
    if not isinstance(values, dict):
        raise ValueError("takes metrics and their least values, such as {mean_iou: 0.6, iou: {car: 0.5}}")
    known = [name for name, metric in METRICS.items() if metric.higher_is_better]
    unknown = [str(name) for name in values if name not in METRICS]
    if unknown:
        named = ", ".join(name + did_you_mean(name, known) for name in unknown)
        raise ValueError(f"there is no metric {named}; there are {', '.join(known)}")
    if unbound := [name for name in values if name not in known]:
        raise ValueError(f"{unbound[0]} has no least value, as less of it is better; there are {', '.join(known)}")
    # Made here, not on import, so that the table of metrics is the only place that says what there is.
    bounds = pydantic.create_model("Bounds", __base__=Section, **{name: _bound(METRICS[name]) for name in values})
    return bounds.model_validate(values).model_dump()


def _bound(metric: Metric) -> Any:
    number = Annotated[float, pydantic.Field(ge=metric.least, le=metric.most, allow_inf_nan=False)]
    by_class = Annotated[dict[Name, number], pydantic.BeforeValidator(_check_by_class)]
    return (by_class if metric.by_class else number, ...)


Bounds = Annotated[dict[str, Any], pydantic.BeforeValidator(_check_bounds)]


def join_names(key: Sequence[str]) -> list[str]:
    """Joins the parts of a dotted key below `gate` that are one name, as that of a class with a dot in it is.

    Args:
      key: such as `min`, `iou`, `traffic`, `light`, or `slices`, `st`, `george`, `mean_iou`.

    Returns:
      `min`, `iou`, `traffic.light`, or `slices`, `st.george`, `mean_iou`.
    """
    if len(key) < 2 or key[0] not in ("min", "slices"):
        return list(key)
    section, *rest = key
    slices = []
    if section == "slices":
        # The name of a slice ends where a metric begins.
        end = next((index for index, part in enumerate(rest) if index and part in METRICS), len(rest))
        slices, rest = [".".join(rest[:end])], rest[end:]
    if len(rest) > 2 and rest[0] in METRICS and METRICS[rest[0]].by_class:
        rest = [rest[0], ".".join(rest[1:])]
    return [section, *slices, *rest]


class GateSettings(Section):
    """What a model must reach on the test split to be pushed.

    Attributes:
      min: least values by metric, such as `{mean_iou: 0.6, iou: {car: 0.5}}`; a metric by class takes them by class.
        Mean IoU must be at least 0.5 if nothing else is said.
      slices: least values on the images of a slice (`image/slice`), by its name, such as `{night: {mean_iou: 0.5}}`;
        those of `"*"` hold for each slice.
      regression: how much lower than the deployed model's the mean IoU may be (with `task: instance` the panoptic
        quality of things, with `task: panoptic` that of all classes); or `not_significantly_worse`: as much as the test
        images cannot tell from chance, by the 95 % confidence interval of the difference on each of them.
      against: with which version `regression` compares: `deployed`, or `best`: the best of the last `best_of` versions
        on the same test images, so that small losses do not add up; the deployed one is among them.
      best_of: how many of the newest versions `against: best` looks at.
    """

    min: Bounds = {"mean_iou": DEFAULT_MIN_MEAN_IOU}
    slices: dict[Name, Bounds] = {}
    regression: Annotated[float, pydantic.Field(ge=0, le=1)] | Literal["not_significantly_worse"] = 0.01
    against: Literal["deployed", "best"] = "deployed"
    best_of: Annotated[int, pydantic.Field(ge=1)] = 10

    @pydantic.model_validator(mode="before")
    @classmethod
    def _name_moved_keys(cls, values: Any) -> Any:
        moved = [key for key in _MOVED if isinstance(values, dict) and key in values]
        if moved:
            raise ValidationError.from_exception_data(
                cls.__name__,
                [
                    InitErrorDetails(
                        type=PydanticCustomError("moved", "write {key}", {"key": _MOVED[key]}), loc=(key,), input={}
                    )
                    for key in moved
                ],
            )
        return values

    @pydantic.field_validator("min", mode="after")
    @classmethod
    def _add_mean_iou(cls, values: dict[str, Any]) -> dict[str, Any]:
        return {"mean_iou": DEFAULT_MIN_MEAN_IOU, **values}

    @pydantic.model_validator(mode="after")
    def _check_against(self) -> GateSettings:
        if self.against == "best" and isinstance(self.regression, str):
            raise ValueError(
                "against: best needs a number for regression, such as 0.02; what was measured of versions that are not "
                "deployed cannot say whether a difference is significant"
            )
        return self

    @property
    def compared_versions(self) -> int:
        """How many versions are compared with beside the deployed one."""
        return self.best_of if self.against == "best" else 0

    def thresholds(self, watched: str = "mean_iou") -> list[Threshold]:
        """All thresholds: over all images, by slice, and against the deployed model by the metric that is watched."""
        found = _thresholds(self.min, "gate.min", "")
        for name, bounds in self.slices.items():
            found += _thresholds(bounds, f"gate.slices.{name}", name)
        key = REGRESSION_KEY
        if isinstance(self.regression, str):
            return [*found, Threshold(f"{watched}_change_upper", 0.0, key)]
        return [*found, Threshold(f"{watched}_change", 0.0 - self.regression, key)]


def _thresholds(bounds: dict[str, Any], key: str, slice_name: str) -> list[Threshold]:
    found = []
    for metric, bound in bounds.items():
        if METRICS[metric].by_class:
            found += [
                Threshold(metric, value, f"{key}.{metric}.{class_name}", class_name, slice_name)
                for class_name, value in bound.items()
            ]
        else:
            found.append(Threshold(metric, bound, f"{key}.{metric}", slice=slice_name))
    return found


class EvaluationSettings(Section):
    """How predictions are compared with labels.

    Attributes:
      resolution: at the size that the model sees (`model`), or at each image's own with its mask as it is (`original`).
    """

    resolution: Literal["model", "original"] = "model"
