import io
import time

import numpy as np
import pytest
from PIL import Image

from data.near_duplicates import HASH_BYTES, MAX_DISTANCE, are_near, near_pairs, pack, perceptual_hash


def picture(seed, height=180, width=240):
    """Something with structure of all sizes, like a photograph."""
    generator = np.random.default_rng(seed)
    pixels = np.zeros((height, width, 3))
    for side in (3, 6, 12, 24, 48):
        coarse = generator.integers(0, 256, (side, side, 3), np.uint8)
        pixels += np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC), float)
    return np.uint8(pixels / 5)


def distance(one, other):
    return bin(one ^ other).count("1")


def as_jpeg(pixels, quality):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def resized(pixels, width, height):
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC))


COPIES = {
    "encoded": lambda pixels: as_jpeg(pixels, 40),
    "smaller": lambda pixels: resized(pixels, 100, 75),
    "larger": lambda pixels: resized(pixels, 700, 525),
    "stretched": lambda pixels: resized(pixels, 256, 256),
    "brighter": lambda pixels: np.uint8(np.minimum(pixels * 1.1, 255)),
    "gray": lambda pixels: np.asarray(Image.fromarray(pixels).convert("L"))[:, :, np.newaxis],
    "noisy": lambda pixels: np.uint8(
        np.clip(pixels + np.random.default_rng(0).normal(0, 6, pixels.shape[:2])[:, :, np.newaxis], 0, 255)
    ),
}


@pytest.mark.parametrize("change", COPIES.values(), ids=COPIES)
def test_copies_are_near_and_others_are_not(change):
    originals = [perceptual_hash(picture(seed)) for seed in range(12)]
    copies = [perceptual_hash(change(picture(seed))) for seed in range(12)]
    pairs = near_pairs(originals + copies)
    assert {(first, second) for first, second, _ in pairs.tolist()} == {(index, index + 12) for index in range(12)}


def test_images_without_content_have_no_hash():
    noise = np.random.default_rng(0).integers(0, 12, (300, 400, 3), np.uint8)
    for plain in (np.zeros((40, 50, 3), np.uint8), np.full((9, 900, 1), 255, np.uint8), noise):
        assert perceptual_hash(plain) is None


def test_images_of_any_shape_have_a_hash():
    for shape in ((1, 2), (1, 500), (500, 2), (3000, 20)):
        pixels = np.random.default_rng(0).choice(np.array([0, 255], np.uint8), (*shape, 1))
        pixels[0, 0], pixels[-1, -1] = 0, 255
        assert perceptual_hash(pixels) == perceptual_hash(np.repeat(pixels, 3, axis=2))


def test_alpha_does_not_count():
    rgb = picture(0)
    alpha = np.random.default_rng(0).integers(0, 256, (*rgb.shape[:2], 1), np.uint8)
    gray = rgb[:, :, :1]
    assert perceptual_hash(np.concatenate([rgb, alpha], axis=2)) == perceptual_hash(rgb)
    assert perceptual_hash(np.concatenate([gray, alpha], axis=2)) == perceptual_hash(gray)


def near_by_hand(hashes, max_distance, parts=None):
    return sorted(
        (
            [first, second, distance(hashes[first], hashes[second])]
            for second in range(len(hashes))
            for first in range(second)
            if distance(hashes[first], hashes[second]) <= max_distance
            and (parts is None or parts[first] != parts[second])
        ),
        key=lambda pair: (pair[2], pair[0], pair[1]),
    )


@pytest.mark.parametrize("max_distance", [0, 1, 7, MAX_DISTANCE])
def test_the_pairs_are_those_of_a_comparison_of_each_with_each(max_distance):
    generator = np.random.default_rng(max_distance)
    seeds = [int.from_bytes(generator.bytes(HASH_BYTES), "big") for _ in range(20)]
    flips = [[1 << int(bit) for bit in generator.integers(0, 256, count)] for count in (0, 0, 1, 1, 5, 9, 30)]
    hashes = [seed ^ (sum(set(flip)) if flip else 0) for seed in seeds for flip in flips]
    parts = [index % 3 for index in range(len(hashes))]
    assert near_pairs(hashes, max_distance).tolist() == near_by_hand(hashes, max_distance)
    assert near_pairs(hashes, max_distance, parts).tolist() == near_by_hand(hashes, max_distance, parts)
    assert len(near_by_hand(hashes, max_distance)) >= 20


def test_those_near_one_are_those_in_its_pairs():
    hashes = [0, 1, 2**8 - 1, 2**20 - 1, 2**21 - 1, 2**256 - 1]
    packed = pack(hashes)
    assert are_near(packed, packed[0]).tolist() == [True, True, True, True, False, False]
    assert are_near(packed, packed[0], 1).tolist() == [True, True, False, False, False, False]
    assert are_near(pack([]), packed[0]).shape == (0,)


def test_no_images_have_no_pairs():
    assert near_pairs([]).shape == near_pairs([5]).shape == (0, 3)


def test_many_hashes_take_seconds():
    generator = np.random.default_rng(0)
    hashes = [int.from_bytes(generator.bytes(HASH_BYTES), "big") for _ in range(30_000)]
    hashes += [value ^ 0b1011 for value in hashes[:50]]
    started = time.process_time()
    pairs = near_pairs(hashes)
    assert time.process_time() - started < 30
    assert pairs.tolist() == [[index, 30_000 + index, 3] for index in range(50)]


def test_the_search_ends_where_all_are_the_same():
    assert near_pairs([7] * 30_000, most=1000).shape == (1000, 3)


def test_many_of_one_part_that_are_the_same_are_not_compared_with_each_other():
    generator = np.random.default_rng(0)
    frames = [int.from_bytes(generator.bytes(2), "big") << 128 for _ in range(20_000)]
    copies = [frames[0] ^ 1, (1 << 255) - 1]
    started = time.process_time()
    pairs = near_pairs(frames, parts=[0] * len(frames))
    assert time.process_time() - started < 30
    assert not len(pairs)
    assert len(near_pairs(frames[:100] + copies, max_distance=1, parts=[0] * 100 + [1] * 2)) == 1
