import collections

import numpy as np
import pytest
import tensorflow as tf

from data.contract import IGNORE_LABEL, IMAGE, MASK
from models import input_pipeline, preprocessing
from models.settings import AugmentationSettings, PreprocessingSettings, TrainSettings

SHAPE = PreprocessingSettings(height=16, width=16, channels=1)
NO_CHANGE = AugmentationSettings(flip_horizontal=False, rotation_degrees=0, scale=1)


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
                    for name, value in ((IMAGE, number), (MASK, number % 2))
                }
                example = tf.train.Example(features=tf.train.Features(feature=feature))
                writer.write(example.SerializeToString())
    return [str(tmp_path / "records*")]


def numbers(image):
    """The images' numbers, from pixels normalized by mean 1 and scale 2."""
    return (np.asarray(image)[:, 0, 0, 0] / 2 + 1).round().astype(int).tolist()


@pytest.mark.parametrize("cache", [None, "", "disk"])
def test_each_epoch_has_every_example_once_in_another_order(files, tmp_path, cache):
    settings = TrainSettings(batch_size=5, augmentation=NO_CHANGE)
    decoded = input_pipeline.examples(files, transform, str(tmp_path / "cache") if cache else cache)
    batches = iter(input_pipeline.training_batches(decoded, settings, SHAPE, 50, None))
    epochs = [[number for _ in range(10) for number in numbers(next(batches)[0])] for _ in range(3)]
    for epoch in epochs:
        assert sorted(epoch) == list(range(50))
        assert epoch != sorted(epoch)
    assert epochs[0] != epochs[1] != epochs[2]


def test_the_cache_decodes_once_and_no_cache_decodes_each_time(files, tmp_path):
    for cache, expected in (("", 50), (str(tmp_path / "cache"), 50), (None, 100)):
        decoded_images = collections.Counter()

        def counting(features, counter=decoded_images):
            tf.py_function(lambda images: counter.update(images=len(images)), [features[IMAGE]], [])
            return transform(features)

        decoded = input_pipeline.examples(files, counting, cache)
        for _ in range(2):
            assert sum(len(image) for image, _ in input_pipeline.evaluation_batches(decoded, 7)) == 50
        assert decoded_images["images"] == expected


def test_evaluation_keeps_the_last_batch_and_normalizes(files):
    batches = list(input_pipeline.evaluation_batches(input_pipeline.examples(files, transform, None), 16))
    assert [len(image) for image, _ in batches] == [16, 16, 16, 2]
    image, label = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    assert image.dtype == np.float32
    assert sorted(numbers(image)) == list(range(50))
    np.testing.assert_array_equal(label[:, 0, 0], np.array(numbers(image)) % 2)


def test_pixels_are_weighted_by_their_class_and_ignored_ones_weigh_nothing(files):
    # Zoomed far out, so that most of each view comes from outside the image.
    augmentation = NO_CHANGE.model_copy(update={"scale": 4.0})
    settings = TrainSettings(batch_size=50, augmentation=augmentation)
    decoded = input_pipeline.examples(files, transform, None)
    batches = input_pipeline.training_batches(decoded, settings, SHAPE, 50, np.array([0.5, 3.0]))
    _, label, weight = (part.numpy() for part in next(iter(batches)))
    for value, expected in ((0, 0.5), (1, 3.0), (IGNORE_LABEL, 0.0)):
        assert (label == value).any()
        assert (weight[label == value] == expected).all()


@pytest.mark.parametrize(
    ("cache", "count", "expected"),
    [("auto", 1000, "memory"), ("auto", 10**12, "none"), ("disk", 10, "disk"), ("none", 10, "none")],
)
def test_where_decoded_images_are_kept(cache, count, expected):
    assert input_pipeline.resolve_cache(TrainSettings(cache=cache), SHAPE, count) == expected
