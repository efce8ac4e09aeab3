import collections

import numpy as np
import pytest
import tensorflow as tf

from data.base.errors import UserError
from data.contract import GROUP, IGNORE_LABEL, IMAGE, MASK, SOURCE_ID, example_name
from models.inputs import input_pipeline, preprocessing
from models.inputs.augmentation import halve
from models.inputs.order import TrainingOrder, class_balanced_copies
from models.inputs.settings import AugmentationSettings, PreprocessingSettings
from models.training.multi_worker import ALONE, Worker
from models.training.settings import TrainSettings

SHAPE = PreprocessingSettings(height=16, width=16, channels=1)
NO_CHANGE = AugmentationSettings(
    flip_horizontal=False, rotation_degrees=0, scale=1, brightness=0, contrast=0, saturation=0
)


def transform(features):
    """Stands for the transform graph: an example's image and mask are one number each."""
    number = tf.strings.to_number(features[IMAGE], tf.int64)
    ones = tf.ones([tf.size(number), 16, 16], tf.int64)
    return {
        preprocessing.PIXELS: (number[:, None, None] * ones)[..., None],
        preprocessing.LABEL: tf.strings.to_number(features[MASK], tf.int64)[:, None, None] * ones,
        preprocessing.MEAN: tf.ones([tf.size(number), 1]),
        preprocessing.SCALE: tf.fill([tf.size(number), 1], 2.0),
    }


@pytest.fixture
def files(tmp_path):
    """50 examples in three files, one of them gzipped: images are 0 to 49, labels 0 and 1 in turns."""
    for index, suffix in enumerate(["", ".gz", ""]):
        options = tf.io.TFRecordOptions(compression_type="GZIP" if suffix else "")
        with tf.io.TFRecordWriter(str(tmp_path / f"records-{index}{suffix}"), options) as writer:
            for number in range(index, 50, 3):
                feature = {
                    name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[str(value).encode()]))
                    for name, value in ((IMAGE, number), (MASK, number % 2), (SOURCE_ID, f"example {number}"))
                }
                example = tf.train.Example(features=tf.train.Features(feature=feature))
                writer.write(example.SerializeToString())
    return [str(tmp_path / f"records-{index}{suffix}") for index, suffix in enumerate(["", ".gz", ""])]


def numbers(image):
    """The images' numbers, from pixels normalized by mean 1 and scale 2."""
    return (np.asarray(image)[:, 0, 0, 0] / 2 + 1).round().astype(int).tolist()


def examples(files, tmp_path, cache):
    """With the cache `memory`, on `disk`, or `none`."""
    plain = [name for name in files if cache != "none" or "gz" not in name]
    count = 50 if len(plain) == len(files) else 33
    place = {"memory": "", "disk": str(tmp_path), "none": None}[cache]
    return input_pipeline.DecodedExamples(plain, transform, SHAPE, count, place)


CACHES = pytest.mark.parametrize("cache", ["memory", "disk", "none"])


@CACHES
def test_each_epoch_has_every_example_once_in_another_order(files, tmp_path, cache):
    settings = TrainSettings(batch_size=5, augmentation=NO_CHANGE)
    decoded = examples(files, tmp_path, cache)
    order = TrainingOrder(decoded.count, 5, settings.seed)
    batches = iter(input_pipeline.training_batches(decoded, order, settings, 0))
    epochs = []
    for _ in range(3):
        drawn = [numbers(next(batches)[0]) for _ in range(order.steps_per_epoch)]
        epochs.append([number for batch in drawn for number in batch])
    everything = sorted(numbers(decoded.take(tf.range(decoded.count, dtype=tf.int64))[0]))
    for epoch in epochs:
        assert sorted(epoch[: decoded.count]) == everything
        # The last batch is filled from the beginning.
        assert epoch[decoded.count :] == epoch[: len(epoch) - decoded.count]
        assert epoch != sorted(epoch)
    assert epochs[0] != epochs[1] != epochs[2]


@CACHES
def test_batches_from_a_step_on_are_those_of_a_run_that_came_there(files, tmp_path, cache):
    settings = TrainSettings(batch_size=5)
    decoded = examples(files, tmp_path, cache)
    order = TrainingOrder(decoded.count, 5, settings.seed)
    whole = list(input_pipeline.training_batches(decoded, order, settings, 0).take(24))
    for step in (1, order.steps_per_epoch, 17):
        rest = list(input_pipeline.training_batches(decoded, order, settings, step).take(24 - step))
        for (image, label), (expected_image, expected_label) in zip(rest, whole[step:], strict=True):
            np.testing.assert_array_equal(image, expected_image)
            np.testing.assert_array_equal(label, expected_label)


