"""The metrics of `models/evaluation/metrics.py` in TFMA: one pass over the images, for one
model or for two that are compared.

The graph gives a few numbers for each image (`models/evaluation/in_graph.py`); here they are summed, by slice.
"""

from __future__ import annotations

import dataclasses
import json
import zlib
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.metrics import metric_types
from tensorflow_model_analysis.utils import util

from data import contract
from models.evaluation import metrics
from models.serving.signatures import BOUNDARY, CONFUSION, IMAGE_SIZE

_ELEMENT = "element"
SIZES = ("small", "medium", "large")
# Where images of medium size and large ones begin, in pixels.
IMAGE_SIZES = (256**2, 1024**2)
# Where regions of medium size and large ones begin, as shares of their image.
REGION_SIZES = (0.01, 0.1)
# Of a candidate against a baseline; there are also CHANGE_lower and CHANGE_upper.
CHANGE = "mean_iou_change"
EACH_SLICE = "*"
# Of more images than three times as many, so many of the worst, of the best and of all are named: sums must not grow.
NAMED_IMAGES = 1000


class _Preprocessor(metric_types.Preprocessor):
    """One example's extracts → what counts of it, and nothing else travels into the slices."""

    def __init__(self, model_name: str):
        super().__init__(model_name=model_name)
        self._model_name = model_name

    def process(self, extracts: dict[str, Any]) -> Iterator[dict[str, Any]]:
        standard = util.StandardExtracts(extracts)
        features = standard.get_features()
        image = _first(features, contract.IMAGE)
        name = contract.example_name(_first(features, contract.SOURCE_ID), image)
        yield {_ELEMENT: (name, zlib.crc32(image), standard.get_predictions(model_name=self._model_name))}


def _first(features: dict[str, Any], name: str) -> bytes:
    values = np.ravel(features.get(name, ()))
    return values[0] if values.size and values[0] is not None else b""


@dataclasses.dataclass
class _Sums:
    """Of one slice; `totals` are those of `metrics.class_totals`.

    Attributes:
      confusion: [C, C].
      boundary: [3, C] totals.
      by_image_size: [3, 3, C] totals of small, medium and large images.
      by_region_size: [3, 3, C] totals of each class over the images in which its region is small, medium or large.
      replicates: [REPLICATES, 3, C] totals of the bootstrap.
      count: of images.
      images: mean IoU, name and seed; of each one, or of those that `_named` is among.
    """

    confusion: np.ndarray
    boundary: np.ndarray
    by_image_size: np.ndarray
    by_region_size: np.ndarray
    replicates: np.ndarray
    count: int
    images: list[tuple[float, str, int]]

    @classmethod
    def zeros(cls, num_classes: int) -> _Sums:
        def zeros(*shape: int) -> np.ndarray:
            return np.zeros([*shape, num_classes], np.int64)

        return cls(zeros(num_classes), zeros(3), zeros(3, 3), zeros(3, 3), zeros(metrics.REPLICATES, 3), 0, [])

    def add(self, name: str, seed: int, confusion: np.ndarray, boundary: np.ndarray, size: np.ndarray) -> None:
        """Counts an image in."""
        totals = metrics.class_totals(confusion)
        labelled = totals[1]
        self.confusion += confusion
        self.boundary += boundary
        self.by_image_size[np.searchsorted(IMAGE_SIZES, np.prod(size), side="right")] += totals
        shares = np.searchsorted(REGION_SIZES, labelled / max(1, labelled.sum()), side="right")
        for class_id in np.flatnonzero(labelled):
            self.by_region_size[shares[class_id], :, class_id] += totals[:, class_id]
        self.replicates += metrics.bootstrap_weights(seed)[:, np.newaxis, np.newaxis] * totals
        self.count += 1
        self.images.append((float(metrics.mean_iou(totals)), name, seed))
        self._forget()

    def merge(self, other: _Sums) -> None:
        """Counts in what another one counted."""
        for field in dataclasses.fields(self):
            mine = getattr(self, field.name)
            mine += getattr(other, field.name)
            setattr(self, field.name, mine)
        self._forget()

    def named(self) -> list[tuple[float, str, int]]:
        """The images to name; they do not depend on who counted what."""
        return self.images if self.count <= 3 * NAMED_IMAGES else _named(self.images)

    def _forget(self) -> None:
        if len(self.images) > 6 * NAMED_IMAGES:  # Not at each image: it sorts.
            self.images = _named(self.images)


