import random

import numpy as np

from models.evaluation import metrics, sums
from models.evaluation.sums import Sums
from models.evaluation.tfma_metrics import _Sum


def test_sums_name_some_of_many_images_whoever_counted_them(monkeypatch):
    monkeypatch.setattr(sums, "NAMED_IMAGES", 5)
    monkeypatch.setattr(sums, "MOST_NAMED", 15)
    generator = np.random.default_rng(0)
    confusions = generator.integers(0, 100, [200, 2, 2])
    confusions[3] = 0  # Nothing is labeled: it has no mean IoU.
    images = [
        (f"image {index}", int(generator.integers(2**32)), confusion) for index, confusion in enumerate(confusions)
    ]
    combiner = _Sum("key", 2)
    found = []
    for workers in (1, 7, 200):
        random.Random(workers).shuffle(images)
        accumulators = []
        for worker in range(workers):
            counted = Sums.zeros(2)
            for name, seed, confusion in images[worker::workers]:
                counted.add(name, seed, confusion, np.zeros([3, 2], np.int64), np.array([10, 10]))
            assert len(counted.images) <= 30
            accumulators.append(counted)
        (merged,) = combiner.extract_output(combiner.merge_accumulators(accumulators)).values()
        assert len(merged.images) <= 30
        assert (merged.count, merged.confusion.tolist()) == (200, confusions.sum(axis=0).tolist())
        found.append(sorted(merged.named()))
    assert found[0] == found[1] == found[2]
    every = sorted(
        (float(metrics.mean_iou(metrics.class_totals(confusion))), name, seed)
        for name, seed, confusion in images
        if confusion.any()
    )
    assert {*every[:5], *every[-5:]} <= set(found[0])
    assert len(found[0]) <= 15