@CACHES
def test_a_step_names_its_images(files, tmp_path, cache):
    settings = TrainSettings(batch_size=5, augmentation=NO_CHANGE)
    decoded = examples(files, tmp_path, cache)
    order = TrainingOrder(decoded.count, 5, settings.seed)
    for step, (image, _) in enumerate(input_pipeline.training_batches(decoded, order, settings, 0).take(15)):
        assert decoded.source_ids(order.step(step)) == [f"example {number}" for number in numbers(image)]


@CACHES
def test_selected_images_are_taken_without_the_others(files, tmp_path, cache):
    decoded = examples(files, tmp_path, cache)
    chosen = np.array([20, 3, 17, 8])
    names = decoded.source_ids(chosen)
    selected = decoded.select(chosen)
    assert selected.count == 4
    image, label = selected.take(tf.constant([3, 0, 1, 2], tf.int64))
    assert [f"example {number}" for number in numbers(image)] == [names[index] for index in (3, 0, 1, 2)]
    np.testing.assert_array_equal(label[:, 0, 0], [number % 2 for number in numbers(image)])
    assert selected.source_ids(np.arange(4)) == names
    # Without groups, each image is one of its own.
    assert selected.groups() == names
    (all_of_a_part,) = input_pipeline.evaluation_batches(selected.select(np.array([2, 1])), 5)
    assert [f"example {number}" for number in numbers(all_of_a_part[0])] == [names[2], names[1]]
    if cache != "none":
        np.testing.assert_array_equal(selected.classes_shown(2), decoded.classes_shown(2)[chosen])


@CACHES
def test_groups_stand_before_names_and_a_checksum_for_what_has_neither(tmp_path, cache):
    path = str(tmp_path / "records")
    features = [{SOURCE_ID: "a", GROUP: "patient"}, {SOURCE_ID: "b"}, {}]
    with tf.io.TFRecordWriter(path) as writer:
        for of_example in features:
            values = {IMAGE: "1", MASK: "0", **of_example}
            feature = {
                name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value.encode()]))
                for name, value in values.items()
            }
            writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())
    place = {"memory": "", "disk": str(tmp_path), "none": None}[cache]
    decoded = input_pipeline.DecodedExamples([path], transform, SHAPE, 3, place)
    checksum = example_name(b"", b"1")
    assert decoded.source_ids(np.arange(3)) == ["a", "b", checksum]
    assert decoded.groups() == ["patient", "b", checksum]


def test_another_seed_gives_another_order():
    first, second = (TrainingOrder(50, 5, seed).epoch(0).numpy() for seed in (0, 1))
    assert first.tolist() != second.tolist()


WORKERS = [Worker(index, 2, replicas=2) for index in range(2)]


@pytest.mark.parametrize("place", ["host", "device"])
def test_workers_and_their_replicas_draw_what_one_would(files, tmp_path, place):
    settings = TrainSettings(batch_size=7, augment_on=place, augmentation=AugmentationSettings(brightness=1.0))
    decoded = examples(files, tmp_path, "none")
    order = TrainingOrder(decoded.count, 7, settings.seed)
    prepared = input_pipeline.prepared_on_device(decoded, settings)

    def batches(count, worker=ALONE):
        found = input_pipeline.training_batches(decoded, order, settings, 2, worker=worker)
        return [prepared(*batch) for batch in found.take(count)]

    whole = [np.concatenate(parts) for parts in zip(*batches(3), strict=True)]
    first, second = (batches(6, worker) for worker in WORKERS)
    assert [len(image) for image, _ in (*first[:2], *second[:2])] == [1, 2, 2, 2]
    in_turn = [batch for step in range(0, 6, 2) for batch in (*first[step : step + 2], *second[step : step + 2])]
    for parts, expected in zip(zip(*in_turn, strict=True), whole, strict=True):
        np.testing.assert_allclose(np.concatenate(parts), expected, atol=1e-5)


def test_workers_decode_their_share_alone(files, tmp_path):
    evaluated = []
    for worker in WORKERS:
        decoded_images = collections.Counter()

        def counting(features, counter=decoded_images):
            tf.py_function(lambda images: counter.update(images=len(images)), [features[IMAGE]], [])
            return transform(features)

        decoded = input_pipeline.DecodedExamples([files[0], files[2]], counting, SHAPE, 33, None)
        batches = list(input_pipeline.evaluation_batches(decoded, 8, replicas=4, worker=worker))
        # Of each of five batches, the last of which has one image, and is filled up.
        assert decoded_images["images"] == 20
        assert [len(image) for image, _ in batches] == [2] * 10
        for image, label in batches:
            counts = np.asarray(label)[:, 0, 0] != IGNORE_LABEL
            evaluated += np.array(numbers(image))[counts].tolist()
    assert sorted(evaluated) == sorted([*range(0, 50, 3), *range(2, 50, 3)])


