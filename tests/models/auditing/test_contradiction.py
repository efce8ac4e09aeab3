import numpy as np
import pytest

from data.decoding.images import BadImageError
from models.auditing.contradiction import contradiction

CLASSES = 3


def disc(row=50, column=60, radius=20):
    rows, columns = np.ogrid[:100, :120]
    return ((rows - row) ** 2 + (columns - column) ** 2 < radius**2).astype(np.uint8)


def sure(value=0.95):
    return np.full((100, 120), value, np.float32)


def test_a_label_that_is_predicted_is_not_contradicted():
    found = contradiction(disc(), disc(), sure(), CLASSES)
    assert (found.score, found.mean_iou, found.classes) == (0, 1, None)


@pytest.mark.parametrize(
    "wrong", [1 - disc(), disc(column=80), np.zeros_like(disc())], ids=["swap", "shift", "missing"]
)
def test_wrong_labels_are_contradicted_more_than_inexact_ones(wrong):
    inexact = contradiction(disc(radius=21), disc(), sure(), CLASSES)
    found = contradiction(wrong, disc(), sure(), CLASSES)
    assert 0 < inexact.score < 0.2 < 0.6 < found.score < 1


def test_where_the_model_is_not_sure_it_contradicts_less():
    unsure = np.where(disc() != disc(column=70), 0.4, 0.95).astype(np.float32)
    scores = [contradiction(disc(column=70), disc(), confidence, CLASSES).score for confidence in (unsure, sure())]
    assert scores[0] < 0.6 * scores[1]


def test_a_class_that_is_elsewhere_counts_however_well_the_others_fit_but_not_a_few_pixels_of_it():
    label, prediction = np.zeros((100, 120), np.uint8), np.zeros((100, 120), np.uint8)
    label[:5, :20], prediction[:5, 50:70] = 1, 1
    found = contradiction(label, prediction, sure(), CLASSES)
    assert found.mean_iou > 0.32
    assert found.score > 0.7
    few = np.zeros_like(label)
    few[0, :5] = 1
    assert contradiction(few, np.zeros_like(few), sure(), CLASSES).score < 0.2


def test_it_says_what_is_contradicted_most():
    label = np.zeros((10, 10), np.uint8)
    prediction = label.copy()
    prediction[:3], prediction[9] = 2, 1
    confidence = np.full((10, 10), 0.5, np.float32)
    confidence[:3] = 0.9
    found = contradiction(label, prediction, confidence, CLASSES)
    assert found.classes == (0, 2)
    assert found.share == pytest.approx(0.3)
    assert found.confidence == pytest.approx(0.9)
    assert found.mean_iou == pytest.approx(0.6 / 3)


def test_ignored_pixels_do_not_count():
    label = disc()
    label[:, 60:] = 255
    found = contradiction(label, np.where(label == 255, 2, disc()), sure(), CLASSES)
    assert found.score == 0
    nothing = contradiction(np.full((4, 5), 255, np.uint8), np.zeros((4, 5), np.uint8), sure()[:4, :5], CLASSES)
    assert (nothing.score, nothing.share) == (0, 0)


def test_what_cannot_be_compared_is_told():
    with pytest.raises(BadImageError, match="its mask has 120×100 pixels"):
        contradiction(disc(), disc()[:50], sure()[:50], CLASSES)
    with pytest.raises(BadImageError, match="its mask has the class 7"):
        contradiction(7 * disc(), disc(), sure(), CLASSES)
