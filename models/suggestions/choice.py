"""Of images that nobody labeled, which to label: those that the model is unsure of, and that are unlike each other.

Uncertainty alone chooses many images of one kind, and diversity alone images that the model knows. As in BADGE (Ash et
al., "Deep Batch Active Learning by Diverse, Uncertain Gradient Lower Bounds", 2020) both count: images are drawn by
k-means++ (Arthur and Vassilvitskii, "k-means++: The Advantages of Careful Seeding", 2007), here among embeddings, each
as likely as it is far from those that are drawn already, times how unsure the model is of it.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from data.near_duplicates import are_near


@dataclasses.dataclass(frozen=True)
class Choice:
    """The images that were chosen.

    Attributes:
      chosen: their indexes, in the order in which they were drawn.
      labeled: how many were passed over because they look like a labeled image.
      alike: how many were passed over because they look like one that was chosen before.
    """

    chosen: list[int]
    labeled: int
    alike: int


def choose(
    uncertainty: np.ndarray, embeddings: np.ndarray, hashes: np.ndarray, labeled: np.ndarray, count: int
) -> Choice:
    """Chooses images; the same ones of the same images.

    Args:
      uncertainty: [n], of each image, at least 0.
      embeddings: [n, d]; their directions count.
      hashes: [n, HASH_BYTES] of the images, as `data.near_duplicates.pack` gives them.
      labeled: [m, HASH_BYTES] of the images that have labels.
      count: how many to choose; fewer are if no others are left.
    """
    generator = np.random.default_rng(0)
    lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
    directions = embeddings / np.maximum(lengths, np.finfo(np.float32).tiny)
    free = np.ones(len(hashes), bool)
    # Squared distances; before the first draw, none is nearer than another.
    nearest = np.ones(len(hashes))
    chosen: list[int] = []
    like_labeled = alike = 0
    while len(chosen) < count and free.any():
        # Where nothing is unlike what was drawn, uncertainty decides; where nothing is uncertain, chance.
        weights = next(found for found in (uncertainty * nearest, uncertainty, free) if found[free].any())
        chances = np.where(free, weights, 0.0)
        index = int(generator.choice(len(chances), p=chances / chances.sum()))
        free[index] = False
        if are_near(labeled, hashes[index]).any():
            like_labeled += 1
            continue
        chosen.append(index)
        copies = free & are_near(hashes, hashes[index])
        alike += int(copies.sum())
        free &= ~copies
        nearest = np.minimum(nearest, ((directions - directions[index]) ** 2).sum(axis=1))
    return Choice(chosen, like_labeled, alike)
