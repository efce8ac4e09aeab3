"""The trainer's batches, augmented, from decoded images in memory, against the bare training step.

Beside it, the same from decoded images on disk, and from images that are decoded for each batch (`train.cache: disk`
and `none`); from memory on one core alone, which says how many cores an accelerator needs; the decoding that comes
first with `memory` and `disk`; and, with `none`, whole batches of two workers on a core each, which decode their
shares, against those of one worker on one core.
"""

import concurrent.futures
import os
import tempfile
import time
from typing import Any

from common import arguments, dataset, in_fresh_process, ingested, num_classes, report, run_pipeline
from reference import training_step_rate


def main() -> None:
    """Measures and prints."""
    sizes = arguments(__doc__, images=600, batch_size=16, filters=32, depth=4, pixels=128, epochs=10, steps=8)
    sections = {
        "preprocessing": {"height": sizes.pixels, "width": sizes.pixels},
        "model": {"encoder": "plain", "filters": sizes.filters, "depth": sizes.depth},
        "train": {"batch_size": sizes.batch_size},
    }
    data = dataset(train=sizes.images)
    with ingested(data) as output:
        run_pipeline(output, data, "Transform", **sections)
        cores = sorted(os.sched_getaffinity(0))
        decoding, memory = in_fresh_process(_rates, output, sections, sizes.images, sizes.epochs, "memory")
        _, one_core = in_fresh_process(_rates, output, sections, sizes.images, sizes.epochs, "memory", cores[:1])
        _, disk = in_fresh_process(_rates, output, sections, sizes.images, sizes.epochs, "disk")
        # Decoding takes its time.
        undecoded = (_rates, output, sections, sizes.images, max(1, sizes.epochs // 4), "none")
        _, whole = in_fresh_process(*undecoded)
        _, one_worker = in_fresh_process(*undecoded, cores[:1])
        with concurrent.futures.ThreadPoolExecutor(2) as threads:
            places = [([cores[index % len(cores)]], (index, 2)) for index in range(2)]
            both = list(threads.map(lambda place: in_fresh_process(*undecoded, *place)[1], places))
    reference = in_fresh_process(training_step_rate, {**sections, "label_map": []}, num_classes(data), sizes.steps)
    report(
        "input_pipeline",
        memory,
        "images/s",
        "the bare training step on one batch in memory",
        reference,
        **vars(sizes),
        one_core_images_per_s=one_core,
        disk_images_per_s=disk,
        undecoded_images_per_s=whole,
        undecoded_one_worker_images_per_s=one_worker,
        undecoded_two_workers_images_per_s=min(both),
        decoding_images_per_s=decoding,
    )


def _rates(
    output: str,
    sections: dict,
    num_examples: int,
    epochs: int,
    cache: str,
    cores: list[int] | None = None,
    worker: tuple[int, int] = (0, 1),
) -> tuple[float, float]:
    """Images a second: of what comes before the first batch, and of whole batches, of which a worker has its share."""
    if cores:
        os.sched_setaffinity(0, cores)
    import pathlib

    import tensorflow_transform as tft

    from models.inputs import input_pipeline
    from models.inputs.settings import PreprocessingSettings
    from models.training.settings import TrainSettings

    artifacts = pathlib.Path(output, "artifacts")
    (graph,) = (artifacts / "Transform" / "transform_graph").iterdir()
    (examples,) = (artifacts / "ImportExampleGen" / "examples").iterdir()
    transform = tft.TFTransformOutput(str(graph)).transform_features_layer()
    settings = TrainSettings.model_validate(sections["train"])
    shape = PreprocessingSettings.model_validate(sections["preprocessing"])
    pattern = str(examples / "Split-train" / "*")
    with tempfile.TemporaryDirectory(dir=output) as scratch:
        place = {"memory": "", "disk": scratch, "none": None}[cache]
        started = time.monotonic()
        decoded = input_pipeline.DecodedExamples([pattern], transform, shape, num_examples, place)
        decoding = num_examples / (time.monotonic() - started)
        return decoding, _batch_rate(decoded, settings, epochs, worker)


def _batch_rate(decoded: Any, settings: Any, epochs: int, worker: tuple[int, int]) -> float:
    from models.inputs import input_pipeline
    from models.inputs.order import TrainingOrder
    from models.training.multi_worker import Worker

    order = TrainingOrder(decoded.count, settings.batch_size, settings.seed)
    batches = iter(input_pipeline.training_batches(decoded, order, settings, 0, worker=Worker(*worker)))
    for _ in range(order.steps_per_epoch):
        next(batches)
    steps = epochs * order.steps_per_epoch
    started = time.monotonic()
    for _ in range(steps):
        next(batches)
    return steps * settings.batch_size / (time.monotonic() - started)


if __name__ == "__main__":
    main()
