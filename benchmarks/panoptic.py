"""Cars and people in drawn streets told apart after equal training time: `task: panoptic` against connected components.

The contenders, of which `contenders` chooses some:
  panoptic    `task: panoptic`, all else by default
  components  `task: semantic`; each connected component of cars, and of people, is one

Streets are those of `streets.py`, with nine classes of stuff; cars and people hide each other in part. Measured on the
test split are the panoptic quality of all classes, of things and of stuff, and the agreement of counts; for `panoptic`
average precision and mean IoU too.
"""

import argparse
import pathlib
import shutil
import statistics
import sys

import numpy as np
import streets
from common import CACHE, arguments, in_fresh_process, report, run_pipeline, scratch
from instances import Quality, measured, served
from PIL import Image
from recipes import chosen

_BOTH = ("pq", "pq_things", "pq_stuff", "rq_things", "sq_things", "count_agreement")
_METRICS = {"panoptic": (*_BOTH, "ap", "ap50", "mean_iou"), "components": _BOTH}


def main() -> None:
    """Measures and prints."""
    sizes = arguments(
        __doc__,
        seconds=480,
        seeds=1,
        train=200,
        evaluation=30,
        test=50,
        height=streets.HEIGHT,
        width=streets.WIDTH,
        contenders=",".join(_METRICS),
    )
    found: dict[str, list[dict[str, float]]] = {}
    source, data = in_fresh_process(converted, {"train": sizes.train, "val": sizes.evaluation, "test": sizes.test})
    for contender in chosen(sizes.contenders, _METRICS):
        for seed in range(sizes.seeds):
            values = trained(contender, source, data, sizes, seed)
            found.setdefault(contender, []).append(values)
            print(f"{contender}, seed {seed}: {values}", file=sys.stderr, flush=True)
    means = {
        contender: {name: round(statistics.mean(values[name] for values in of_seeds), 4) for name in of_seeds[0]}
        for contender, of_seeds in found.items()
    }
    first, second = next(iter(means)), list(means)[-1]
    report("panoptic", means[first]["pq"], "PQ", second, means[second]["pq"], means=means, **vars(sizes))


def converted(counts: dict[str, int]) -> tuple[pathlib.Path, pathlib.Path]:
    """Busy streets as images and masks, and by the data contract. Kept for later runs."""
    from data.convert import convert
    from data.formats.mask_folder import MaskFolderReader

    name = "-".join(map(str, ["streets_busy", *counts.values()]))
    source, folder = CACHE / "data" / f"{name}_images", CACHE / name
    if not folder.is_dir():
        shutil.rmtree(source, ignore_errors=True)
        streets.save(source, counts, are_busy=True)
        convert(MaskFolderReader(folder=str(source), objects="instances", classes=streets.BUSY_CLASSES), str(folder))
    return source, folder


def trained(
    contender: str, source: pathlib.Path, data: pathlib.Path, sizes: argparse.Namespace, seed: int
) -> dict[str, float]:
    """What a contender reaches."""
    sections = {
        "task": "panoptic" if contender == "panoptic" else "semantic",
        "preprocessing": {"height": sizes.height, "width": sizes.width},
        "train": {"minutes": sizes.seconds / 60, "seed": seed},
        "gate": {"min": {"mean_iou": 0}},
    }
    with scratch() as folder:
        run_pipeline(str(folder), data, "Evaluator", **sections)
        if contender == "panoptic":
            return in_fresh_process(measured, str(folder), _METRICS[contender])
        return in_fresh_process(measured_components, str(folder), source)


def measured_components(output: str, source: pathlib.Path) -> dict[str, float]:
    """The same of connected components, from what the model finds in the test images."""
    import scipy.ndimage

    is_thing = np.isin(streets.BUSY_CLASSES, streets.THINGS)
    serve, found = served(output), Quality(len(is_thing))
    for path in sorted((source / "test" / "images").iterdir()):
        class_ids = serve(path.read_bytes())
        # At the model's size, as the other contender is measured.
        labeled = tuple(
            np.asarray(Image.open(source / "test" / kind / path.name).resize(class_ids.shape[::-1], Image.NEAREST))
            for kind in ("masks", "instances")
        )
        numbers = np.zeros(class_ids.shape, np.int64)
        for class_id in np.flatnonzero(is_thing):
            components, _ = scipy.ndimage.label(class_ids == class_id)
            numbers += np.where(components > 0, components + numbers.max(), 0)
        found.add(path.stem, labeled, (class_ids, numbers), is_thing)
    return {name: found.value(name) for name in _METRICS["components"]}


if __name__ == "__main__":
    main()
