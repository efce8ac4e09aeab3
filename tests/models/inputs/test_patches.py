import numpy as np
import pytest
import tensorflow as tf

from data.contract import IGNORE_LABEL, IMAGE, MASK, SOURCE_ID
from models.inputs import preprocessing
from models.inputs.input_pipeline import evaluation_batches, training_batches
from models.inputs.order import TrainingOrder
from models.inputs.patches import Patches
from models.inputs.settings import AugmentationSettings, PreprocessingSettings
from models.training.multi_worker import Worker
from models.training.settings import TrainSettings

SHAPE = PreprocessingSettings(height=16, width=24, channels=3, resize="none")
SIZES = [(40, 60), (16, 24), (7, 100), (50, 9), (17, 25)]
NO_CHANGE = AugmentationSettings(
    flip_horizontal=False, rotation_degrees=0, scale=1, brightness=0, contrast=0, saturation=0
)
RARE = (33, 51)


def images_and_labels():
    """Each pixel tells where it is: row, column and image; class 2 is a single pixel of the first image."""
    for number, (height, width) in enumerate(SIZES):
        rows, columns = np.mgrid[:height, :width]
        image = np.stack([rows, columns, np.full_like(rows, number)], axis=-1).astype(np.uint8)
        label = (columns % 2).astype(np.uint8)
        if number == 0:
            label[RARE] = 2
        label[0, 0] = IGNORE_LABEL
        yield image, label


def transform(features):
    """Stands for the transform graph."""
    rows = [tf.size(features[IMAGE]), 3]
    return {
        preprocessing.PIXELS: features[IMAGE],
        preprocessing.LABEL: features[MASK],
        preprocessing.MEAN: tf.tile([[10.0, 20.0, 30.0]], [rows[0], 1]),
        preprocessing.SCALE: tf.ones(rows),
    }


@pytest.fixture(params=["memory", "disk"])
def patches(request, tmp_path):
    path = str(tmp_path / "records")
    with tf.io.TFRecordWriter(path) as writer:
        for number, (image, label) in enumerate(images_and_labels()):
            values = {
                IMAGE: tf.io.serialize_tensor(image).numpy(),
                MASK: tf.io.serialize_tensor(label[..., np.newaxis]).numpy(),
                SOURCE_ID: f"image {number}".encode(),
            }
            feature = {
                name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value])) for name, value in values.items()
            }
            writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())
    pixels = sum(height * width for height, width in SIZES)
    return Patches([path], transform, SHAPE, len(SIZES), pixels, "" if request.param == "memory" else str(tmp_path))


def places(image):
    """[batch, 16, 24, 3] row, column and number of the image, from normalized pixels."""
    return np.round(np.add(image, [10, 20, 30])).astype(int)


