"""The feature contract: names and types in every tf.train.Example that segpipe writes or reads.

The names are those of TensorFlow's Model Garden and DeepLab, so that TFRecords made for them can be read.
TensorFlow is imported where it is used, since the command line needs only the names.
"""

from __future__ import annotations

import dataclasses
import pathlib
import zlib

IMAGE = "image/encoded"
IMAGE_FORMAT = "image/format"
HEIGHT = "image/height"
WIDTH = "image/width"
SOURCE_ID = "image/source_id"
MASK = "image/segmentation/class/encoded"
SLICE = "image/slice"
GROUP = "image/group"
INSTANCES = "image/panoptic/instance_mask"

IGNORE_LABEL = 255
# In instance masks: objects that nobody told apart.
CROWD = 65535
SPLITS = ("train", "eval", "test")
SCHEMA_PATH = pathlib.Path(__file__).with_name("schema.pbtxt")
LABEL_MAP_FILE = "labels.yaml"
REPORT_FILE = "conversion.json"


def compression_type(path: str) -> str:
    """How a TFRecord file is compressed, in TensorFlow's terms: `GZIP` if its name ends in `.gz`, empty otherwise."""
    return "GZIP" if path.endswith(".gz") else ""


def example_name(source_id: bytes, image: bytes) -> str:
    """The name of an example: its source id, or a checksum of its encoded image if it has none."""
    return source_id.decode(errors="replace") or f"{zlib.crc32(image):08x}"


@dataclasses.dataclass(frozen=True)
class SegmentationExample:
    """One image with its mask, as stored.

    Attributes:
      image: the encoded image at its original size: JPEG; PNG of 8 or 16 bits, gray or RGB; or an array, see
        `data.decoding.arrays`.
      image_format: `jpeg`, `png` or `npy`.
      height: pixels.
      width: pixels.
      mask: single-channel PNG of the same size, one class id per pixel, 255 for "ignore".
      source_id: stable name of the example.
      slice: what to report it under separately, or an empty string for none.
      group: whatever must stay in one split, such as a patient or a scene, or an empty string for none.
      instances: single-channel PNG of 16 bits and the same size, 0 where there is no object, `CROWD` in a crowd, and
        otherwise the number of the object; empty if the objects are not known.
    """

    image: bytes
    image_format: str
    height: int
    width: int
    mask: bytes
    source_id: str
    slice: str = ""
    group: str = ""
    instances: bytes = b""

    def serialize(self) -> bytes:
        """The serialized tf.train.Example; an optional feature is left out if it is empty."""
        import tensorflow as tf

        def of_bytes(value: bytes) -> tf.train.Feature:
            return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))

        def of_int(value: int) -> tf.train.Feature:
            return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))

        features = {
            IMAGE: of_bytes(self.image),
            IMAGE_FORMAT: of_bytes(self.image_format.encode()),
            HEIGHT: of_int(self.height),
            WIDTH: of_int(self.width),
            SOURCE_ID: of_bytes(self.source_id.encode()),
            MASK: of_bytes(self.mask),
        }
        optional = ((SLICE, self.slice.encode()), (GROUP, self.group.encode()), (INSTANCES, self.instances))
        features |= {name: of_bytes(value) for name, value in optional if value}
        example = tf.train.Example(features=tf.train.Features(feature=features))
        return example.SerializeToString(deterministic=True)
