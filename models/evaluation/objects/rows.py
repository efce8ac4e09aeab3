"""What is measured of objects, what is it called, and how is it computed? Rows of the table of metrics."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from models.evaluation import metrics
from models.evaluation.metric import Metric
from models.evaluation.objects import panoptic_quality

if TYPE_CHECKING:
    from models.evaluation.objects.object_sums import ObjectSums
    from models.evaluation.sums import Sums

_QUALITIES = {
    "pq": ("panoptic quality (PQ)", "sum of the IoUs of matched segments / (TP + FP / 2 + FN / 2)"),
    "sq": ("segmentation quality (SQ)", "mean IoU of matched segments"),
    "rq": ("recognition quality (RQ)", "TP / (TP + FP / 2 + FN / 2)"),
}
_COMPUTE = {
    "pq": panoptic_quality.panoptic_quality,
    "sq": panoptic_quality.segmentation_quality,
    "rq": panoptic_quality.recognition_quality,
}
# Of what the mean over classes is taken.
_PARTS = {"": "all classes", "_things": "classes that have objects", "_stuff": "classes without objects"}


def _objects(sums: Sums) -> ObjectSums:
    assert sums.objects is not None
    return sums.objects


def _chosen(part: str, sums: Sums) -> np.ndarray:
    is_thing = _objects(sums).is_thing
    return {"": np.ones_like(is_thing), "_things": is_thing, "_stuff": ~is_thing}[part]


def _by_class(quality: str) -> Callable[[Sums], np.ndarray]:
    return lambda sums: _COMPUTE[quality](_objects(sums).totals)


def _mean(quality: str, part: str) -> Callable[[Sums], float]:
    return lambda sums: float(metrics.mean_over_classes(_COMPUTE[quality](_objects(sums).totals)[_chosen(part, sums)]))


def object_replicates(part: str, sums: Sums) -> np.ndarray:
    """[REPLICATES] of PQ over all classes (""), `_things` or `_stuff`."""
    of_classes = panoptic_quality.panoptic_quality(_objects(sums).replicates)
    return metrics.mean_over_classes(of_classes[:, _chosen(part, sums)])


def _interval_end(part: str, end: int) -> Callable[[Sums], float]:
    return lambda sums: metrics.confidence_interval(object_replicates(part, sums))[end]


def _change(part: str) -> Callable[[Sums, Sums], float]:
    return lambda candidate, deployed: _mean("pq", part)(candidate) - _mean("pq", part)(deployed)


def _change_end(part: str, end: int) -> Callable[[Sums, Sums], float]:
    def compute(candidate: Sums, deployed: Sums) -> float:
        # Both draw the same images, so their differences are paired.
        return metrics.confidence_interval(object_replicates(part, candidate) - object_replicates(part, deployed))[end]

    return compute


def _precision(levels: slice) -> Callable[[Sums], np.ndarray]:
    return lambda sums: _objects(sums).average_precision()[:, levels].mean(axis=1)


def _mean_precision(levels: slice) -> Callable[[Sums], float]:
    return lambda sums: float(metrics.mean_over_classes(_precision(levels)(sums)))


def _matched_share(sums: Sums) -> float:
    objects = _objects(sums)
    return float(panoptic_quality.matched_share(objects.totals[:, objects.is_thing]))


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else np.nan


_row = functools.partial(Metric, of_objects=True)
_of_things = functools.partial(_row, of_things=True)
_ENDS = (("lower", "over images: a Poisson bootstrap of 1,000 replicates"), ("upper", "likewise"))
OBJECT_ROWS = (
    *(
        _row(
            f"{name}{part}",
            f"{name.upper()} of {part[1:]}" if part else words,
            f"likewise, over {classes}" if part else f"{definition}, mean over {classes}",
            _mean(name, part),
            of_things=part == "_things",
            is_headline=name == "pq" or not part,
        )
        for name, (words, definition) in _QUALITIES.items()
        for part, classes in _PARTS.items()
    ),
    *(
        _row(f"class_{name}", name.upper(), "of one class", _by_class(name), by_class=True, is_headline=name == "pq")
        for name in _QUALITIES
    ),
    *(
        _row(
            f"pq{part}_{end}",
            f"{end} end of the 95 % interval of PQ{words}",
            how,
            _interval_end(part, index),
            of_things=part == "_things",
        )
        for part, words in (("", ""), ("_things", " of things"))
        for index, (end, how) in enumerate(_ENDS)
    ),
    _of_things(
        "ap",
        "average precision (AP)",
        "COCO's, mean over IoUs from 0.5 to 0.95 and over classes, of any number of objects in an image",
        _mean_precision(slice(None)),
        is_headline=True,
    ),
    _of_things("ap50", "AP at an IoU of 0.5", "mean over classes", _mean_precision(slice(0, 1)), is_headline=True),
    _of_things("ap75", "AP at an IoU of 0.75", "mean over classes", _mean_precision(slice(5, 6)), is_headline=True),
    _of_things("class_ap", "AP", "of one class", _precision(slice(None)), by_class=True, is_headline=True),
    _of_things(
        "matched_share",
        "share of objects matched",
        "TP / (TP + FP + FN) at an IoU of 0.5, over all objects",
        _matched_share,
        is_headline=True,
    ),
    _of_things(
        "matched_share_by_image",
        "share of objects matched, by image",
        "likewise, mean over images with objects; the Data Science Bowl of 2018 calls it precision",
        lambda sums: _ratio(*_objects(sums).shares),
    ),
    _of_things(
        "count_agreement",
        "agreement of counts",
        "sum over images and classes of the smaller of the numbers of labeled and of predicted objects, as a share of "
        "the sum of the larger",
        lambda sums: _ratio(*_objects(sums).counts[:2]),
        is_headline=True,
    ),
    _row(
        "counting_error",
        "counting error",
        "mean over images of the difference between predicted and labeled objects, without its sign and summed over "
        "classes; no threshold can be on it, as less is better",
        lambda sums: _ratio(_objects(sums).counts[2], sums.count),
        most=np.inf,
        higher_is_better=False,
    ),
    *(
        row
        for part, words in (("", "PQ"), ("_things", "PQ of things"))
        for row in (
            _row(
                f"pq{part}_change",
                f"change of {words}",
                "candidate less deployed model, on the same images",
                _change(part),
                change_of=f"pq{part}",
                of_things=part == "_things",
            ),
            *(
                _row(
                    f"pq{part}_change_{end}",
                    f"{end} end of the 95 % interval of the change of {words}",
                    "paired by image" if end == "lower" else "likewise",
                    _change_end(part, index),
                    change_of=f"pq{part}",
                    of_things=part == "_things",
                )
                for index, (end, _) in enumerate(_ENDS)
            ),
        )
    ),
)
