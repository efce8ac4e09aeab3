"""Seconds of a whole run on 20 images with one training step: what a run costs whatever it computes.

Imports do not count: the packages are imported before, and the serving check's process, which has to import TensorFlow
anew, is charged without the time of that, the least of so many `imports` in processes of their own.
"""

import subprocess
import sys
import time

from common import arguments, dataset, report, run_pipeline, scratch


def main() -> None:
    """Measures and prints."""
    sizes = arguments(__doc__, images=20, pixels=128, filters=32, depth=4, imports=3)
    sections = {
        "preprocessing": {"height": sizes.pixels, "width": sizes.pixels},
        "model": {"encoder": "plain", "filters": sizes.filters, "depth": sizes.depth},
        "train": {"epochs": 1, "batch_size": sizes.images - 8},
        "gate": {"min": {"mean_iou": 0}},
    }
    with scratch() as folder:
        data = dataset(train=sizes.images - 8, evaluation=4, test=4, shards=1)
        measured = run_pipeline(str(folder / "run"), data, "", **sections)
    measured["ServingCheck"]["seconds"] -= min(_import_seconds() for _ in range(sizes.imports))
    seconds = {name: values["seconds"] for name, values in measured.items()}
    report("fixed_cost", sum(seconds.values()), "s", "none", None, **vars(sizes), **seconds)


def _import_seconds() -> float:
    started = time.monotonic()
    subprocess.run([sys.executable, "-c", "import components.serving_probe"], check=True, stderr=subprocess.DEVNULL)
    return time.monotonic() - started


if __name__ == "__main__":
    main()
