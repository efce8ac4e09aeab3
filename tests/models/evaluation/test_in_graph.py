import numpy as np
import pytest
import tensorflow as tf

from models.evaluation import in_graph, metrics


def maps(shape, num_classes, seed=0):
    """Labels and predictions of a few regions each."""
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, num_classes, [2, shape[0], -(-shape[1] // 5), -(-shape[2] // 5)])
    return coarse.repeat(5, axis=2).repeat(5, axis=3)[:, :, : shape[1], : shape[2]].astype(np.uint8)


def test_confusion_matrices_are_those_of_the_reference():
    labels, class_ids = maps([5, 17, 19], 4)
    labels[:, :3] = 255
    labels[2] = 255
    class_ids[labels == 255] = 255  # Beside an image there is neither.
    found = tf.function(in_graph.confusion_matrices)(tf.constant(labels), tf.constant(class_ids), 4)
    assert found.dtype == tf.int64
    for matrix, label, ids in zip(found.numpy(), labels, class_ids, strict=True):
        np.testing.assert_array_equal(matrix, metrics.confusion_matrix(label, ids, 4))
    assert found.numpy()[2].sum() == 0


@pytest.mark.parametrize("shape", [(3, 60, 90), (8, 4, 3)])
def test_boundary_totals_are_those_of_the_reference(shape):
    labels, class_ids = maps(shape, 3)
    labels[:, : shape[1] // 3, : shape[2] // 2] = 255
    found = tf.function(in_graph.boundary_totals)(tf.constant(labels), tf.constant(class_ids), 3)
    assert found.dtype == tf.int64
    for totals, label, ids in zip(found.numpy(), labels, class_ids, strict=True):
        np.testing.assert_array_equal(totals, metrics.boundary_totals(label, ids, 3))
    assert (found.numpy().sum(axis=(0, 2)) > 0).all()


def test_sizes_come_from_the_header():
    masks = [tf.io.encode_png(np.zeros([*size, 1], np.uint8)).numpy() for size in ((300, 2), (1, 70_000))]
    assert in_graph.image_sizes(tf.constant(masks)).numpy().tolist() == [[300, 2], [1, 70_000]]
