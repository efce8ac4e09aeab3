"""Nuclei told apart after equal training time: `task: instance` against a class of edges and connected components.

The contenders, of which `contenders` chooses some:
  objects   configs/nuclei.yaml
  edges     what can be had of `task: semantic`: classes background, nucleus and edge; each connected component of
            nucleus is one, and edges go to the nearest within 3 pixels

Images are split by the CRC of their name, so that everybody has the same test images. Measured are the mean over test
images of TP / (TP + FP + FN) at an IoU of 0.5, the panoptic quality of nuclei, and for `objects` average precision.
"""

import argparse
import pathlib
import shutil
import statistics
import sys
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from common import CACHE, PETS, ROOT, arguments, in_fresh_process, report, run_pipeline, scratch
from PIL import Image

# Pixels from which an edge is of no nucleus.
_EDGE = 3
METRICS = ("matched_share_by_image", "matched_share", "pq_things", "ap", "ap50", "count_agreement")


def main() -> None:
    """Measures and prints."""
    sizes = arguments(__doc__, seconds=1200, seeds=3, pixels=128, contenders="objects,edges")
    found: dict[str, list[dict[str, float]]] = {}
    for contender in sizes.contenders.split(","):
        data = in_fresh_process(converted, contender)
        for seed in range(sizes.seeds):
            with scratch() as folder:
                run_pipeline(str(folder), data, "Evaluator", **configuration(contender, sizes, seed))
                values = in_fresh_process(measured if contender == "objects" else measured_components, str(folder))
            found.setdefault(contender, []).append(values)
            print(f"{contender}, seed {seed}: {values}", file=sys.stderr, flush=True)
    means = {
        contender: {name: statistics.mean(values[name] for values in of_seeds) for name in of_seeds[0]}
        for contender, of_seeds in found.items()
    }
    first, second = next(iter(means)), list(means)[-1]
    key = METRICS[0]
    report(
        "instances",
        means[first][key],
        "share of objects matched",
        second,
        means[second][key],
        means=means,
        **vars(sizes),
    )


def configuration(contender: str, sizes: argparse.Namespace, seed: int) -> dict[str, Any]:
    """Sections of a run's configuration, those of configs/nuclei.yaml."""
    import yaml

    written = yaml.safe_load((ROOT / "configs" / "nuclei.yaml").read_text())
    sections = {name: written[name] for name in ("preprocessing", "model", "train")}
    sections["preprocessing"] |= {"height": sizes.pixels, "width": sizes.pixels}
    sections["train"] |= {"minutes": sizes.seconds / 60, "seed": seed}
    return {**sections, "task": "instance" if contender == "objects" else "semantic"}


def source() -> pathlib.Path:
    """Folders `images` and `instances`: of the nuclei where they are, else of discs."""
    nuclei = PETS.parent / "nuclei"
    if nuclei.is_dir():
        return nuclei
    folder = CACHE / "data" / "discs"
    rows, columns = np.mgrid[:64, :64]
    for index in range(30):
        generator = np.random.default_rng(index)
        numbers = np.zeros([64, 64], np.uint16)
        for number in range(1, 6):
            row, column, radius = generator.integers([0, 0, 5], [64, 64, 10])
            numbers[np.hypot(rows - row, columns - column) < radius] = number
        pixels = np.where(numbers > 0, 180, 40) + generator.integers(0, 30, numbers.shape)
        for kind, values in (("images", pixels.astype(np.uint8)), ("instances", numbers)):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(values).save(folder / kind / f"disc_{index}.png")
    return folder


def split_of(name: str) -> str:
    """The split of an image, by its name without the extension."""
    place = zlib.crc32(name.encode()) % 100
    return "test" if place < 20 else "eval" if place < 30 else "train"