def test_the_cache_decodes_once_and_no_cache_decodes_each_time(files, tmp_path):
    for cache, expected in (("memory", 50), ("disk", 50), ("none", 66)):
        decoded_images = collections.Counter()

        def counting(features, counter=decoded_images):
            tf.py_function(lambda images: counter.update(images=len(images)), [features[IMAGE]], [])
            return transform(features)

        plain = [name for name in files if cache != "none" or "gz" not in name]
        place = {"memory": "", "disk": str(tmp_path), "none": None}[cache]
        count = 50 if cache != "none" else 33
        decoded = input_pipeline.DecodedExamples(plain, counting, SHAPE, count, place)
        for _ in range(2):
            assert sum(len(image) for image, _ in input_pipeline.evaluation_batches(decoded, 7)) == count
        assert decoded_images["images"] == expected


@CACHES
def test_evaluation_keeps_the_last_batch_and_normalizes(files, tmp_path, cache):
    decoded = examples(files, tmp_path, cache)
    batches = list(input_pipeline.evaluation_batches(decoded, 16))
    assert [len(image) for image, _ in batches] == ([16, 16, 1] if cache == "none" else [16, 16, 16, 2])
    image, label = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    assert image.dtype == np.float32
    assert len(set(numbers(image))) == decoded.count
    np.testing.assert_array_equal(label[:, 0, 0], np.array(numbers(image)) % 2)


def test_images_of_half_the_size_are_means_of_four_pixels():
    image = np.random.default_rng(0).normal(size=[2, 5, 6, 3]).astype(np.float32)
    label = np.random.default_rng(1).integers(0, 3, [2, 5, 6]).astype(np.uint8)
    halved, halved_label = halve(tf.constant(image), tf.constant(label), 1)
    assert halved.shape == (2, 3, 3, 3)
    np.testing.assert_allclose(halved[:, :2], image[:, :4].reshape(2, 2, 2, 3, 2, 3).mean(axis=(2, 4)), rtol=1e-5)
    np.testing.assert_allclose(halved[:, 2], image[:, 4].reshape(2, 3, 2, 3).mean(axis=2), rtol=1e-5)
    np.testing.assert_array_equal(halved_label, label[:, [0, 2, 4]][:, :, [0, 2, 4]])
    twice = halve(*halve(tf.constant(image), tf.constant(label), 1), 1)
    for once, both in zip(twice, halve(tf.constant(image), tf.constant(label), 2), strict=True):
        np.testing.assert_array_equal(once, both)


def test_rare_classes_are_shown_more_often():
    shown = np.zeros([20, 3], bool)
    shown[:, 0] = True
    shown[:10, 1] = True  # In half of the images, so not rare.
    shown[3, 2] = True  # In one of twenty.
    copies = class_balanced_copies(shown)
    np.testing.assert_allclose(copies, np.where(np.arange(20) == 3, np.sqrt(0.5 / 0.05), 1))

    order = TrainingOrder(20, 5, 0, copies)
    assert order.steps_per_epoch == 4
    drawn = np.concatenate([order.epoch(epoch).numpy() for epoch in range(400)])
    share = (drawn == 3).mean()
    assert share == pytest.approx(copies[3] / copies.sum(), rel=0.1)


def test_classes_shown_are_those_in_the_labels(files, tmp_path):
    shown = examples(files, tmp_path, "memory").classes_shown(3)
    assert sorted(shown.tolist()) == 25 * [[False, True, False]] + 25 * [[True, False, False]]


@pytest.mark.parametrize(
    ("cache", "num_bytes", "expected"),
    [("auto", 10**6, "memory"), ("auto", 10**15, "none"), ("disk", 10, "disk"), ("none", 10, "none")],
)
def test_where_decoded_images_are_kept(cache, num_bytes, expected):
    assert input_pipeline.resolve_cache(TrainSettings(cache=cache), SHAPE, num_bytes, ["train"]) == expected


@pytest.mark.parametrize(
    ("settings", "resize", "path", "reason"),
    [
        ({"sampling": "class_balanced"}, "stretch", "train", "all masks"),
        ({}, "stretch", "train.gz", "gzipped"),
        ({}, "none", "train", "patches"),
    ],
)
def test_what_needs_a_cache_gets_one_or_says_so(settings, resize, path, reason):
    shape = SHAPE.model_copy(update={"resize": resize})
    auto = TrainSettings.model_validate({"cache": "auto", **settings})
    assert input_pipeline.resolve_cache(auto, shape, 10**15, [path]) == "disk"
    none = TrainSettings.model_validate({"cache": "none", **settings})
    with pytest.raises(UserError, match=reason):
        input_pipeline.resolve_cache(none, shape, 10, [path])
