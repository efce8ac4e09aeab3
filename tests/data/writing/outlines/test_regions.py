"""Outlines keep each pixel; simplified, they stay within the tolerance, and neighbors share their borders."""

import time

import numpy as np
import pytest
import shapely

from data.annotations.drawing import AnnotatedObject, draw
from data.annotations.shapes import Bitmap, Polygon
from data.writing.outlines.regions import find_regions
from tests.data.writing.made_up import farthest, masks, smooth

CLASSES = (1, 2, 3)
RANDOM = [np.random.default_rng(seed).integers(0, 4, (seed % 13 + 1, seed % 17 + 1), np.uint8) for seed in range(60)]
ALL = [*masks().values(), *RANDOM, *(smooth(seed, 40, 30, size=seed / 5 + 0.5).astype(np.uint8) for seed in range(20))]


def as_rings(region):
    return Polygon([region.ring.ravel().tolist()])


def as_pixels(region):
    return Bitmap(region.pixels(), *region.bounds[:2])


def as_runs(region):
    left, top, right, bottom = region.bounds
    runs = region.runs()
    pixels = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(bottom - top, right - left)
    return Bitmap(pixels, left, top)


def redrawn(regions, mask, shape=as_rings):
    objects = [AnnotatedObject("region", region.class_id, shape(region)) for region in regions]
    return draw(objects, *mask.shape)[0]


def test_without_tolerance_every_pixel_is_kept():
    for mask in ALL:
        regions = find_regions(mask, CLASSES)
        for shape in (as_rings, as_pixels, as_runs):
            assert np.array_equal(redrawn(regions, mask, shape), mask)
        assert sum(region.polygon.area for region in regions) == np.count_nonzero(mask)


@pytest.mark.parametrize("tolerance", [0.3, 1.0, 1.5, 3.0])
def test_outlines_stay_within_the_tolerance(tolerance):
    for mask in ALL:
        regions, exact = find_regions(mask, CLASSES, tolerance), find_regions(mask, CLASSES)
        assert [region.class_id for region in regions] == [region.class_id for region in exact]
        for region, before in zip(regions, exact, strict=True):
            assert region.polygon.is_valid
            assert region.polygon.area >= before.polygon.area / 2
            moved = shapely.hausdorff_distance(region.polygon.boundary, before.polygon.boundary)
            assert moved <= tolerance + 1e-9
        for shape in (as_rings, as_pixels):
            assert farthest(mask, redrawn(regions, mask, shape)) <= tolerance


def test_neighbors_share_their_borders():
    """All classes are outlined, so that gaps and overlaps would show in the area."""
    for mask in ALL:
        regions = find_regions(mask, (0, *CLASSES), 1.0)
        union = shapely.union_all([region.polygon for region in regions])
        assert union.area == pytest.approx(mask.size)
        assert sum(region.polygon.area for region in regions) == pytest.approx(mask.size)


def test_a_slope_of_steps_becomes_a_line():
    mask = np.tri(40, 40, dtype=np.uint8)
    (exact,), (simple,) = find_regions(mask, [1]), find_regions(mask, [1], 1.0)
    assert len(exact.ring) == 82
    assert len(simple.ring) == 5


def test_holes_are_joined_by_cuts_that_meet_no_other_hole():
    random = np.random.default_rng(0)
    mask = np.ones((60, 80), np.uint8)
    for y, x in zip(random.integers(2, 55, 40), random.integers(2, 75, 40), strict=True):
        mask[y : y + 3, x : x + 2] = 0
    (region,) = find_regions(mask, [1])
    assert region.has_holes
    following = np.roll(region.ring, -1, axis=0)
    steps = shapely.linestrings(np.stack([region.ring, following], 1))
    assert not any(shapely.crosses(region.polygon.boundary, steps))
    assert all(shapely.covers(region.polygon, steps))
    # By the nonzero rule as well: the way around a point outside is 0 in all.
    for x, y in ((0.5, 0.5), *(np.argwhere(mask == 0)[:, ::-1] + 0.5)):
        angles = np.arctan2(region.ring[:, 1] - y, region.ring[:, 0] - x)
        turns = np.diff(np.unwrap([*angles, angles[0]]))
        assert round(turns.sum() / (2 * np.pi)) == mask[int(y), int(x)]


def test_many_regions_of_a_large_mask_take_little_time():
    """They are found and simplified all at once, in a fraction of a second for thousands."""
    mask = smooth(0, 700, 700, size=2.0).astype(np.uint8)
    start = time.process_time()
    regions = find_regions(mask, CLASSES, 1.0)
    assert time.process_time() - start < 5
    assert len(regions) > 3000
    found = np.zeros_like(mask)
    for region in regions:
        left, top, right, bottom = region.bounds
        found[top:bottom, left:right][region.pixels()] = region.class_id
    assert farthest(mask, found) <= 1.0
    assert find_regions(np.zeros((500, 400), np.uint8), CLASSES, 1.0) == []
