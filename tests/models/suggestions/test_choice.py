import numpy as np

from data.near_duplicates import HASH_BYTES, pack
from models.suggestions.choice import choose


def hashes(count, seed=0):
    """Of images that do not look alike."""
    return np.random.default_rng(seed).integers(0, 256, [count, HASH_BYTES]).astype(np.uint8)


def clusters(sizes, spread=0.01):
    """Embeddings in directions that are orthogonal to each other."""
    generator = np.random.default_rng(0)
    rows = np.repeat(np.eye(len(sizes)), sizes, axis=0)
    return (rows + generator.normal(scale=spread, size=rows.shape)).astype(np.float32)


def test_of_the_most_uncertain_ones_each_kind_is_chosen_though_one_is_rare():
    embeddings = clusters([30, 4, 4, 62])
    uncertainty = np.r_[np.linspace(0.9, 0.8, 30), np.full(8, 0.7), np.full(62, 0.1)]
    found = choose(uncertainty, embeddings, hashes(100), hashes(0), 19)
    assert found.chosen[0] == 0
    assert len(set(found.chosen)) == 19
    assert max(found.chosen) < 38
    assert {1, 2} <= set(embeddings[found.chosen[:3]].argmax(axis=1))


def test_the_length_of_an_embedding_makes_no_difference():
    embeddings = clusters([30, 30])
    lengths = np.random.default_rng(1).uniform(0.1, 10, [60, 1])
    arguments = (hashes(60), hashes(0), 10)
    first, second = (choose(np.full(60, 0.5), one, *arguments).chosen for one in (embeddings, embeddings * lengths))
    assert first == second


def test_what_looks_like_a_labeled_image_or_a_more_uncertain_one_is_passed_over():
    first = hashes(6)
    bits = np.unpackbits(first, axis=1)
    bits[:, :20] ^= 1
    every = np.concatenate([first, np.packbits(bits, axis=1)])
    uncertainty, embeddings = np.linspace(0.1, 0.9, 12), np.eye(12, dtype=np.float32)
    found = choose(uncertainty, embeddings, every, first[:2], 12)
    assert sorted(found.chosen) == [8, 9, 10, 11]
    assert (found.labeled, found.alike) == (4, 4)
    bits[:, 20] ^= 1  # One bit more makes another image.
    every = np.concatenate([first, np.packbits(bits, axis=1)])
    assert len(choose(uncertainty, embeddings, every, every[:0], 12).chosen) == 12


def test_what_nothing_tells_apart_is_chosen_all_the_same():
    found = choose(np.zeros(5), np.zeros([5, 3], np.float32), hashes(5), hashes(0), 4)
    assert len(set(found.chosen)) == 4
    assert choose(np.zeros(0), np.zeros([0, 3]), pack([]), pack([]), 4).chosen == []
