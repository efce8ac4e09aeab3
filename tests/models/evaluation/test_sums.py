"""What is summed over images, and over groups of them such as the slices of a volume."""

import numpy as np

from models.evaluation import metrics
from models.evaluation.metric_table import METRICS, measure
from models.evaluation.sums import Sums

NAMES = ("background", "organ", "lesion")


def test_measures_of_groups_are_those_of_all_their_pixels_whoever_counted_them():
    generator = np.random.default_rng(0)
    labels, predictions = generator.integers(0, 2, [2, 4, 3, 8, 8])  # Groups, images, rows, columns.
    labels[2], predictions[1, 2] = 2, 2
    predictions[0][labels[0] == 1] = 1
    images = [
        (f"group {group}", f"image {group} {image}", labels[group, image], predictions[group, image])
        for group in range(4)
        for image in range(3)
    ]
    workers = [Sums.zeros(3) for _ in range(5)]
    for index, (group, name, of_labels, of_predictions) in enumerate(images):
        confusion = metrics.confusion_matrix(of_labels, of_predictions, 3)
        workers[index % 5].add(name, index, confusion, np.zeros([3, 3], np.int64), np.array([8, 8]), group)
    total = Sums.zeros(3)
    for worker in workers:
        total.merge(worker)
    measured = measure(NAMES, total)
    totals = [
        metrics.class_totals(metrics.confusion_matrix(*both, 3)) for both in zip(labels, predictions, strict=True)
    ]
    for name, of_class in (("iou", metrics.class_iou), ("dice", metrics.class_dice)):
        expected = np.nanmean([of_class(of_group) for of_group in totals], axis=0)
        np.testing.assert_allclose([measured[f"group_{name}_{one}"] for one in NAMES], expected)
        np.testing.assert_allclose(measured[f"mean_group_{name}"], expected.mean())
    assert measured["groups"] == 4


def test_images_without_groups_have_no_measures_of_groups():
    sums = Sums.zeros(3)
    sums.add("image", 0, np.eye(3, dtype=np.int64), np.zeros([3, 3], np.int64), np.array([1, 3]))
    assert not [name for name in measure(NAMES, sums) if METRICS.get(name, METRICS["iou"]).of_groups]
    assert not [name for name in measure(NAMES, sums) if "group" in name]
