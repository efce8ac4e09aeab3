"""Objects from TFRecords to what the model learns."""

import numpy as np
import pytest
import tensorflow as tf

from data.contract import IGNORE_LABEL
from models.inputs import preprocessing
from models.inputs.augmentation import augment
from models.inputs.input_pipeline import DecodedExamples, evaluation_batches, training_batches
from models.inputs.order import TrainingOrder
from models.inputs.patches import Patches
from models.inputs.settings import AugmentationSettings, PreprocessingSettings
from models.instances.scale import ObjectScale
from models.instances.targets import training_targets
from models.serving import signatures
from models.training.settings import TrainSettings
from tests.scenes import write_scenes

NO_CHANGE = AugmentationSettings(
    flip_horizontal=False, rotation_degrees=0, scale=1, brightness=0, contrast=0, saturation=0
)
SCALE = ObjectScale((False, False, True, True), unit=8.0, kernel=5, least_area=4)
HEIGHT, WIDTH = 40, 56


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    folder = tmp_path_factory.mktemp("objects") / "records"
    write_scenes(folder, {"train": 6}, HEIGHT, WIDTH)
    return str(folder / "train-00000-of-00001.tfrecord")


def labels(records):
    """[6, height, width, 2] of all examples."""
    parsed = tf.io.parse_example(
        list(tf.data.TFRecordDataset(records).as_numpy_iterator()), signatures.feature_spec(True)
    )
    masks = [tf.io.decode_png(mask)[..., 0].numpy() for mask in parsed["image/segmentation/class/encoded"]]
    instances = parsed["image/panoptic/instance_mask"].values
    objects = [tf.io.decode_png(content, 1, tf.uint16)[..., 0].numpy() for content in instances]
    return np.stack([np.stack(masks), np.stack(objects)], axis=-1).astype(np.int32)


def transform(shape):
    """The transform graph without its statistics."""

    def call(features):
        custom_config = {**shape.model_dump(), "objects": True}
        batch = tf.size(features["image/encoded"])
        mean, scale = tf.ones([batch, 3]), tf.ones([batch, 3])
        original, preprocessing._mean_and_scale = preprocessing._mean_and_scale, lambda *_: (mean, scale)
        try:
            return preprocessing.preprocessing_fn(features, custom_config)
        finally:
            preprocessing._mean_and_scale = original

    return call


def examples(records, cache, resize="stretch"):
    shape = PreprocessingSettings(
        height=HEIGHT if resize != "none" else 16, width=WIDTH if resize != "none" else 24, resize=resize
    )
    if resize == "none":
        return Patches([records], transform(shape), shape, 6, 6 * HEIGHT * WIDTH, cache, SCALE)
    return DecodedExamples([records], transform(shape), shape, 6, cache, SCALE)


@pytest.mark.parametrize("cache", ["memory", "disk", "none"])
def test_labels_have_the_objects(records, tmp_path, cache):
    decoded = examples(records, {"memory": "", "disk": str(tmp_path), "none": None}[cache])
    _, label = decoded.take(tf.constant([4, 1]))
    np.testing.assert_array_equal(label, labels(records)[[4, 1]])


def test_the_model_learns_the_targets_of_what_was_halved_and_augmented(records):
    decoded = examples(records, "")
    order = TrainingOrder(6, 3, 0)
    settings = TrainSettings(batch_size=3, augmentation=NO_CHANGE)
    _, targets = next(iter(training_batches(decoded, order, settings, 0, halvings=1)))
    expected = training_targets(labels(records)[order.step(0)][:, ::2, ::2], SCALE.is_thing, SCALE.unit)
    np.testing.assert_allclose(targets, expected)
    evaluated = [targets for _, targets in evaluation_batches(decoded, 4, replicas=4)]
    assert [tuple(part.shape) for part in evaluated] == [(4, HEIGHT, WIDTH, 5), (4, HEIGHT, WIDTH, 5)]
    assert (evaluated[1][2:, ..., 0] == IGNORE_LABEL).numpy().all()
    assert (evaluated[1][2:, ..., 1] == -1).numpy().all()


def test_patches_cut_objects_with_their_classes(records, tmp_path):
    patches = examples(records, str(tmp_path), "none")
    whole = labels(records)
    _, cut = patches.take(tf.range(patches.count, dtype=tf.int64))
    counted = cut.numpy()[cut.numpy()[..., 0] != IGNORE_LABEL]
    # Each pixel is in one window.
    np.testing.assert_array_equal(
        *(np.unique(all_.reshape(-1, 2), axis=0, return_counts=True)[1] for all_ in (counted, whole))
    )
    _, drawn = patches.take(tf.constant([0, 5], tf.int64), tf.constant([1, 2]))
    pairs = {tuple(pair) for pair in whole.reshape(-1, 2).tolist()}
    assert {tuple(pair) for pair in drawn.numpy().reshape(-1, 2).tolist()} <= pairs


def test_augmentation_moves_numbers_of_16_bits_with_their_classes():
    generator = np.random.default_rng(0)
    class_ids = generator.integers(0, 4, [3, HEIGHT, WIDTH])
    label = np.stack([class_ids, 60_000 + class_ids], axis=-1).astype(np.int32)
    image = np.zeros([3, HEIGHT, WIDTH, 3], np.float32)
    amounts = AugmentationSettings().of_images(PreprocessingSettings())
    _, moved = augment(tf.constant(image), tf.constant(label), tf.constant([1, 2]), **amounts)
    class_ids, numbers = moved.numpy()[..., 0], moved.numpy()[..., 1]
    inside = class_ids != IGNORE_LABEL
    assert (~inside).sum() > 0
    np.testing.assert_array_equal(numbers[inside], 60_000 + class_ids[inside])
