import numpy as np
import tensorflow as tf

from models.metrics import confusion_matrix
from models.signatures import _confusion_matrices


def test_confusion_matrices_are_those_of_the_reference():
    generator = np.random.default_rng(0)
    labels = generator.choice(np.array([0, 1, 2, 3, 255], np.uint8), [5, 7, 9])
    labels[2] = 255
    class_ids = generator.integers(0, 4, [5, 7, 9]).astype(np.uint8)
    class_ids[labels == 255] = 255  # Beside an image there is neither.
    found = tf.function(_confusion_matrices)(tf.constant(labels), tf.constant(class_ids), 4)
    assert found.dtype == tf.int64
    for matrix, label, ids in zip(found.numpy(), labels, class_ids, strict=True):
        np.testing.assert_array_equal(matrix, confusion_matrix(label, ids, 4))
    assert found.numpy()[2].sum() == 0
