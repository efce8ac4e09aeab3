"""Is one set of images like another? Tests that say how likely chance is.

The choice of tests follows Rabanser, Günnemann and Lipton, "Failing Loudly: An Empirical Study of Methods for Detecting
Dataset Shift" (2019): Kolmogorov and Smirnov's test of single numbers, a permutation test of vectors, and a correction
for testing several of them. The statistic of vectors is the energy distance of Székely and Rizzo (2013).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import scipy.spatial
import scipy.stats

from models.monitoring.measures import Measured

CLASSES, EMBEDDINGS = "classes", "embeddings"
_PERMUTATIONS = 4999


@dataclasses.dataclass(frozen=True)
class Test:
    """What one test says of the images of a day.

    Attributes:
      name: what was compared.
      p: probability that chance alone makes such a difference in any of the tests of the day (Holm's correction).
      before: median of the training data; for vectors the distance that chance stays below in 99 of 100 cases.
      now: median of the day; for vectors their distance from those of the training data.
      words: what changed, for people.
    """

    name: str
    p: float
    before: float
    now: float
    words: str


def compare(reference: Measured, now: Measured, class_names: Sequence[str]) -> list[Test]:
    """Compares the images of a day with those of the training data.

    Args:
      reference: of at least one image.
      now: likewise.
      class_names: of the model.

    Returns:
      All tests, in a fixed order.
    """
    found: list[Test] = []
    for name, before in reference.statistics.items():
        before, after = (values[np.isfinite(values)] for values in (before, now.statistics.get(name, np.zeros(0))))
        if not (len(before) and len(after)):
            continue
        # A test that rounds differently on two machines must not alert where all values are the same.
        p = float(scipy.stats.ks_2samp(_rounded(before), _rounded(after), method="asymp").pvalue)
        medians = float(np.median(before)), float(np.median(after))
        found.append(Test(name, p, *medians, f"{name} {_short(medians[0])} → {_short(medians[1])}"))
    distance, usual, p = _permutation_test(reference.class_shares, now.class_shares)
    before, after = reference.class_shares.mean(axis=0), now.class_shares.mean(axis=0)
    most = int(np.argmax(abs(after - before)))
    found.append(Test(CLASSES, p, usual, distance, f"class {class_names[most]} {before[most]:.1%} → {after[most]:.1%}"))
    if reference.embeddings.shape[1] and now.embeddings.shape[1]:
        distance, usual, p = _permutation_test(reference.embeddings, now.embeddings)
        words = f"what the encoder sees: distance {_short(distance)}, by chance up to {_short(usual)}"
        found.append(Test(EMBEDDINGS, p, usual, distance, words))
    corrected = holm([test.p for test in found])
    return [dataclasses.replace(test, p=p) for test, p in zip(found, corrected, strict=True)]


def holm(probabilities: list[float]) -> list[float]:
    """Holm's correction (1979): with it, any of several tests errs with no more than its level's probability."""
    corrected, largest = [0.0] * len(probabilities), 0.0
    for rank, index in enumerate(np.argsort(probabilities, kind="stable")):
        largest = max(largest, min(1.0, (len(probabilities) - rank) * probabilities[index]))
        corrected[index] = largest
    return corrected


def _permutation_test(one: np.ndarray, other: np.ndarray) -> tuple[float, float, float]:
    """The energy distance of two sets of vectors, what it is in 99 of 100 random divisions of all, and its p value."""
    vectors = np.concatenate([one, other]).astype(np.float64)
    between = scipy.spatial.distance.cdist(vectors, vectors)
    between = (between / (between.mean() or 1.0)).astype(np.float32)
    first, second = len(one), len(other)
    generator = np.random.default_rng(0)
    is_second = np.zeros([1 + _PERMUTATIONS, len(vectors)], np.float32)
    is_second[:, first:] = 1
    is_second[1:] = generator.permuted(is_second[1:], axis=1)
    within_second = ((is_second @ between) * is_second).sum(axis=1, dtype=np.float64)
    of_second = is_second @ between.sum(axis=1, dtype=np.float64)
    across = of_second - within_second
    within_first = between.sum(dtype=np.float64) - within_second - 2 * across
    distances = 2 * across / (first * second) - within_first / first**2 - within_second / second**2
    # Sums of the same numbers in another order may differ a little.
    as_far = distances[1:] >= distances[0] - 1e-6
    usual = float(np.quantile(distances[1:], 0.99))
    return max(0.0, float(distances[0])), max(0.0, usual), float((1 + as_far.sum()) / (1 + _PERMUTATIONS))


def _rounded(values: np.ndarray) -> np.ndarray:
    return np.round(values, 5)


def _short(value: float) -> str:
    """Three significant digits."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    return f"{value:.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"
