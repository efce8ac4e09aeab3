"""How kept requests are stored: `DIR/2026-11-27/NAME.tfrecord`, by the UTC day, complete files only.

The images have the names of the data contract. The answers have not: a model must never take them for labels.
"""

from __future__ import annotations

import dataclasses
import datetime
import os
import re
import secrets
from collections.abc import Iterator
from typing import Any

from data import contract
from data.base.errors import UserError, one_line

CLASS_IDS = "answer/class_ids"
CONFIDENCE = "answer/confidence"
CLASS_SHARES = "answer/class_shares"
VERSION = "answer/version"
TIME = "answer/time"

SUFFIX = ".tfrecord"
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")


@dataclasses.dataclass(frozen=True)
class KeptImage:
    """One image of a request, and the answer.

    Attributes:
      source_id: the request's id; with -2 for its second image, and so on.
      image: the encoded image as it was sent, or upright if EXIF turned it.
      image_format: `jpeg`, `png` or `npy`.
      height: pixels.
      width: pixels.
      class_ids: single-channel PNG of the size that was answered.
      confidence: mean probability of the predicted classes.
      class_shares: of the pixels that were answered, by class id.
      version: what answered.
      time: of the answer, in seconds since the epoch.
    """

    source_id: str
    image: bytes
    image_format: str
    height: int
    width: int
    class_ids: bytes
    confidence: float
    class_shares: list[float]
    version: int
    time: float

    def serialize(self) -> bytes:
        """The serialized tf.train.Example."""
        import tensorflow as tf

        values: dict[str, Any] = {
            contract.IMAGE: self.image,
            contract.IMAGE_FORMAT: self.image_format.encode(),
            contract.HEIGHT: self.height,
            contract.WIDTH: self.width,
            contract.SOURCE_ID: self.source_id.encode(),
            CLASS_IDS: self.class_ids,
            CONFIDENCE: self.confidence,
            CLASS_SHARES: self.class_shares,
            VERSION: self.version,
            # As a 64-bit number: 32 bits would round it to minutes.
            TIME: int(1000 * self.time),
        }
        example = tf.train.Example()
        for name, value in values.items():
            feature = example.features.feature[name]
            if isinstance(value, bytes):
                feature.bytes_list.value.append(value)
            elif isinstance(value, int):
                feature.int64_list.value.append(value)
            else:
                feature.float_list.value.extend(value if isinstance(value, list) else [value])
        return example.SerializeToString(deterministic=True)

    @classmethod
    def parse(cls, record: bytes) -> KeptImage:
        """Reads a serialized tf.train.Example.

        Raises:
          Exception: nearly anything, if it is something else.
        """
        import tensorflow as tf

        found = tf.train.Example.FromString(record).features.feature
        return cls(
            source_id=found[contract.SOURCE_ID].bytes_list.value[0].decode(),
            image=found[contract.IMAGE].bytes_list.value[0],
            image_format=found[contract.IMAGE_FORMAT].bytes_list.value[0].decode(),
            height=found[contract.HEIGHT].int64_list.value[0],
            width=found[contract.WIDTH].int64_list.value[0],
            class_ids=found[CLASS_IDS].bytes_list.value[0],
            confidence=found[CONFIDENCE].float_list.value[0],
            class_shares=list(found[CLASS_SHARES].float_list.value),
            version=found[VERSION].int64_list.value[0],
            time=found[TIME].int64_list.value[0] / 1000,
        )


def new_request_id(now: datetime.datetime) -> str:
    """An id that begins with the second of the request."""
    return f"{now:%Y%m%dT%H%M%S}-{secrets.token_hex(4)}"


def kept_days(folder: str) -> dict[str, list[str]]:
    """Paths of the complete files of each day, both in order of time.

    Raises:
      OSError: if the folder cannot be read.
    """
    found = {}
    for day in sorted(name for name in os.listdir(folder) if _DAY.fullmatch(name)):
        path = os.path.join(folder, day)
        try:
            names = sorted(name for name in os.listdir(path) if name.endswith(SUFFIX) and not name.startswith("."))
        except (FileNotFoundError, NotADirectoryError):  # A server deleted it just now, or it is not a day's folder.
            continue
        found[day] = [os.path.join(path, name) for name in names]
    return found


def read_kept(path: str) -> Iterator[KeptImage]:
    """The images of a file, in order.

    Raises:
      UserError: if it is gone, or not what a server kept.
    """
    import tensorflow as tf

    try:
        for record in tf.data.TFRecordDataset(path).as_numpy_iterator():
            yield KeptImage.parse(record)
    except Exception as error:
        raise UserError(f"{path} is not what `segpipe serve --keep` wrote: {one_line(error)}; remove it") from None
