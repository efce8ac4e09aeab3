"""The seconds of a run on many images, predicted from runs on few, against those that it took; and its memory.

For the data steps and for a training that keeps decoded images on disk, the prediction is the line through the seconds
of `small` and `medium` images. A second line is about a training that decodes images in each epoch (`train.cache:
none`), of which only the memory depends on their number. The training proper takes `seconds`, however many there are.
"""

import argparse
import shutil

from common import CACHE, arguments, dataset, report, run_pipeline, scratch

_STEPS = ("ImportExampleGen", "StatisticsGen", "DataGate", "Transform", "Trainer")


def main() -> None:
    """Measures and prints."""
    sizes = arguments(__doc__, small=2000, medium=6000, large=60000, side=0, pixels=128, seconds=20, shards=64)
    found = {count: _measured(count, sizes) for count in (sizes.small, sizes.medium, sizes.large)}
    seconds = {count: measured["disk"] for count, measured in found.items()}
    predicted = {
        step: seconds[sizes.small][step]
        + (seconds[sizes.medium][step] - seconds[sizes.small][step])
        / (sizes.medium - sizes.small)
        * (sizes.large - sizes.small)
        for step in _STEPS
    }
    report(
        "scale",
        sum(seconds[sizes.large].values()),
        "s, disk",
        "the prediction",
        sum(predicted.values()),
        **vars(sizes),
        measured_seconds={step: round(value, 1) for step, value in seconds[sizes.large].items()},
        predicted_seconds={step: round(value, 1) for step, value in predicted.items()},
        peak_megabytes={count: measured["megabytes"] for count, measured in found.items()},
    )
    few, many = (found[count]["megabytes"]["none"] for count in (sizes.small, sizes.large))
    report("scale", many, "MB, none", f"{sizes.small} images", few, **vars(sizes))


def _measured(count: int, sizes: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Of a number of images the seconds of the steps with `disk`, and the peaks of the processes."""
    images = dataset(train=count, shards=sizes.shards, side=sizes.side)
    common = {"preprocessing": {"height": sizes.pixels, "width": sizes.pixels}}
    minutes = sizes.seconds / 60
    with scratch() as folder:
        # In processes of their own, so that each has its own peak.
        data = run_pipeline(str(folder), images, "Transform", **common)
        trainings = {
            cache: run_pipeline(str(folder), images, "Trainer", **common, train={"minutes": minutes, "cache": cache})
            for cache in ("disk", "none")
        }
    shutil.rmtree(CACHE / "data" / images.name)  # It may be large.
    taken = {step: data[step]["seconds"] for step in _STEPS[:-1]}
    return {
        "disk": {**taken, "Trainer": trainings["disk"]["Trainer"]["seconds"]},
        "megabytes": {
            "data": round(data["Transform"]["peak_megabytes"]),
            **{cache: round(of["Trainer"]["peak_megabytes"]) for cache, of in trainings.items()},
        },
    }


if __name__ == "__main__":
    main()
