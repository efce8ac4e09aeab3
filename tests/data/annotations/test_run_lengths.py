"""Run lengths, against pycocotools."""

import contextlib

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from data.annotations.run_lengths import checked, columns, compressed, decompressed
from data.annotations.shapes import Polygon
from data.decoding.errors import BadImageError


@hypothesis.settings(deadline=None)
@hypothesis.given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_compressed_text_is_what_pycocotools_made(height, width, seed, share):
    mask = np.random.default_rng(seed).random((height, width)) < share
    text = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
    pixels, left = columns(checked(decompressed(text), height, width), height)
    drawn = np.zeros((height, width), bool)
    drawn[:, left : left + pixels.shape[1]] = pixels
    assert np.array_equal(drawn, mask)


@pytest.mark.parametrize("seed", range(20))
def test_text_is_compressed_as_pycocotools_does_it(seed):
    generator = np.random.default_rng(seed)
    mask = np.asfortranarray(generator.random((generator.integers(1, 60), generator.integers(1, 300))) < seed / 20)
    encoded = coco_mask.encode(mask.astype(np.uint8))
    assert compressed(decompressed(encoded["counts"].decode())) == encoded["counts"].decode()
    runs = [5, 2**30, 3, 1, 0, 2**31]
    assert decompressed(compressed(runs)).tolist() == runs


def test_long_runs_and_large_images():
    runs = coco_mask.frPyObjects({"size": [40_000, 50_000], "counts": [1_500_000_000, 3, 499_999_997]}, 40_000, 50_000)
    assert decompressed(runs["counts"].decode()).tolist() == [1_500_000_000, 3, 499_999_997]


@hypothesis.settings(deadline=None)
@hypothesis.given(
    st.lists(
        st.lists(st.tuples(st.floats(-30, 60), st.floats(-30, 60)), min_size=3, max_size=7).filter(
            lambda corners: len(set(corners)) > 2
        ),
        min_size=1,
        max_size=3,
    )
)
def test_polygons_have_the_pixels_that_pycocotools_gives_them(outlines):
    # One corner in the image, as a shape of which nothing is in it is an error.
    rings = [[3.0, 4.0, *(value for corner in outline for value in corner)] for outline in outlines[:1]]
    rings += [[value for corner in outline for value in corner] for outline in outlines[1:]]
    expected = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(rings, 20, 30)))
    assert np.array_equal(Polygon(rings).mask(20, 30), expected.astype(bool))


@hypothesis.given(st.text(st.characters(min_codepoint=40, max_codepoint=120), max_size=30))
def test_any_text_is_read_or_refused(text):
    with contextlib.suppress(BadImageError):
        assert checked(decompressed(text), 5, 6).sum() == 30


@pytest.mark.parametrize("counts", [[1.5, 28.5], [True, False], ["30"], [[30]], [[1], [2, 3]], [10**30], [2**63, 30]])
def test_what_is_no_run_length_is_refused(counts):
    with pytest.raises(BadImageError, match="run lengths"):
        checked(counts, 5, 6)