def _named(images: list[tuple[float, str, int]]) -> list[tuple[float, str, int]]:
    """The worst, the best, and as many that their seeds, which are as good as random, choose."""
    images = list(set(images))  # The same image twice counts twice, but is named once.
    numbers = sorted(image for image in images if not np.isnan(image[0]))
    by_seed = sorted(images, key=lambda image: (image[2], image[1]))
    return list({*numbers[:NAMED_IMAGES], *numbers[-NAMED_IMAGES:], *by_seed[:NAMED_IMAGES]})


class _Sum(beam.CombineFn):
    """Sums what the graph measured."""

    def __init__(self, key: metric_types.MetricKey, num_classes: int):
        self._key, self._num_classes = key, num_classes

    def create_accumulator(self) -> _Sums:
        return _Sums.zeros(self._num_classes)

    def add_input(self, accumulator: _Sums, element: Any) -> _Sums:
        name, seed, measured = element[_ELEMENT]
        accumulator.add(name, seed, measured[CONFUSION], measured[BOUNDARY], measured[IMAGE_SIZE])
        return accumulator

    def merge_accumulators(self, accumulators: Iterable[_Sums]) -> _Sums:
        merged = self.create_accumulator()
        for accumulator in accumulators:
            merged.merge(accumulator)
        return merged

    def extract_output(self, accumulator: _Sums) -> dict[metric_types.MetricKey, _Sums]:
        return {self._key: accumulator}


class SegmentationMetrics(metric_types.Metric):
    """All metrics of a segmentation model, and of its change against a baseline, from one sum per slice.

    `NAME` stands for each class: `mean_iou` with `mean_iou_lower` and `mean_iou_upper`, its 95 % confidence interval
    over images; `iou_NAME`, `dice_NAME`, `boundary_iou_NAME` and their means `mean_dice` and `mean_boundary_iou`;
    `pixel_accuracy`; `frequency_weighted_iou`; `mean_iou_small_images` … `mean_iou_large_regions`; `images`, their
    number. Arrays: `confusion_matrix` [C, C]; `image_names` and `image_mean_iou`, [images], or, of more than 3,000
    images, those of the 1,000 worst, the 1,000 best and 1,000 others.

    With a baseline: `mean_iou_change`, candidate less baseline on the same images, with its interval
    `mean_iou_change_lower` and `mean_iou_change_upper`.
    """

    def __init__(self, class_names: list[str], name: str = "segmentation"):
        super().__init__(_computations, name=name, class_names=class_names)


def _computations(
    name: str, class_names: list[str], model_names: Iterable[str] = ("",), **_: Any
) -> metric_types.MetricComputations:
    computations: list[Any] = []
    sources = {}
    for model_name in model_names:
        source = metric_types.MetricKey(name=f"_{name}", model_name=model_name)
        sources[model_name] = source
        computations.append(
            metric_types.MetricComputation(
                keys=[source], preprocessors=[_Preprocessor(model_name)], combiner=_Sum(source, len(class_names))
            )
        )

    def result(values: dict[Any, Any]) -> dict[metric_types.MetricKey, Any]:
        found = {
            _key(key, model_name): value
            for model_name, source in sources.items()
            for key, value in _values(values[source], class_names).items()
        }
        if {tfma.CANDIDATE_KEY, tfma.BASELINE_KEY} <= sources.keys():
            sums = (values[sources[model_name]] for model_name in (tfma.CANDIDATE_KEY, tfma.BASELINE_KEY))
            for key, value in _changes(*sums).items():
                found[_key(key, tfma.CANDIDATE_KEY)] = value
        return found

    # TFMA asks for the keys to tell computations apart; this one finds more than it names.
    keys = [_key("mean_iou", model_name) for model_name in sources]
    return [*computations, metric_types.DerivedMetricComputation(keys=keys, result=result)]


def _key(name: str, model_name: str) -> metric_types.MetricKey:
    # Thresholds that are given by name are of keys that do not say whether examples have weights.
    return metric_types.MetricKey(name=name, model_name=model_name, example_weighted=None)


