"""Widths of structures, against masks whose widths are known."""

import numpy as np
import pytest

from data.inspection.widths import WIDTHS, count_widths


def widths_of(class_ids, class_id):
    """Pixels of a class by width, of those widths that occur."""
    counts = count_widths(class_ids)[class_id]
    return {width: int(count) for width, count in zip(WIDTHS, counts, strict=True) if count}


@pytest.mark.parametrize("width", [1, 2, 3, 5, 20])
@pytest.mark.parametrize("upright", [True, False])
def test_a_line_is_as_wide_as_it_was_drawn(width, upright):
    mask = np.zeros((120, 90), np.uint8)
    mask[:, 30 : 30 + width] = 3
    mask = mask if upright else mask.T
    assert widths_of(mask, 3) == {width: 120 * width}


def test_a_width_between_two_counts_as_the_smaller():
    mask = np.zeros((120, 90), np.uint8)
    mask[:, 30:37] = 1
    assert widths_of(mask, 1) == {6: 7 * 120}


def test_a_diagonal_line_is_as_wide_as_the_squares_in_it():
    rows, columns = np.mgrid[:100, :100]
    mask = (np.abs(rows - columns) <= 4).astype(np.uint8)  # 9 pixels across a row, 6.4 across its direction.
    counts = widths_of(mask, 1)
    assert set(counts) <= {4, 5}
    assert counts[5] > 0.9 * mask.sum()


def test_a_pole_is_thin_and_the_sign_on_it_is_not():
    mask = np.zeros((100, 100), np.uint8)
    mask[10:30, 40:60] = 1
    mask[30:90, 49:51] = 1
    assert widths_of(mask, 1) == {2: 60 * 2, 20: 20 * 20}


def test_a_gap_between_objects_of_another_class_is_thin_background():
    mask = np.zeros((64, 64), np.uint8)
    mask[:, 20:40], mask[:, 43:60] = 1, 2
    background = widths_of(mask, 0)
    assert background == {3: 64 * 3, 4: 64 * 4, 20: 64 * 20}


def test_every_pixel_is_counted_once_ignored_ones_too():
    mask = np.random.default_rng(0).integers(0, 4, (40, 30)).repeat(3, 0).repeat(2, 1).astype(np.uint8)
    mask[:10] = 255
    counts = count_widths(mask)
    np.testing.assert_array_equal(counts.sum(axis=1), np.bincount(mask.ravel(), minlength=256))


def test_no_width_is_above_the_side_of_a_small_mask():
    assert widths_of(np.zeros((7, 300), np.uint8), 0) == {6: 7 * 300}
    assert widths_of(np.zeros((1, 1), np.uint8), 0) == {1: 1}
    assert widths_of(np.zeros((300, 300), np.uint8), 0) == {256: 300 * 300}


def slow_widths(class_ids):
    """The same by its definition: each square of each size."""
    found = np.ones(class_ids.shape, int)
    rows, columns = class_ids.shape
    for side in [width for width in WIDTHS if width <= min(rows, columns)]:
        for top in range(rows - side + 1):
            for left in range(columns - side + 1):
                square = np.s_[top : top + side, left : left + side]
                if (class_ids[square] == class_ids[top, left]).all():
                    found[square] = side
    return found


def test_it_is_what_the_definition_says_on_any_mask():
    generator = np.random.default_rng(1)
    mask = generator.integers(0, 3, (9, 8)).repeat(5, 0).repeat(4, 1).astype(np.uint8)
    mask[generator.random(mask.shape) < 0.01] = 2
    expected = slow_widths(mask)
    for class_id in range(3):
        of_class = expected[mask == class_id]
        assert widths_of(mask, class_id) == {
            width: int((of_class == width).sum()) for width in WIDTHS if (of_class == width).any()
        }
