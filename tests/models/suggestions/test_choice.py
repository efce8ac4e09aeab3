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


def test_each_kind_of_image_is_chosen_though_one_is_rare():
    embeddings = clusters([300, 10, 10])
    found = choose(np.full(320, 0.5), embeddings, hashes(320), hashes(0), 3)
    assert sorted(embeddings[found.chosen].argmax(axis=1)) == [0, 1, 2]


def test_of_one_kind_the_uncertain_ones_are_chosen():
    uncertainty = np.r_[np.full(90, 0.001), np.full(10, 0.9)]
    for embeddings in (np.random.default_rng(0).normal(size=[100, 9]), np.ones([100, 9])):
        found = choose(uncertainty, embeddings, hashes(100), hashes(0), 8)
        assert len(set(found.chosen)) == 8
        assert sum(index >= 90 for index in found.chosen) >= 6


def test_the_length_of_an_embedding_makes_no_difference():
    embeddings = clusters([30, 30])
    lengths = np.random.default_rng(1).uniform(0.1, 10, [60, 1])
    arguments = (np.full(60, 0.5), hashes(60), hashes(0), 10)
    first, second = (choose(arguments[0], one, *arguments[1:]).chosen for one in (embeddings, embeddings * lengths))
    assert first == second


def test_what_looks_like_a_labeled_image_or_a_chosen_one_is_passed_over():
    first = hashes(6)
    bits = np.unpackbits(first, axis=1)
    bits[:, :20] ^= 1
    again = np.packbits(bits, axis=1)
    every = np.concatenate([first, again])
    found = choose(np.full(12, 0.5), np.eye(12, dtype=np.float32), every, again[:2], 12)
    assert {index % 6 for index in found.chosen} == {2, 3, 4, 5}
    assert len(found.chosen) == 4
    assert (found.labeled, found.alike) == (4, 4)
    bits[:, 20] ^= 1  # One bit more makes another image.
    every = np.concatenate([first, np.packbits(bits, axis=1)])
    assert len(choose(np.full(12, 0.5), np.eye(12, dtype=np.float32), every, every[:0], 12).chosen) == 12


def test_what_nothing_tells_apart_is_chosen_all_the_same():
    found = choose(np.zeros(5), np.zeros([5, 3], np.float32), hashes(5), hashes(0), 4)
    assert len(set(found.chosen)) == 4
    assert choose(np.zeros(0), np.zeros([0, 3]), pack([]), pack([]), 4).chosen == []
