import numpy as np
import pytest
import tensorflow as tf

from data.contract import CROWD, IGNORE_LABEL
from models.instances.loss import ClassesMeanIoU, ObjectLoss
from models.instances.targets import training_targets
from models.losses.cross_entropy import CrossEntropy
from models.losses.segmentation_loss import SegmentationLoss

IS_THING, UNIT = (False, True), 4.0


def label(with_unknown=False):
    """[2, 12, 12, 2]: an object in each image; a crowd and pixels without a label in the second one."""
    class_ids, numbers = np.zeros([2, 12, 12], np.int32), np.zeros([2, 12, 12], np.int32)
    class_ids[:, 2:7, 3:9], numbers[:, 2:7, 3:9] = 1, 5
    if with_unknown:
        class_ids[1, 9:], numbers[1, 9:] = 1, CROWD
        class_ids[1, :, 11], numbers[1, :, 11] = IGNORE_LABEL, IGNORE_LABEL
    return np.stack([class_ids, numbers], axis=-1)


def maps(targets, error=0.0):
    """The maps of a network that is right, up to an error of peaks and ways."""
    class_ids = np.where(targets[..., 0] == IGNORE_LABEL, 0, targets[..., 0]).astype(int)
    logits = 50 * np.eye(2, dtype=np.float32)[class_ids]
    return np.concatenate([logits, targets[..., 2:] + error], axis=-1).astype(np.float32)


LOSS = ObjectLoss(SegmentationLoss([CrossEntropy()]))


def test_right_maps_cost_nothing_and_ways_are_in_the_unit():
    targets = training_targets(label(), IS_THING, UNIT).numpy()
    assert LOSS(targets, maps(targets)).numpy() == pytest.approx(0, abs=1e-6)
    # From the corner of the object to its center, the pixel in row 4 and column 5.
    assert targets[0, 2, 3, 3:].tolist() == [2 / UNIT, 2 / UNIT]
    # An error of the ways in both directions, and one of the peaks, on all pixels.
    assert LOSS(targets, maps(targets, 0.1)).numpy() == pytest.approx(10 * 0.01 + 2 * 0.1, rel=1e-4)


def test_where_nobody_knows_maps_may_be_anything():
    targets = training_targets(label(with_unknown=True), IS_THING, UNIT).numpy()
    predicted = maps(targets)
    predicted[1, 9:, :, 2:] = predicted[1, :, 11, 2:] = 7
    # Ways where there is no object.
    predicted[0, 10:, :, 3:] = 7
    assert LOSS(targets, predicted).numpy() == pytest.approx(0, abs=1e-6)
    predicted[0, 10, 0, 2] = 7
    assert LOSS(targets, predicted).numpy() > 0.1


def test_the_metric_looks_at_the_classes_alone():
    targets = training_targets(label(with_unknown=True), IS_THING, UNIT)
    metric = ClassesMeanIoU(2)
    metric.update_state(targets, tf.constant(maps(targets.numpy(), error=3.0)))
    assert metric.result() == 1
