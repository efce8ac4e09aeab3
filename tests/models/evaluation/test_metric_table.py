import numpy as np
import pytest

from models.evaluation.metric_table import format_value, in_words, measure, replicates
from models.evaluation.metrics import confidence_interval
from models.evaluation.sums import Sums


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("images", 200.0, "200"),
        ("pixels_cat", 123456.0, "123456"),
        ("mean_iou", 1.0, "1.0000"),
        ("counting_error", 1.25, "1.2500"),
        ("iou_cat", None, "–"),
        ("of_an_earlier_version", 0.5, "0.5000"),
    ],
)
def test_numbers_of_things_have_no_decimals(key, value, text):
    assert format_value(key, value) == text


def test_names_are_words():
    assert [in_words(key) for key in ("mean_iou", "iou_cat_2", "nothing")] == ["mean IoU", "IoU of cat_2", "nothing"]


def test_two_evaluations_of_the_same_images_give_the_interval_that_the_gate_has():
    generator = np.random.default_rng(0)
    sums = [Sums.zeros(3) for _ in range(2)]
    for seed in range(20):
        for one in sums:
            one.add(f"image{seed}", seed, generator.integers(0, 50, [3, 3]), np.zeros([3, 3], int), np.array([8, 8]))
    measured = measure(["a", "b", "c"], sums[1], sums[0])
    before, now = (replicates(one)["mean_iou_replicates"] for one in sums)
    expected = [measured[f"mean_iou_change_{end}"] for end in ("lower", "upper")]
    assert confidence_interval(now - before) == pytest.approx(expected, abs=1e-6)
