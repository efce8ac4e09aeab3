"""PNG files of labels, read by Pillow and by TensorFlow."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from data.decoding.label_png import encode_labels


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (5, 1), (33, 70)])
def test_what_was_written_is_read(kind, shape):
    labels = np.random.default_rng(0).integers(0, np.iinfo(kind).max, shape, kind, endpoint=True)
    for values in (labels, np.asfortranarray(labels), labels[::-1]):
        content = encode_labels(values)
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(content))), values)
        assert np.array_equal(tf.io.decode_png(content, dtype=tf.as_dtype(kind)).numpy()[..., 0], values)


def test_it_is_as_small_as_pillows():
    labels = np.zeros((200, 300), np.uint16)
    rows, columns = np.indices(labels.shape)
    for index in range(40):
        labels[(rows - 5 * index) ** 2 + (columns - 53 * index % 300) ** 2 < 20 * index] = index
    buffer = io.BytesIO()
    Image.fromarray(labels).save(buffer, format="PNG")
    assert len(encode_labels(labels)) < 1.5 * len(buffer.getvalue())
