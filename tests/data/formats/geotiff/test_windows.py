"""Where windows lie."""

import numpy as np
import pytest

from data.formats.geotiff.windows import positions, strips, windows


def test_the_last_windows_are_shifted_inside():
    assert positions(100, 32, 0) == [0, 32, 64, 68]
    assert positions(96, 32, 0) == [0, 32, 64]
    assert positions(100, 32, 16) == [0, 16, 32, 48, 64, 68]


def test_a_smaller_scene_is_one_window():
    (only,) = windows(20, 30, 32, 8)
    assert (only.row, only.column, only.height, only.width) == (0, 0, 20, 30)
    assert [one.width for one in windows(20, 70, 32, 0)] == [32, 32, 32]


@pytest.mark.parametrize(("height", "width", "window", "overlap"), [(50, 70, 16, 0), (33, 32, 32, 31), (7, 300, 64, 5)])
def test_each_pixel_is_in_a_window(height, width, window, overlap):
    seen = np.zeros([height, width], int)
    names = set()
    for one in windows(height, width, window, overlap):
        (top, bottom), (left, right) = one.slices
        assert 0 <= top < bottom <= height
        assert 0 <= left < right <= width
        seen[top:bottom, left:right] += 1
        names.add(one.name)
    assert seen.min() >= 1
    assert len(names) == len(list(windows(height, width, window, overlap)))


@pytest.mark.parametrize("offset", [0, 7, 15])
@pytest.mark.parametrize(("length", "window"), [(100, 32), (100, 16), (330, 64), (600, 128), (5000, 256)])
def test_each_strip_has_windows_wherever_the_grid_begins(length, window, offset):
    size, overlap, shares = strips(length, window)
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["train"] >= 0.5
    gap = size - overlap
    borders = [shares["train"] * length, (shares["train"] + shares["eval"]) * length]
    starts = [offset + start for start in positions(length - offset, size, overlap)]
    assert any(start + size + gap <= borders[0] for start in starts)
    assert any(borders[0] <= start and start + size + gap <= borders[1] for start in starts)
    assert any(borders[1] <= start for start in starts)


def test_strips_have_the_largest_windows_that_fit():
    assert strips(5000, 256) == (256, 0, {"train": 0.69, "eval": 0.16, "test": 0.15})
    assert strips(100, 32) == (16, 12, {"train": 0.56, "eval": 0.24, "test": 0.2})
    assert strips(80, 32) is None
