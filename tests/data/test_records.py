import pytest
import tensorflow as tf

from data.base.errors import UserError
from data.contract import IMAGE, SOURCE_ID
from data.records import first_value, read_features


def write(path, *records, compression=""):
    with tf.io.TFRecordWriter(str(path), compression) as writer:
        for record in records:
            writer.write(record)


def example(name):
    found = tf.train.Example()
    found.features.feature[SOURCE_ID].bytes_list.value.append(name)
    return found.SerializeToString()


@pytest.mark.parametrize(("name", "compression"), [("a.tfrecord", ""), ("a.tfrecord.gz", "GZIP")])
def test_examples_come_in_order_and_what_is_missing_is_empty(name, compression, tmp_path):
    write(tmp_path / name, example(b"one"), example(b"two"), compression=compression)
    found = list(read_features(str(tmp_path / name)))
    assert [first_value(features, SOURCE_ID) for features in found] == [b"one", b"two"]
    assert [first_value(features, IMAGE) for features in found] == [b"", b""]


def test_what_cannot_be_read_is_one_sentence_with_the_file(tmp_path):
    path = tmp_path / "a.tfrecord"
    write(path, example(b"one"), example(b"two"))
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(
        UserError, match=r"a\.tfrecord is damaged, perhaps not copied to its end; convert the data again"
    ):
        list(read_features(str(path)))
    write(path, b"no example")
    with pytest.raises(UserError, match=r"a\.tfrecord holds something else than tf\.train\.Examples"):
        list(read_features(str(path)))
