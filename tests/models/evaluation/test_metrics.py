import keras
import numpy as np
import pytest
import scipy.ndimage
import scipy.stats
import sklearn.metrics

from models.evaluation import metrics
from models.training.trainer import mean_iou_metric


def test_iou_by_hand():
    labels = np.array([[0, 0, 1, 255], [1, 1, 2, 255]])
    predictions = np.array([[0, 1, 1, 0], [1, 2, 2, 1]])
    confusion = metrics.confusion_matrix(labels, predictions, 4)
    np.testing.assert_array_equal(confusion, [[1, 1, 0, 0], [0, 2, 1, 0], [0, 0, 1, 0], [0, 0, 0, 0]])
    # TP / (TP + FP + FN); class 3 occurs nowhere and does not count in the mean.
    totals = metrics.class_totals(confusion)
    np.testing.assert_array_equal(totals, [[1, 2, 1, 0], [2, 3, 1, 0], [1, 3, 2, 0]])
    np.testing.assert_allclose(metrics.class_iou(totals), [1 / 2, 2 / 4, 1 / 2, np.nan])
    assert metrics.mean_iou(totals) == pytest.approx(0.5)


def test_nothing_labelled_has_no_mean():
    totals = metrics.class_totals(metrics.confusion_matrix(np.full((2, 2), 255), np.zeros((2, 2), int), 2))
    for metric in (metrics.mean_iou, metrics.pixel_accuracy, metrics.frequency_weighted_iou):
        assert np.isnan(metric(totals))


def test_ids_out_of_range_are_errors():
    with pytest.raises(ValueError, match="label is outside 0 to 1"):
        metrics.confusion_matrix(np.array([2]), np.array([0]), 2)
    with pytest.raises(ValueError, match="prediction is outside 0 to 1"):
        metrics.confusion_matrix(np.array([0]), np.array([2]), 2)


@pytest.mark.parametrize("num_classes", [2, 5])
def test_keras_metric_equals_the_reference(num_classes):
    generator = np.random.default_rng(num_classes)
    metric = mean_iou_metric(num_classes)
    total = np.zeros((num_classes, num_classes), np.int64)
    for _ in range(3):
        # The last class is never a label, so it counts only where it is predicted.
        labels = generator.integers(0, num_classes - 1, (4, 16, 16)).astype(np.uint8)
        labels[generator.random(labels.shape) < 0.2] = 255
        logits = generator.normal(size=(4, 16, 16, num_classes)).astype(np.float32)
        metric.update_state(labels, logits)
        total += metrics.confusion_matrix(labels, logits.argmax(-1), num_classes)
    expected = metrics.mean_iou(metrics.class_totals(total))
    assert float(keras.ops.convert_to_numpy(metric.result())) == pytest.approx(expected, abs=1e-6)


def test_metrics_equal_those_of_scikit_learn():
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 4, 500)
    predictions = np.where(generator.random(500) < 0.6, labels, generator.integers(0, 4, 500))
    totals = metrics.class_totals(metrics.confusion_matrix(labels, predictions, 4))
    of_classes = {"labels": range(4), "average": None}
    np.testing.assert_allclose(
        metrics.class_iou(totals), sklearn.metrics.jaccard_score(labels, predictions, **of_classes)
    )
    np.testing.assert_allclose(metrics.class_dice(totals), sklearn.metrics.f1_score(labels, predictions, **of_classes))
    assert metrics.pixel_accuracy(totals) == pytest.approx(sklearn.metrics.accuracy_score(labels, predictions))
    weighted = sklearn.metrics.jaccard_score(labels, predictions, average="weighted")
    assert metrics.frequency_weighted_iou(totals) == pytest.approx(weighted)


@pytest.mark.parametrize("shape", [(60, 80), (7, 5)])
def test_boundaries_are_what_erosion_takes_away(shape):
    """The published implementation erodes by a square of 3 pixels as often as the boundary is wide."""
    generator = np.random.default_rng(0)
    width = metrics.boundary_width(*shape)
    assert width == {(60, 80): 2, (7, 5): 1}[shape]
    labels, predictions = (
        scipy.ndimage.zoom(generator.random([6, 8]), [shape[0] / 6, shape[1] / 8], order=1) > 0.5 for _ in range(2)
    )
    square = np.ones([3, 3])
    by_erosion = [
        region & ~scipy.ndimage.binary_erosion(region, square, iterations=width) for region in (labels, predictions)
    ]
    for region, expected in zip((labels, predictions), by_erosion, strict=True):
        np.testing.assert_array_equal(metrics.boundary(region, width), expected)
    totals = metrics.boundary_totals(labels.astype(np.uint8), predictions.astype(np.uint8), 2)
    expected = np.logical_and(*by_erosion).sum() / np.logical_or(*by_erosion).sum()
    assert metrics.class_iou(totals)[1] == pytest.approx(expected)


def test_a_confidence_interval_is_that_of_scipys_bootstrap():
    generator = np.random.default_rng(0)
    confusions = generator.multinomial(400, [0.4, 0.1, 0.05, 0.45], 40).reshape(-1, 2, 2)
    confusions[::3] = confusions[::3, ::-1]  # Some images are segmented badly.
    totals = metrics.class_totals(confusions)
    weights = np.array([metrics.bootstrap_weights(seed) for seed in range(len(totals))])
    replicates = metrics.mean_iou(np.tensordot(weights, totals, (0, 0)))
    lower, upper = metrics.confidence_interval(replicates)
    expected = scipy.stats.bootstrap(
        (np.arange(len(totals)),),
        lambda chosen, axis: metrics.mean_iou(totals[chosen].sum(axis=chosen.ndim - 1)),
        method="percentile",
        n_resamples=4000,
        random_state=1,
    ).confidence_interval
    spread = expected.high - expected.low
    assert (lower, upper) == (
        pytest.approx(expected.low, abs=0.1 * spread),
        pytest.approx(expected.high, abs=0.1 * spread),
    )
    assert lower < metrics.mean_iou(totals.sum(axis=0)) < upper
