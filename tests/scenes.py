"""Made-up scenes with things and stuff: discs and boxes, which may overlap, in front of sky and ground."""

import pathlib

import numpy as np

from data.contract import SegmentationExample
from data.decoding.images import encode_png
from data.decoding.label_png import encode_labels
from data.label_map import LabelMap

NAMES = ("sky", "ground", "disc", "box")
_COLORS = np.array([[120, 170, 230], [90, 80, 60], [200, 60, 60], [60, 180, 80]])


def scene(
    generator: np.random.Generator, height: int, width: int, most: int = 6, radius: tuple[int, int] = (4, 8)
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """An image, its class ids, and its objects; later ones cover earlier ones."""
    rows, columns = np.mgrid[:height, :width]
    class_ids = (rows >= height // 2).astype(np.uint8)
    objects = np.zeros([height, width], np.uint16)
    for number in range(1, generator.integers(1, most + 1) + 1):
        row, column, size = generator.integers(0, height), generator.integers(0, width), generator.integers(*radius)
        kind = generator.integers(2, 4)
        distances = np.hypot(rows - row, columns - column) if kind == 2 else abs(rows - row) + abs(columns - column)
        class_ids[distances <= size], objects[distances <= size] = kind, number
    image = _COLORS[class_ids] + 10 * (objects % 3)[..., np.newaxis] + generator.normal(0, 8, [height, width, 3])
    return np.clip(image, 0, 255).astype(np.uint8), class_ids, objects


def write_scenes(folder: pathlib.Path, counts: dict[str, int], height: int = 48, width: int = 40) -> None:
    """TFRecords of scenes, with their label map."""
    import tensorflow as tf

    folder.mkdir(parents=True)
    (folder / "labels.yaml").write_text(LabelMap.from_names(NAMES).to_yaml())
    for index, (split, count) in enumerate(counts.items()):
        generator = np.random.default_rng(index)
        with tf.io.TFRecordWriter(str(folder / f"{split}-00000-of-00001.tfrecord")) as writer:
            for number in range(count):
                image, class_ids, objects = scene(generator, height, width)
                example = SegmentationExample(
                    encode_png(image),
                    "png",
                    height,
                    width,
                    encode_png(class_ids),
                    f"{split}-{number}",
                    instances=encode_labels(objects),
                )
                writer.write(example.serialize())
