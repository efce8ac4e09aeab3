"""Objects are found again where the network's maps are those of the labels."""

import numpy as np
import pytest
import tensorflow as tf

from data.contract import CROWD
from data.label_map import LabelMap
from models.inputs.settings import PreprocessingSettings
from models.instances.grouping import _centers, group
from models.instances.scale import ObjectScale
from models.instances.targets import center_targets

IS_THING = (False, True, True)


def found_again(numbers, class_ids=None, kernel=3, least_area=1):
    """The objects of the maps that are to be learned from the labels."""
    class_ids = (numbers > 0).astype(int) if class_ids is None else class_ids
    peaks, offsets = center_targets(numbers[np.newaxis])
    probabilities = np.eye(3, dtype=np.float32)[class_ids]
    return group(
        tf.constant(probabilities),
        peaks[0],
        offsets[0],
        IS_THING,
        kernel=kernel,
        least_peak=0.5,
        least_area=least_area,
    )


def same_partition(found, numbers):
    pairs = {*zip(found.ravel().tolist(), numbers.ravel().tolist(), strict=True)}
    return len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs}) and (0, 0) in pairs | {(0, 0)}


def discs(gap, radius=10, count=10):
    """count² discs; those that overlap cover earlier ones."""
    side = count * (2 * radius + 1 + gap) + 2 * radius
    numbers = np.zeros([side, side], int)
    rows, columns = np.mgrid[:side, :side]
    for index in range(count**2):
        row, column = (radius + 2 + place * (2 * radius + 1 + gap) for place in divmod(index, count))
        numbers[(rows - row) ** 2 + (columns - column) ** 2 <= radius**2] = index + 1
    return numbers


@pytest.mark.parametrize("gap", [5, 1, 0, -2, -4])
@pytest.mark.parametrize("kernel", [3, 7, 11])
def test_touching_discs_are_counted_exactly(gap, kernel):
    numbers = discs(gap)
    found = found_again(numbers, kernel=kernel)
    assert same_partition(found.numbers.numpy(), numbers)
    assert len(found.areas) == 100


def test_objects_are_measured():
    numbers = np.zeros([20, 30], int)
    numbers[2:6, 3:13], numbers[10:15, 20:25] = 700, 3
    class_ids = np.where(numbers == 700, 1, 0) + 2 * (numbers == 3)
    class_ids[2, 3:5] = 2  # Outvoted.
    found = found_again(numbers, class_ids)
    assert found.boxes.numpy().tolist() == [[2, 3, 6, 13], [10, 20, 15, 25]]
    assert found.areas.numpy().tolist() == [40, 25]
    assert found.object_classes.numpy().tolist() == [1, 2]
    assert found.scores.numpy().tolist() == pytest.approx([38 / 40, 1])
    assert (found.class_ids.numpy() == np.where(numbers == 700, 1, 0) + 2 * (numbers == 3)).all()


def test_an_object_of_one_pixel_and_one_of_the_whole_image():
    one = np.zeros([9, 9], int)
    one[4, 7] = 1
    assert same_partition(found_again(one).numbers.numpy(), one)
    whole = np.ones([33, 50], int)
    assert same_partition(found_again(whole).numbers.numpy(), whole)


