"""Reading TFRecords of the data contract, of whoever wrote them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from data.base.errors import UserError
from data.contract import compression_type


def read_features(path: str) -> Iterator[Any]:
    """The features of each example in a TFRecord file, by name.

    Raises:
      UserError: if the file is damaged, or holds something else.
    """
    import tensorflow as tf
    from google.protobuf.message import DecodeError

    try:
        for record in tf.data.TFRecordDataset(path, compression_type(path)):
            yield tf.train.Example.FromString(record.numpy()).features.feature
    except tf.errors.DataLossError:
        raise UserError(f"{path} is damaged, perhaps not copied to its end; convert the data again") from None
    except DecodeError:
        raise UserError(f"{path} holds something else than tf.train.Examples; convert the data again") from None


def first_value(features: Any, name: str) -> bytes:
    """A feature of bytes; empty if it is missing."""
    return b"".join(features[name].bytes_list.value[:1])
