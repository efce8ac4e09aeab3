"""What must a model reach, and did it? Thresholds, checks and the verdict, each worded here and nowhere else.

TFMA measures; `decide` alone compares with thresholds. The blessing, the records of runs, exit codes, the report and
Kubeflow's last step all follow from the `Verdict`. Nothing here imports TensorFlow.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from typing import Any

from models.evaluation.metric_table import METRICS

# Custom property of the ModelEvaluation artifact: a `Verdict` as JSON.
VERDICT_PROPERTY = "verdict"
EACH_SLICE = "*"
REGRESSION_KEY = "gate.regression"
MIN_MEAN_IOU_KEY = "gate.min.mean_iou"


@dataclasses.dataclass(frozen=True)
class Threshold:
    """The least value of a metric that lets a model pass.

    Attributes:
      metric: its name in `METRICS`.
      bound: the least value.
      key: where the configuration says so.
      class_name: the class, of a metric by class.
      slice: the `image/slice` whose images count; "" for all images, `*` for each slice by itself.
    """

    metric: str
    bound: float
    key: str
    class_name: str = ""
    slice: str = ""


@dataclasses.dataclass(frozen=True)
class Check:
    """A threshold, held against what was measured.

    Attributes:
      metric: its name in `METRICS`.
      slice: the `image/slice`, "" for all test images, `*` if there is a threshold for each slice, and no slice.
      value: what was measured; None if there was nothing to measure.
      bound: the least value.
      passed: whether the model reached it.
      class_name: the class, of a metric by class.
      key: where the configuration has the bound.
      deployed: the deployed model's value (of a change: of the metric that changed); None if there is none.
      missing: why there was nothing to measure.
      version: of a change against another version than the deployed one: that version, whose value is in `deployed`.
    """

    metric: str
    slice: str
    value: float | None
    bound: float
    passed: bool
    # With defaults, since the records of runs by earlier versions lack them.
    class_name: str = ""
    key: str = "gate"
    deployed: float | None = None
    missing: str = ""
    version: int = 0

    @property
    def label(self) -> str:
        """What was measured, in words."""
        if self.metric not in METRICS:  # In an old record, or one of a metric that is gone.
            return self.metric + (f" on {self.slice}" if self.slice else "")
        of_slice = "each slice" if self.slice == EACH_SLICE else self.slice
        label = METRICS[self.metric].label(self.class_name, of_slice)
        return f"{label} against the best version ({self.version})" if self.version else label

    @property
    def reason(self) -> str:
        """Why the model did not pass."""
        if self.value is None:
            why = f": {self.missing}" if self.missing else ""
            return f"{self.label} could not be measured{why} ({self.key})"
        metric = METRICS.get(self.metric)
        digits = ".10g" if metric and metric.is_count else ".4f"
        gap = f"is {self.value:{digits}}, {self.bound - self.value:{digits}} below {self.bound:.10g}"
        deployed = ""
        if metric and metric.change_of and self.deployed is not None:
            whose = "that version's" if self.version else "the deployed model's"
            deployed = f"; {whose} {METRICS[metric.change_of].words} is {self.deployed:.4f}"
        return f"{self.label} {gap} ({self.key}){deployed}"


@dataclasses.dataclass(frozen=True)
class NewestSpan:
    """What was measured on the test split of the newest span, which decides nothing.

    Attributes:
      span: its number.
      metrics: by name; None for what could not be measured.
      baseline_metrics: the deployed model's, or None if there is none.
    """

    span: int
    metrics: dict[str, float | None]
    baseline_metrics: dict[str, float | None] | None


@dataclasses.dataclass(frozen=True)
class Measured:
    """What was measured of a version when it was pushed, which is kept with it.

    Attributes:
      version: its number.
      test_digest: of the test examples, "" if nothing is known.
      resolution: as in `Verdict`.
      metrics: those by which models are compared, by name; None for what could not be measured.
    """

    version: int
    test_digest: str = ""
    resolution: str = ""
    metrics: dict[str, float | None] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Best:
    """The best of several versions on the same test examples.

    Attributes:
      version: its number, 0 if none was measured on them.
      value: of the metric by which models of the task are compared; None if there is none.
      left_out: versions that were measured on other examples, at another size, or by a release that kept nothing.
    """

    version: int
    value: float | None
    left_out: list[int]


def best_of(versions: Iterable[Measured], metric: str, test_digest: str, resolution: str) -> Best:
    """The best of these versions among those that were measured on the same examples at the same size."""
    values, left_out = {}, []
    for one in versions:
        value = one.metrics.get(metric)
        if value is None or (one.test_digest, one.resolution) != (test_digest, resolution):
            left_out.append(one.version)
        else:
            values[one.version] = value
    # Of equal ones, the newest.
    version = max(values, key=lambda number: (values[number], number), default=0)
    return Best(version, values.get(version), sorted(left_out))


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What an evaluation measured over the whole test split, and what the gate decided.

    Attributes:
      metrics: by name in TFMA's results; None for what could not be measured.
      baseline_metrics: the deployed model's, or None if there is none.
      checks: the thresholds, each held against what was measured.
      baseline_version: the deployed version, 0 if there is none.
      resolution: `model` or `original`: the size at which predictions and labels were compared.
      newest_span: of the newest span; None if the test split is the newest span's.
      test_digest: of the test examples, in whatever order and files; "" if an earlier release measured.
      best: of the last versions; None if the gate looks at the deployed one alone.
    """

    metrics: dict[str, float | None]
    baseline_metrics: dict[str, float | None] | None
    checks: list[Check]
    baseline_version: int = 0
    resolution: str = ""
    newest_span: NewestSpan | None = None
    test_digest: str = ""
    best: Best | None = None

    @property
    def passed(self) -> bool:
        """Whether the model reached every threshold."""
        return all(check.passed for check in self.checks)

    @property
    def reasons(self) -> list[str]:
        """Why the gate refused the model; none if it passed."""
        return [check.reason for check in self.checks if not check.passed]

    def to_json(self) -> str:
        """For a property of the evaluation's artifact."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Verdict:
        """Reads what `to_json` wrote."""
        values = json.loads(text)
        newest, best = values.get("newest_span"), values.get("best")
        return cls(
            **{
                **values,
                "checks": [Check(**check) for check in values["checks"]],
                "newest_span": NewestSpan(**newest) if newest else None,
                "best": Best(**best) if best else None,
            }
        )


def decide(
    thresholds: Iterable[Threshold],
    measured: Mapping[str, Mapping[str, Any]],
    deployed: Mapping[str, Mapping[str, Any]] | None,
    best: Best | None = None,
) -> list[Check]:
    """Holds thresholds against what was measured.

    A threshold that nothing could be measured for is not passed. Those on changes are left out if there is no deployed
    model to compare with.

    Args:
      thresholds: of the gate.
      measured: values by slice ("" for all images) and name in TFMA's results; None for not a number.
      deployed: the deployed model's, or None if there is none.
      best: of the last versions, which takes the place of the deployed one for `gate.regression` where it is better.
    """
    checks = []
    for threshold in thresholds:
        metric = METRICS[threshold.metric]
        if threshold.key == REGRESSION_KEY and (check := _against_best(threshold, measured, deployed, best)):
            checks.append(check)
            continue
        if metric.change_of and deployed is None:
            continue
        before = METRICS[metric.change_of] if metric.change_of else metric
        slices = [threshold.slice]
        if threshold.slice == EACH_SLICE:
            slices = sorted(filter(None, measured)) or [EACH_SLICE]
        for name in slices:
            missing = _missing(threshold, name, measured)
            value = None if missing else measured[name][metric.key(threshold.class_name)]
            checks.append(
                Check(
                    metric=threshold.metric,
                    slice=name,
                    value=value,
                    bound=threshold.bound,
                    passed=value is not None and value >= threshold.bound,
                    class_name=threshold.class_name,
                    key=threshold.key,
                    deployed=(deployed or {}).get(name, {}).get(before.key(threshold.class_name)),
                    missing=missing,
                )
            )
    return checks


def _against_best(
    threshold: Threshold,
    measured: Mapping[str, Mapping[str, Any]],
    deployed: Mapping[str, Mapping[str, Any]] | None,
    best: Best | None,
) -> Check | None:
    """The check of `gate.regression` against the best version; None if that is not better than the deployed one."""
    of_what = METRICS[threshold.metric].change_of
    key = METRICS[of_what].key() if of_what else ""
    now = (deployed or {}).get("", {}).get(key)
    if best is None or best.value is None or (now is not None and now >= best.value):
        return None
    value = measured[""].get(key)
    change = None if value is None else value - best.value
    return Check(
        metric=threshold.metric,
        slice="",
        value=change,
        bound=threshold.bound,
        passed=change is not None and change >= threshold.bound,
        key=threshold.key,
        deployed=best.value,
        missing="" if value is not None else "these images contain nothing to measure it on",
        version=best.version,
    )


def with_min_mean_iou(thresholds: Iterable[Threshold], bound: float) -> list[Threshold]:
    """The same thresholds with another least mean IoU over all images."""
    return [
        dataclasses.replace(threshold, bound=bound) if threshold.key == MIN_MEAN_IOU_KEY else threshold
        for threshold in thresholds
    ]


def why_not_pushed(verdict: Verdict, serving_reason: str, pusher_reason: str) -> list[str]:
    """Every reason why a model was not pushed.

    Args:
      verdict: the gate's.
      serving_reason: why the model does not serve, or "".
      pusher_reason: why Pusher declined a model that passed, or "".
    """
    reasons = [*verdict.reasons, *filter(None, (serving_reason, pusher_reason))]
    return reasons or ["Pusher did not push it, and left no reason; see its log"]


def _missing(threshold: Threshold, slice_name: str, measured: Mapping[str, Mapping[str, Any]]) -> str:
    """Why nothing can be measured for a threshold, or "" if something can."""
    if slice_name not in measured:
        return "no test image has a slice" if slice_name == EACH_SLICE else f"no test image is of slice {slice_name}"
    metric, values = METRICS[threshold.metric], measured[slice_name]
    # A class that is not in the labels may still be predicted: its IoU is then 0, which says nothing about the class.
    if metric.by_class and not values.get(METRICS["pixels"].key(threshold.class_name)):
        return f"no pixel of these images is labeled {threshold.class_name}"
    is_measured = values.get(metric.key(threshold.class_name)) is not None
    return "" if is_measured else "these images contain nothing to measure it on"