def _values(sums: _Sums, class_names: list[str]) -> dict[str, Any]:
    totals = metrics.class_totals(sums.confusion)
    lower, upper = metrics.confidence_interval(metrics.mean_iou(sums.replicates))
    of_classes = {
        "iou": metrics.class_iou(totals),
        "dice": metrics.class_dice(totals),
        "boundary_iou": metrics.class_iou(sums.boundary),
    }
    by_size = {"images": sums.by_image_size, "regions": sums.by_region_size}
    images = sorted((name, value) for value, name, _ in sums.named())
    return {
        "mean_iou": float(metrics.mean_iou(totals)),
        "mean_iou_lower": lower,
        "mean_iou_upper": upper,
        **{
            f"{metric}_{class_name}": float(value)
            for metric, values in of_classes.items()
            for class_name, value in zip(class_names, values, strict=True)
        },
        "mean_dice": float(metrics.mean_over_classes(of_classes["dice"])),
        "mean_boundary_iou": float(metrics.mean_over_classes(of_classes["boundary_iou"])),
        "pixel_accuracy": float(metrics.pixel_accuracy(totals)),
        "frequency_weighted_iou": float(metrics.frequency_weighted_iou(totals)),
        **{
            f"mean_iou_{size}_{what}": float(metrics.mean_iou(of_size))
            for what, of_sizes in by_size.items()
            for size, of_size in zip(SIZES, of_sizes, strict=True)
        },
        "images": float(sums.count),
        "confusion_matrix": sums.confusion,
        "image_names": np.array([name for name, _ in images]),
        "image_mean_iou": np.array([value for _, value in images]),
    }


def _changes(candidate: _Sums, baseline: _Sums) -> dict[str, float]:
    change = metrics.mean_iou(candidate.replicates) - metrics.mean_iou(baseline.replicates)
    lower, upper = metrics.confidence_interval(change)
    after, before = (metrics.mean_iou(metrics.class_totals(sums.confusion)) for sums in (candidate, baseline))
    return {
        CHANGE: float(after - before),
        f"{CHANGE}_lower": lower,
        f"{CHANGE}_upper": upper,
    }


@dataclasses.dataclass(frozen=True)
class Threshold:
    """The least value of a metric that the gate takes.

    Attributes:
      metric: its name.
      bound: the least value.
      slice: the images that count: all by default, those of one `image/slice`, or with `*` each slice by itself.
    """

    metric: str
    bound: float
    slice: str = ""


def metrics_spec(class_names: tuple[str, ...], thresholds: Iterable[Threshold] = ()) -> tfma.MetricsSpec:
    """All metrics, with the gate's thresholds.

    Args:
      class_names: names by class id.
      thresholds: that the model must reach.
    """
    spec = tfma.MetricsSpec(
        metrics=[
            tfma.MetricConfig(
                class_name=SegmentationMetrics.__name__,
                module=__name__,
                config=json.dumps({"class_names": list(class_names)}),
            )
        ]
    )
    for threshold in thresholds:
        item = spec.per_slice_thresholds[threshold.metric].thresholds.add()
        item.slicing_specs.add().CopyFrom(_slicing_spec(threshold.slice))
        item.threshold.value_threshold.lower_bound.value = threshold.bound
    return spec


def _slicing_spec(name: str) -> tfma.SlicingSpec:
    if not name:
        return tfma.SlicingSpec()
    if name == EACH_SLICE:
        return tfma.SlicingSpec(feature_keys=[contract.SLICE])
    return tfma.SlicingSpec(feature_values={contract.SLICE: name})


def thresholds_of(eval_config: tfma.EvalConfig) -> list[Threshold]:
    """The thresholds that `metrics_spec` put into an evaluation's configuration."""
    return [
        Threshold(metric, item.threshold.value_threshold.lower_bound.value, _slice_name(item.slicing_specs[0]))
        for spec in eval_config.metrics_specs
        for metric, items in sorted(spec.per_slice_thresholds.items())
        for item in items.thresholds
    ]


def _slice_name(spec: tfma.SlicingSpec) -> str:
    return EACH_SLICE if spec.feature_keys else spec.feature_values.get(contract.SLICE, "")


def with_min_mean_iou(eval_config: tfma.EvalConfig, bound: float) -> tfma.EvalConfig:
    """The same with another least mean IoU over all images."""
    result = tfma.EvalConfig()
    result.CopyFrom(eval_config)
    for spec in result.metrics_specs:
        for item in spec.per_slice_thresholds["mean_iou"].thresholds:
            if not _slice_name(item.slicing_specs[0]):
                item.threshold.value_threshold.lower_bound.value = bound
    return result


def without_comparison(eval_config: tfma.EvalConfig) -> tfma.EvalConfig:
    """The same for a candidate that has nothing to be compared with: without thresholds on the change."""
    result = tfma.EvalConfig()
    result.CopyFrom(eval_config)
    for spec in result.metrics_specs:
        for metric in [name for name in spec.per_slice_thresholds if name.startswith(CHANGE)]:
            del spec.per_slice_thresholds[metric]
    return result


def without_thresholds(eval_config: tfma.EvalConfig) -> tfma.EvalConfig:
    """The same for measuring alone."""
    result = tfma.EvalConfig()
    result.CopyFrom(eval_config)
    for spec in result.metrics_specs:
        spec.ClearField("per_slice_thresholds")
        spec.ClearField("thresholds")
    return result
