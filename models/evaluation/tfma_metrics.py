"""The table of metrics in TFMA: one pass over the images, for one model or for two that are compared.

The graph gives a few numbers for each image (`models/evaluation/in_graph.py`); here they are summed, by slice.
"""

from __future__ import annotations

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
from models.evaluation.metric_table import measure, replicates
from models.evaluation.sums import Sums
from models.serving.signatures import BOUNDARY, CONFUSION, IMAGE_SIZE, OBJECT_SCORES, OVERLAPS

_ELEMENT = "element"


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
        group = _first(features, contract.GROUP).decode(errors="replace")
        yield {_ELEMENT: (name, zlib.crc32(image), group, standard.get_predictions(model_name=self._model_name))}


def _first(features: dict[str, Any], name: str) -> bytes:
    values = np.ravel(features.get(name, ()))
    return values[0] if values.size and values[0] is not None else b""


class _Sum(beam.CombineFn):
    """Sums what the graph measured."""

    def __init__(self, key: metric_types.MetricKey, num_classes: int):
        self._key, self._num_classes = key, num_classes

    def create_accumulator(self) -> Sums:
        return Sums.zeros(self._num_classes)

    def add_input(self, accumulator: Sums, element: Any) -> Sums:
        name, seed, group, measured = element[_ELEMENT]
        accumulator.add(name, seed, measured[CONFUSION], measured[BOUNDARY], measured[IMAGE_SIZE], group)
        if OVERLAPS in measured:
            accumulator.add_objects(name, seed, measured[OVERLAPS], measured[OBJECT_SCORES])
        return accumulator

    def merge_accumulators(self, accumulators: Iterable[Sums]) -> Sums:
        merged = self.create_accumulator()
        for accumulator in accumulators:
            merged.merge(accumulator)
        return merged

    def extract_output(self, accumulator: Sums) -> dict[metric_types.MetricKey, Sums]:
        return {self._key: accumulator}


class SegmentationMetrics(metric_types.Metric):
    """All rows of `models/evaluation/metric_table.py`, and arrays, from one sum per slice.

    Changes are measured for the candidate if there is a baseline. Arrays: `confusion_matrix` [C, C]; `image_names` and
    `image_mean_iou`, [images], or, with more than 10,000 images, those of the 3,000 worst, the 3,000 best and 3,000
    others; `mean_iou_replicates` of the bootstrap. With objects also those of PQ (`metric_table.replicates`),
    `object_counts` [images, 2], labeled and predicted ones of at most 3,000 images, and `objects_by_area` [4, 32] of
    `ObjectSums`. With groups also `group_names` [groups] and `group_totals` [groups, 3, C], of each group's pixels.
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
        found: dict[metric_types.MetricKey, Any] = {}
        for model_name, source in sources.items():
            is_compared = model_name == tfma.CANDIDATE_KEY and tfma.BASELINE_KEY in sources
            deployed = values[sources[tfma.BASELINE_KEY]] if is_compared else None
            measured = {**measure(class_names, values[source], deployed), **_arrays(values[source])}
            found |= {_key(key, model_name): value for key, value in measured.items()}
        return found

    # TFMA asks for the keys to tell computations apart; this one finds more than it names.
    keys = [_key("mean_iou", model_name) for model_name in sources]
    return [*computations, metric_types.DerivedMetricComputation(keys=keys, result=result)]


def _key(name: str, model_name: str) -> metric_types.MetricKey:
    return metric_types.MetricKey(name=name, model_name=model_name, example_weighted=None)


def _arrays(sums: Sums) -> dict[str, np.ndarray]:
    images = sorted((name, value) for value, name, _ in sums.named())
    objects = sums.objects
    of_objects = (
        {
            "object_counts": np.array([(image.labeled, image.predicted) for image in objects.kept_images()]).reshape(
                -1, 2
            ),
            "objects_by_area": objects.by_area,
        }
        if objects
        else {}
    )
    of_groups = {"group_names": np.array(sorted(sums.groups)), "group_totals": sums.group_totals} if sums.groups else {}
    return {
        **of_objects,
        **of_groups,
        **replicates(sums),
        "confusion_matrix": sums.confusion,
        "image_names": np.array([name for name, _ in images]),
        "image_mean_iou": np.array([value for _, value in images]),
    }


def evaluation_config(class_names: tuple[str, ...], signature_name: str) -> tfma.EvalConfig:
    """What TFMA measures: every metric of candidate and baseline, over all images and by slice; it decides nothing.

    Args:
      class_names: names by class id.
      signature_name: the signature of both models that takes examples.
    """
    return tfma.EvalConfig(
        model_specs=[
            tfma.ModelSpec(
                name=name,
                signature_name=signature_name,
                model_type=tfma.TF_GENERIC,
                is_baseline=name == tfma.BASELINE_KEY,
            )
            for name in (tfma.CANDIDATE_KEY, tfma.BASELINE_KEY)
        ],
        metrics_specs=[
            tfma.MetricsSpec(
                metrics=[
                    tfma.MetricConfig(
                        class_name=SegmentationMetrics.__name__,
                        module=__name__,
                        config=json.dumps({"class_names": list(class_names)}),
                    )
                ]
            )
        ],
        slicing_specs=[tfma.SlicingSpec(), tfma.SlicingSpec(feature_keys=[contract.SLICE])],
    )
