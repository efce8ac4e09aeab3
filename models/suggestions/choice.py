"""Of images that nobody labeled, which to label: those that the model is unsure of, and that are unlike each other.

Uncertainty alone chooses many images of one kind, and diversity alone images that the model knows. So both count, as in
BADGE (Ash et al., "Deep Batch Active Learning by Diverse, Uncertain Gradient Lower Bounds", 2020): of the most
uncertain images some are drawn by k-means++ (Arthur and Vassilvitskii, "k-means++: The Advantages of Careful Seeding",
2007), here among embeddings, with a chance in proportion to the squared distance from the nearest one drawn before.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from data.near_duplicates import are_near

# From so many times the images that are wanted, the most uncertain ones, they are drawn.
_TIMES = 2


@dataclasses.dataclass(frozen=True)
class Choice:
    """The images that were chosen.

    Attributes:
      chosen: their indexes, the most uncertain one first and then in the order in which they were drawn.
      labeled: how many were passed over because they look like a labeled image.
      alike: how many were passed over because they look like a more uncertain one.
    """

    chosen: list[int]
    labeled: int
    alike: int


def choose(
    uncertainty: np.ndarray, embeddings: np.ndarray, hashes: np.ndarray, labeled: np.ndarray, count: int
) -> Choice:
    """Chooses images; the same ones of the same images.

    Args:
      uncertainty: [n], of each image.
      embeddings: [n, d]; their directions count.
      hashes: [n, HASH_BYTES] of the images, as `data.near_duplicates.pack` gives them.
      labeled: [m, HASH_BYTES] of the images that have labels.
      count: how many to choose; fewer are if no others are left.
    """
    considered: list[int] = []
    like_labeled = alike = 0
    for index in np.argsort(-uncertainty, kind="stable").tolist():
        if len(considered) == _TIMES * count:
            break
        if are_near(labeled, hashes[index]).any():
            like_labeled += 1
        elif are_near(hashes[considered], hashes[index]).any():
            alike += 1
        else:
            considered.append(index)
    drawn = _spread(embeddings[considered], min(count, len(considered)))
    return Choice([considered[place] for place in drawn], like_labeled, alike)


def _spread(embeddings: np.ndarray, count: int) -> list[int]:
    """Draws so many places of embeddings, [n, d], the first one first."""
    generator = np.random.default_rng(0)
    directions = embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    drawn: list[int] = []
    nearest = np.full(len(directions), np.inf)
    while len(drawn) < count:
        free = np.setdiff1d(np.arange(len(directions)), drawn)
        chances = nearest[free]
        # The first one at first, and where nothing is unlike what was drawn.
        is_apart = bool(drawn) and bool(chances.any())
        place = int(generator.choice(free, p=chances / chances.sum()) if is_apart else free[0])
        drawn.append(place)
        nearest = np.minimum(nearest, ((directions - directions[place]) ** 2).sum(axis=1))
    return drawn