def test_an_object_of_many_pixels_keeps_them_and_its_score():
    """With a square as large as follows from its size, and one class about as probable as the other."""
    side = 1600
    ways = (side // 2 - np.indices([side, side], np.float32)).transpose(1, 2, 0)
    peaks = np.zeros([side, side], np.float32)
    peaks[side // 2, side // 2], peaks[3, 5] = 1, 0.9
    probabilities = np.broadcast_to(np.float32([0.4, 0.6]), [side, side, 2])
    arguments = (tf.constant(probabilities), tf.constant(peaks), tf.constant(ways), (False, True))
    found = group(*arguments, kernel=1361, least_peak=0.5, least_area=1000)
    assert found.areas.numpy().tolist() == [side * side]
    assert found.scores.numpy() == pytest.approx([0.6], abs=1e-4)


@pytest.mark.parametrize("kernel", [3, 5, 7, 9, 21])
def test_of_peaks_within_a_square_the_highest_counts(kernel):
    """Once noise is averaged out; the highest pixel nearby says how high a peak is."""
    generator = np.random.default_rng(kernel)
    peaks = generator.integers(1, 30, [23, 17]).astype(np.float32)
    found = _centers(tf.constant(peaks), tf.ones([23, 17], tf.bool), kernel, 20.0).numpy()
    side = {3: 1, 5: 1, 7: 1, 9: 1, 21: 5}[kernel]
    smooth = means(means(peaks, side), side) + 0.01 * peaks
    assert len(found)
    for row, column in found:
        assert smooth[row, column] == pytest.approx(windows(smooth, kernel).max(axis=(2, 3))[row, column])
        assert windows(peaks, 2 * side - 1).max(axis=(2, 3))[row, column] >= 20
    distances = np.abs(found[:, np.newaxis] - found[np.newaxis]).max(axis=-1)
    assert distances[~np.eye(len(found), dtype=bool)].min(initial=100) > kernel // 2


def windows(values, side):
    return np.lib.stride_tricks.sliding_window_view(np.pad(values, side // 2), (side, side))


def means(values, side):
    """Of the pixels of a square around each that lie in the image."""
    return windows(values, side).sum(axis=(2, 3)) / windows(np.ones_like(values), side).sum(axis=(2, 3))


def test_noise_makes_no_objects():
    """Of a peak in noise, the highest pixels are several, farther apart than the square is wide; its center is one."""
    rows, columns = np.mgrid[:60, :60].astype(np.float32)
    noise = np.random.default_rng(0).normal(0, 0.1, [60, 60])
    peaks = (np.exp(-((rows - 30) ** 2 + (columns - 30) ** 2) / (2 * 12**2)) * 0.7 + noise).astype(np.float32)
    found = _centers(tf.constant(peaks), tf.ones([60, 60], tf.bool), 15, 0.6).numpy()
    assert np.abs(found - 30).max() <= 6
    assert len(found) == 1


@pytest.mark.parametrize("kernel", [3, 101])
def test_images_smaller_than_the_square(kernel):
    for shape in ((1, 1), (1, 9), (2, 1)):
        found = found_again(np.full(shape, 7), kernel=kernel)
        assert found.areas.numpy().tolist() == [shape[0] * shape[1]]


@pytest.mark.parametrize("radius", [1, 2, 3, 30])
def test_discs_of_one_size_are_counted_with_the_square_that_follows_from_it(radius):
    for gap in (5, 0):
        numbers = discs(gap, radius, count=10 if radius < 30 else 4)
        areas = np.bincount(numbers.ravel())[1:]
        by_pixels = {str(2 ** int(np.log2(areas[0]))): len(areas)}
        statistics = {"objects": {"disc": len(areas)}, "objects_by_pixels": by_pixels}
        labels = LabelMap.from_names(["ground", "disc"])
        scale = ObjectScale.of(labels, statistics, PreprocessingSettings(resize="none"))
        found = found_again(numbers, kernel=scale.kernel, least_area=scale.least_area)
        assert same_partition(found.numbers.numpy(), numbers)
        assert len(found.areas) == len(areas)


def test_as_many_objects_as_16_bits_can_tell():
    """65,534, and one more, which is left out."""
    numbers = np.zeros([3 * 256, 3 * 256], int)
    numbers[1::3, 1::3] = np.arange(256 * 256).reshape(256, 256)
    numbers[numbers == CROWD] = 0
    found = found_again(numbers)
    assert len(found.areas) == found.numbers.numpy().max() == CROWD - 1
    peaks, offsets = tf.cast(numbers > 0, tf.float32), tf.zeros([*numbers.shape, 2])
    peaks = tf.tensor_scatter_nd_update(peaks, [[1, 1]], [1.0])  # Its number was 0.
    probabilities = np.eye(2, dtype=np.float32)[(peaks.numpy() > 0).astype(int)]
    found = group(tf.constant(probabilities), peaks, offsets, (False, True), kernel=3, least_peak=0.5, least_area=1)
    assert len(found.areas) == found.numbers.numpy().max() == CROWD - 1
    assert (found.class_ids.numpy() == (found.numbers.numpy() > 0)).all()


def test_sixty_thousand_objects():
    numbers = (np.arange(1, 60_001).reshape(200, 300)).repeat(2, axis=0).repeat(2, axis=1)
    found = found_again(numbers)
    assert len(found.areas) == 60_000
    assert same_partition(found.numbers.numpy(), numbers)


def test_a_ring_around_an_object():
    rows, columns = np.mgrid[:61, :61]
    distance = np.hypot(rows - 30, columns - 30)
    numbers = np.where(distance < 8, 2, np.where((distance > 15) & (distance < 25), 1, 0))
    assert same_partition(found_again(numbers, kernel=7).numbers.numpy(), numbers)


def test_no_object_and_a_crowd():
    for numbers in (np.zeros([8, 8], int), np.full([8, 8], CROWD)):
        peaks, offsets = center_targets(numbers[np.newaxis])
        assert not peaks.numpy().any()
        assert not offsets.numpy().any()
    found = found_again(np.zeros([8, 8], int))
    assert len(found.areas) == 0
    assert not found.numbers.numpy().any()


def test_small_objects_become_what_else_is_most_probable():
    numbers = np.zeros([20, 20], int)
    numbers[5:7, 5:7], numbers[10:18, 10:18] = 1, 2
    found = found_again(numbers, least_area=5)
    assert found.areas.numpy().tolist() == [64]
    assert (found.class_ids.numpy() == (numbers == 2)).all()


def test_things_without_a_center_are_no_objects():
    found = group(
        tf.constant(np.eye(3, dtype=np.float32)[np.ones([6, 6], int)]),
        tf.zeros([6, 6]),
        tf.zeros([6, 6, 2]),
        IS_THING,
        kernel=3,
        least_peak=0.5,
        least_area=1,
    )
    assert not found.numbers.numpy().any()
    assert (found.class_ids.numpy() == 0).all()


def test_pixels_go_to_the_nearest_center_wherever_it_is():
    generator = np.random.default_rng(0)
    height, width, count = 70, 113, 40
    centers = np.unique(generator.integers(0, [height, width], [count, 2]) // 3 * 3, axis=0)
    peaks = np.zeros([height, width], np.float32)
    peaks[tuple(centers.T)] = 1
    ways = generator.normal(0, 4, [height, width, 2]).astype(np.float32)
    found = group(
        tf.constant(np.eye(3, dtype=np.float32)[np.ones([height, width], int)]),
        tf.constant(peaks),
        tf.constant(ways),
        IS_THING,
        kernel=3,
        least_peak=0.5,
        least_area=1,
    )
    numbers = found.numbers.numpy()
    # What lands farther away than the root of an object's area belongs to none.
    assert 0.9 < (numbers > 0).mean() < 1
    # An object goes by the center that most of its pixels are nearest to.
    targets = np.indices([height, width]).transpose(1, 2, 0) + ways
    distances = np.linalg.norm(targets[:, :, np.newaxis] - centers, axis=-1)
    nearest = distances.argmin(axis=-1)
    of_number = {number: np.bincount(nearest[numbers == number]).argmax() for number in np.unique(numbers)}
    kept = numbers > 0
    del of_number[0]
    assert len(set(of_number.values())) == len(of_number)
    taken = np.vectorize(of_number.get)(np.where(kept, numbers, 1))
    assert (taken == nearest)[kept].mean() > 0.99
    lost = np.take_along_axis(distances, taken[..., np.newaxis], axis=-1)[..., 0] - distances.min(axis=-1)
    assert lost[kept].max() < 2**1.5  # The diagonal of a cell.


def test_images_of_a_batch_do_not_mix():
    numbers = np.zeros([2, 16, 16], int)
    numbers[0, 2:6, 2:6] = numbers[1, 8:14, 8:14] = 5
    peaks, offsets = center_targets(numbers)
    for index in range(2):
        alone = center_targets(numbers[index : index + 1])
        np.testing.assert_array_equal(peaks[index], alone[0][0])
        np.testing.assert_array_equal(offsets[index], alone[1][0])


def test_what_leads_far_away_from_each_center_is_no_part_of_an_object():
    numbers = np.zeros([60, 80], int)
    numbers[5:15, 5:15], numbers[40:44, 70:74] = 1, 2
    peaks, offsets = (values.numpy()[0] for values in center_targets(numbers[np.newaxis]))
    peaks[numbers == 2] = 0
    found = group(
        tf.constant(np.eye(3, dtype=np.float32)[(numbers > 0).astype(int)]),
        tf.constant(peaks),
        tf.constant(offsets),
        IS_THING,
        kernel=5,
        least_peak=0.5,
        least_area=1,
    )
    assert (found.numbers.numpy() == (numbers == 1)).all()
    assert (found.class_ids.numpy() == (numbers == 1)).all()