def test_windows_count_each_pixel_once(patches):
    assert patches.count == sum(-(-height // 16) * -(-width // 24) for height, width in SIZES)
    counted = [np.zeros(size, int) for size in SIZES]
    labels = [label for _, label in images_and_labels()]
    for image, label in evaluation_batches(patches, 4):
        label = label.numpy()
        for row, column, number, class_id in zip(*np.moveaxis(places(image), -1, 0), label, strict=True):
            inside = class_id != IGNORE_LABEL
            for position in zip(row[inside], column[inside], number[inside], class_id[inside], strict=True):
                counted[position[2]][position[:2]] += 1
                assert labels[position[2]][position[:2]] == position[3]
    for times, label in zip(counted, labels, strict=True):
        np.testing.assert_array_equal(times, label != IGNORE_LABEL)


def test_random_patches_are_windows_of_an_image_in_the_means_colour_as_many_of_each(patches):
    labels = [label for _, label in images_and_labels()]
    indices = tf.range(patches.count, dtype=tf.int64)
    for seed in range(20):
        image, label = patches.take(indices, tf.constant([seed, 0]))
        assert image.shape == (patches.count, 16, 24, 3)
        assert np.ptp(np.bincount(places(image)[:, 0, 0, 2], minlength=len(SIZES))) <= 1
        for place, found in zip(places(image), label.numpy(), strict=True):
            number = place[0, 0, 2]
            height, width = np.minimum(SIZES[number], [16, 24])
            top, left = place[0, 0, :2]
            np.testing.assert_array_equal(
                found[:height, :width], labels[number][top : top + height, left : left + width]
            )
            assert (place[:height, :width, 2] == number).all()
            assert (found[height:] == IGNORE_LABEL).all()
            assert (found[:, width:] == IGNORE_LABEL).all()
            assert (place[height:] == [10, 20, 30]).all()


def test_rare_classes_are_often_in_a_patch(patches):
    of_first = tf.zeros([600], tf.int64)
    image, label = patches.take(of_first, tf.constant([1, 2]))
    has_rare = (label.numpy() == 2).any(axis=(1, 2))
    # A third of the patches has one of three classes in its middle; others show the pixel as often as by chance.
    rows, columns = 40 - 16 + 1, 60 - 24 + 1
    by_chance = (40 - RARE[0]) / rows * (60 - RARE[1]) / columns
    assert by_chance < 0.08
    assert has_rare.mean() == pytest.approx(1 / 9 + 8 / 9 * by_chance, abs=0.06)
    corners = places(image)[:, 0, 0, :2]
    assert corners.min(axis=0).tolist() == [0, 0]
    assert corners.max(axis=0).tolist() == [rows - 1, columns - 1]


def test_patches_are_a_function_of_seed_and_step(patches):
    settings = TrainSettings(batch_size=4, augmentation=NO_CHANGE)
    order = TrainingOrder(patches.count, 4, settings.seed)
    whole = list(training_batches(patches, order, settings, 0).take(12))
    rest = list(training_batches(patches, order, settings, 5).take(7))
    for (image, label), (expected_image, expected_label) in zip(rest, whole[5:], strict=True):
        np.testing.assert_array_equal(image, expected_image)
        np.testing.assert_array_equal(label, expected_label)
    first, second = (patches.take(tf.zeros([50], tf.int64), tf.constant([seed, 0]))[0].numpy() for seed in range(2))
    assert (first != second).any()


def test_workers_cut_the_patches_that_one_would(patches):
    settings = TrainSettings(batch_size=4, augmentation=NO_CHANGE)
    order = TrainingOrder(patches.count, 4, settings.seed)
    (whole,) = training_batches(patches, order, settings, 3).take(1)
    shares = [next(iter(training_batches(patches, order, settings, 3, worker=Worker(w, 2)))) for w in range(2)]
    for parts, expected in zip(zip(*shares, strict=True), whole, strict=True):
        np.testing.assert_array_equal(np.concatenate(parts), expected)


def test_classes_are_those_of_the_image(patches):
    shown = patches.classes_shown(3)
    assert shown.shape == (patches.count, 3)
    drawn, _ = patches.take(tf.range(patches.count, dtype=tf.int64), tf.constant([0, 0]))
    np.testing.assert_array_equal(shown[:, 2], places(drawn)[:, 0, 0, 2] == 0)
    assert shown[:, :2].all()


def test_selected_images_keep_their_patches(patches):
    chosen = [4, 1, 2]
    selected = patches.select(np.array(chosen))
    assert selected.count == sum(-(-SIZES[number][0] // 16) * -(-SIZES[number][1] // 24) for number in chosen)
    assert patches.count > selected.count
    indices = np.arange(selected.count)
    for name, image, label in zip(selected.source_ids(indices), *selected.take(tf.constant(indices)), strict=True):
        number = int(name.removeprefix("image "))
        assert number in chosen
        assert set(places(image)[label != IGNORE_LABEL][:, 2]) == {number}
    assert sorted(set(selected.source_ids(indices))) == sorted(f"image {number}" for number in chosen)
    assert not selected.classes_shown(3)[:, 2].any()
    assert selected.groups() == [f"image {number}" for number in chosen]
    # Those of a part of the part.
    assert set(selected.select(np.array([0])).source_ids(np.array([0]))) == {"image 4"}
