"""What TFRecords hold, by the first examples of each file."""

from __future__ import annotations

import glob
import os

import numpy as np
from PIL import Image

from data.base.errors import UserError
from data.base.files import find
from data.contract import IMAGE, MASK, SPLITS, compression_type
from data.decoding.images import BadImageError, EncodedImage, open_image
from data.inspection.sample import Pair, Sample, look_at_pair
from data.label_map import LabelMap

_MOST_PAIRS = 300


def look_at_records(folder: str, label_map: LabelMap) -> tuple[dict[str, int], Sample]:
    """Counts the examples of each split, and looks at some of them. Loads TensorFlow.

    Raises:
      UserError: if the first examples cannot be read.
    """
    import tensorflow as tf

    files = {split: [file.path for file in find(os.path.join(glob.escape(folder), f"{split}*"))] for split in SPLITS}
    each = max(1, _MOST_PAIRS // sum(map(len, files.values())))
    pairs: list[Pair] = []
    unusable: list[tuple[str, str]] = []
    counts = dict.fromkeys(SPLITS, 0)
    for split, paths in files.items():
        for path in paths:
            try:
                for record in tf.data.TFRecordDataset(path, compression_type(path)):
                    counts[split] += 1
                    if counts[split] <= each * len(paths) and len(pairs) + len(unusable) < _MOST_PAIRS:
                        _add(record.numpy(), path, pairs, unusable)
            except tf.errors.OpError as error:
                raise UserError(f"{path} cannot be read as TFRecords: {error.message}") from None
    if not pairs:
        raise UserError(f"{folder}: no example can be read; {unusable[0][1] if unusable else 'there is none'}")
    return counts, Sample(pairs, unusable, len(label_map))


def _add(record: bytes, path: str, pairs: list[Pair], unusable: list[tuple[str, str]]) -> None:
    import tensorflow as tf

    features = tf.train.Example.FromString(record).features.feature
    encoded, mask = (b"".join(features[name].bytes_list.value[:1]) for name in (IMAGE, MASK))
    try:
        image: Image.Image = open_image(encoded)
        ids = np.asarray(open_image(mask))
        pairs.append(look_at_pair(EncodedImage(encoded, str(image.format), image.height, image.width), ids))
    except Exception as error:  # Pillow's decoders raise nearly anything on broken files.
        unusable.append((path, str(BadImageError(error))))
