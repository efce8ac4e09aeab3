"""Mean IoU and per-class IoU as TFMA metrics, both derived from one confusion matrix per slice."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.metrics import metric_types
from tensorflow_model_analysis.utils import util

from models import metrics

_CONFUSION = "confusion"


class _ConfusionPreprocessor(metric_types.Preprocessor):
    """One example's extracts → its confusion matrix, and nothing else travels into the slices."""

    def __init__(self, model_name: str):
        super().__init__(model_name=model_name)
        self._model_name = model_name

    def process(self, extracts: dict[str, Any]) -> Iterator[dict[str, Any]]:
        # Of a signature with one output TFMA hands over the output, without its name.
        yield {_CONFUSION: util.StandardExtracts(extracts).get_predictions(model_name=self._model_name)}


class _SumConfusion(beam.CombineFn):
    """Sums confusion matrices."""

    def __init__(self, key: metric_types.MetricKey, num_classes: int):
        self._key, self._num_classes = key, num_classes

    def create_accumulator(self) -> np.ndarray:
        return np.zeros((self._num_classes, self._num_classes), np.int64)

    def add_input(self, accumulator: np.ndarray, element: Any) -> np.ndarray:
        return accumulator + element[_CONFUSION]

    def merge_accumulators(self, accumulators: Iterable[np.ndarray]) -> np.ndarray:
        return sum(accumulators, self.create_accumulator())

    def extract_output(self, accumulator: np.ndarray) -> dict[metric_types.MetricKey, np.ndarray]:
        return {self._key: accumulator}


def _confusion_computation(num_classes: int, model_name: str) -> metric_types.MetricComputation:
    """The computation that all metrics of a model share; TFMA runs equal computations once."""
    key = metric_types.MetricKey(name=f"_confusion_matrix_{num_classes}", model_name=model_name)
    return metric_types.MetricComputation(
        keys=[key],
        preprocessors=[_ConfusionPreprocessor(model_name)],
        combiner=_SumConfusion(key, num_classes),
    )


class MeanIoU(metric_types.Metric):
    """Mean over the classes that occur of TP / (TP + FP + FN), ignoring label 255."""

    def __init__(self, num_classes: int, name: str = "mean_iou"):
        super().__init__(_iou_computations, name=name, num_classes=num_classes)


class ClassIoU(metric_types.Metric):
    """TP / (TP + FP + FN) of one class, ignoring label 255; NaN where the class does not occur."""

    def __init__(self, num_classes: int, class_id: int, name: str):
        super().__init__(_iou_computations, name=name, num_classes=num_classes, class_id=class_id)


def _iou_computations(
    name: str, num_classes: int, class_id: int | None = None, model_names: Iterable[str] = ("",), **_: Any
) -> metric_types.MetricComputations:
    computations: list[Any] = []
    for model_name in model_names:
        confusion = _confusion_computation(num_classes, model_name)
        key = metric_types.MetricKey(name=name, model_name=model_name)

        def result(
            values: dict[Any, Any], source: Any = confusion.keys[0], key: Any = key
        ) -> dict[metric_types.MetricKey, float]:
            matrix = values[source]
            return {key: metrics.mean_iou(matrix) if class_id is None else float(metrics.class_iou(matrix)[class_id])}

        computations += [confusion, metric_types.DerivedMetricComputation(keys=[key], result=result)]
    return computations


def iou_metrics_specs(
    class_names: tuple[str, ...],
    min_mean_iou: float | None = None,
    min_class_iou: dict[str, float] | None = None,
    max_regression: float | None = None,
) -> tfma.MetricsSpec:
    """The metrics of the gate and their thresholds.

    Args:
      class_names: names by class id.
      min_mean_iou: least mean IoU, or None for no threshold.
      min_class_iou: least IoU of named classes.
      max_regression: how much lower than the deployed model's the mean IoU may be, or None for any amount.
    """
    mean_threshold = tfma.MetricThreshold()
    if min_mean_iou is not None:
        mean_threshold.value_threshold.lower_bound.value = min_mean_iou
    if max_regression is not None:
        mean_threshold.change_threshold.absolute.value = -max_regression
        mean_threshold.change_threshold.direction = tfma.MetricDirection.HIGHER_IS_BETTER
    count = len(class_names)
    configs = [_metric_config("MeanIoU", {"num_classes": count}, mean_threshold)]
    for class_id, class_name in enumerate(class_names):
        threshold = tfma.MetricThreshold()
        if class_name in (min_class_iou or {}):
            threshold.value_threshold.lower_bound.value = min_class_iou[class_name]  # type: ignore[index]
        settings = {"num_classes": count, "class_id": class_id, "name": class_iou_name(class_name)}
        configs.append(_metric_config("ClassIoU", settings, threshold))
    return tfma.MetricsSpec(metrics=configs)


def _metric_config(class_name: str, settings: dict[str, Any], threshold: tfma.MetricThreshold) -> tfma.MetricConfig:
    config = tfma.MetricConfig(class_name=class_name, module=__name__, config=json.dumps(settings))
    if threshold.ByteSize():
        # Of the whole split alone; TFMA would hold a plain `threshold` against every slice.
        config.per_slice_thresholds.add(slicing_specs=[tfma.SlicingSpec()], threshold=threshold)
    return config


def class_iou_name(class_name: str) -> str:
    """The name of a class's IoU among the metrics of an evaluation."""
    return f"iou_{class_name}"
