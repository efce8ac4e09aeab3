"""What TFRecords hold, by the first examples of each file."""

from __future__ import annotations

import numpy as np

from data.base.errors import UserError
from data.base.files import join
from data.contract import IMAGE, INSTANCES, LABEL_MAP_FILE, MASK, SPLITS, compression_type
from data.decoding.images import BadImageError, EncodedImage, open_image, upright_size
from data.decoding.structure import read_header
from data.input_files import find_input_files
from data.inspection.sample import Pair, Progress, Sample, look_at_pair
from data.label_map import LabelMap
from data.spans import SPAN, find_spans

# So many take seconds.
_MOST_PAIRS, _MOST_PIXELS = 300, 100_000_000


def look_at_records(path: str, progress: Progress) -> tuple[dict[str, int], Sample, LabelMap]:
    """Counts the examples of each split, and looks at some of them. Loads TensorFlow.

    Args:
      path: folder of TFRecords with a label map, or with `{SPAN}` in its place those of all spans.
      progress: is told how many examples of which split are counted; how many there are is not known before.

    Returns:
      Examples by split, what was seen, and the classes.

    Raises:
      UserError: if there are none, the name of a file leaves doubts, or they cannot be read.
    """
    import tensorflow as tf

    folders = list(find_spans(path).values()) if SPAN in path else [path]
    label_map = LabelMap.load(join(folders[-1], LABEL_MAP_FILE))
    found = [find_input_files(folder).of_split for folder in folders]
    files = {split: [file.path for of_split in found for file in of_split[split]] for split in SPLITS}
    each = max(1, _MOST_PAIRS // max(sum(map(len, files.values())), 1))
    pairs: list[Pair] = []
    unusable: list[tuple[str, str]] = []
    counts = dict.fromkeys(SPLITS, 0)
    pixels = 0
    for split, paths in files.items():
        for file in paths:
            begun = counts[split]
            try:
                for record in tf.data.TFRecordDataset(file, compression_type(file)):
                    counts[split] += 1
                    if counts[split] - begun <= each and len(pairs) < _MOST_PAIRS and pixels < _MOST_PIXELS:
                        _add(record.numpy(), file, pairs, unusable)
                        pixels += pairs[-1].height * pairs[-1].width if pairs else 0
                    progress(f"examples of {split}", counts[split], 0)
            except tf.errors.OpError as error:
                raise UserError(f"{file} cannot be read as TFRecords: {error.message}") from None
    if not pairs:
        raise UserError(f"{path}: no example can be read; {unusable[0][1] if unusable else 'there is none'}")
    return counts, Sample(pairs, unusable), label_map


def _add(record: bytes, path: str, pairs: list[Pair], unusable: list[tuple[str, str]]) -> None:
    import tensorflow as tf

    features = tf.train.Example.FromString(record).features.feature
    encoded, mask, objects = (b"".join(features[name].bytes_list.value[:1]) for name in (IMAGE, MASK, INSTANCES))
    try:
        # Of JPEG and PNG as they are stored, whatever EXIF says.
        header = read_header(encoded)
        size = (header.height, header.width) if header else upright_size(encoded)
        ids = np.asarray(open_image(mask))
        instances = np.asarray(open_image(objects)) if objects else None
        pairs.append(look_at_pair(EncodedImage(encoded, "", *size), ids, instances))
    except Exception as error:  # Pillow's decoders raise nearly anything on broken files.
        unusable.append((path, str(BadImageError(error))))