def converted(contender: str) -> pathlib.Path:
    """The nuclei by the data contract, with objects, or with edges as a class."""
    folder, split = CACHE / f"instances_{contender}", CACHE / "data" / f"instances_{contender}"
    if not folder.is_dir():
        from data.convert import convert
        from data.formats.mask_folder import MaskFolderReader

        shutil.rmtree(split, ignore_errors=True)
        for path in sorted((source() / "images").iterdir()):
            kinds = {kind: split / split_of(path.stem) / kind for kind in ("images", "instances")}
            for place in kinds.values():
                place.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, kinds["images"])
            numbers = np.asarray(Image.open(source() / "instances" / f"{path.stem}.png"))
            mask = numbers if contender == "objects" else edges(numbers)
            Image.fromarray(mask).save(kinds["instances"] / f"{path.stem}.png")
        options = {"objects": "instances", "classes": ("background", "nucleus")}
        if contender == "edges":
            options = {"classes": ("background", "nucleus", "edge")}
        convert(MaskFolderReader(folder=str(split), masks="instances", **options), str(folder))
    return folder


def edges(numbers: np.ndarray) -> np.ndarray:
    """[height, width] uint8: 0 background, 1 nucleus, 2 where a nucleus meets another one or the background."""
    numbers = numbers.astype(np.int64)
    framed = np.pad(numbers, 1, mode="edge")
    height, width = numbers.shape
    shifted = [framed[row : row + height, column : column + width] for row in range(3) for column in range(3)]
    is_edge = np.any([other != numbers for other in shifted], axis=0)
    return np.where(numbers == 0, 0, np.where(is_edge, 2, 1)).astype(np.uint8)


def measured(output: str, metrics: Sequence[str] = METRICS) -> dict[str, float]:
    """What the evaluation of a run measured."""
    from components.evaluator import read_metrics

    (evaluation,) = pathlib.Path(output, "artifacts", "Evaluator", "evaluation").iterdir()
    values = read_metrics(str(evaluation), "")[""]
    return {name: values[name] for name in metrics}


def measured_components(output: str) -> dict[str, float]:
    """The same of connected components, from what the model finds in the test images."""
    import scipy.ndimage

    is_thing, serve, found = np.array([False, True]), served(output), Quality(2)
    for path in sorted((source() / "images").iterdir()):
        if split_of(path.stem) != "test":
            continue
        class_ids = serve(path.read_bytes())
        numbers, _ = scipy.ndimage.label(class_ids == 1)
        distance, nearest = scipy.ndimage.distance_transform_edt(numbers == 0, return_indices=True)
        grown = np.where((class_ids == 2) & (distance <= _EDGE), numbers[tuple(nearest)], numbers)
        labels = np.unique(np.asarray(Image.open(source() / "instances" / path.name)), return_inverse=True)[1]
        labels = labels.reshape(class_ids.shape)
        found.add(path.stem, *((each > 0, each) for each in (labels, grown)), is_thing)
    return {name: found.value(name) for name in METRICS if not name.startswith("ap")}


def served(output: str) -> Callable[[bytes], np.ndarray]:
    """A function from the bytes of an image to the class ids that the model of a run finds."""
    import tensorflow as tf

    (model,) = pathlib.Path(output, "artifacts", "Trainer", "model").glob("*/Format-Serving")
    serve = tf.saved_model.load(str(model)).signatures["serving_default"]
    return lambda image: serve(tf.constant([image]))["class_ids"].numpy()[0]


class Quality:
    """The metrics of objects, of segments that no run has measured.

    Args:
      classes: how many there are.
    """

    def __init__(self, classes: int):
        from models.evaluation.objects.object_sums import ObjectSums
        from models.evaluation.sums import Sums

        self._sums = Sums.zeros(classes)
        self._sums.objects = ObjectSums.zeros(classes)

    def add(
        self,
        name: str,
        labeled: tuple[np.ndarray, np.ndarray],
        predicted: tuple[np.ndarray, np.ndarray],
        is_thing: np.ndarray,
    ) -> None:
        """Counts an image: class ids and numbers of objects, as labeled and as predicted."""
        from models.evaluation.objects.segments import keys, overlaps

        counted = overlaps(*(keys(class_ids, numbers, is_thing) for class_ids, numbers in (labeled, predicted)))
        # All components are as sure as each other.
        scores = np.ones(predicted[1].max())
        self._sums.objects.add(name, zlib.crc32(name.encode()), counted, scores)
        self._sums.count += 1

    def value(self, metric: str) -> float:
        """A metric by its name."""
        from models.evaluation.objects.rows import OBJECT_ROWS

        return float(next(row for row in OBJECT_ROWS if row.name == metric).compute(self._sums))


if __name__ == "__main__":
    main()
