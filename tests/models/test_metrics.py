import keras
import numpy as np
import pytest

from models import metrics
from models.training import mean_iou_metric


def test_iou_by_hand():
    labels = np.array([[0, 0, 1, 255], [1, 1, 2, 255]])
    predictions = np.array([[0, 1, 1, 0], [1, 2, 2, 1]])
    confusion = metrics.confusion_matrix(labels, predictions, 4)
    np.testing.assert_array_equal(confusion, [[1, 1, 0, 0], [0, 2, 1, 0], [0, 0, 1, 0], [0, 0, 0, 0]])
    # TP / (TP + FP + FN); class 3 occurs nowhere and does not count in the mean.
    np.testing.assert_allclose(metrics.class_iou(confusion), [1 / 2, 2 / 4, 1 / 2, np.nan])
    assert metrics.mean_iou(confusion) == pytest.approx(0.5)


def test_nothing_labelled_has_no_mean():
    assert np.isnan(metrics.mean_iou(metrics.confusion_matrix(np.full((2, 2), 255), np.zeros((2, 2), int), 2)))


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
    assert float(keras.ops.convert_to_numpy(metric.result())) == pytest.approx(metrics.mean_iou(total), abs=1e-6)
