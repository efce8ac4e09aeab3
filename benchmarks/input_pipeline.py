"""The trainer's tf.data, from the second epoch on and with augmentation, against the bare training step of the U-Net.

`decoding_images_per_s` is the first epoch, or every one with `train.cache: none`.
"""

import time

from common import arguments, in_fresh_process, num_classes, report, run_pipeline, scratch, write_dataset
from reference import training_step_rate


def main() -> None:
    """Measures and prints."""
    sizes = arguments(__doc__, images=1000, batch_size=16, filters=32, pixels=128, epochs=10, steps=8)
    sections = {
        "preprocessing": {"height": sizes.pixels, "width": sizes.pixels},
        "model": {"filters": sizes.filters},
        "train": {"batch_size": sizes.batch_size},
    }
    with scratch() as folder:
        data = write_dataset(folder / "data", train=sizes.images, evaluation=10, test=10)
        run_pipeline(str(folder / "run"), data, "Transform", **sections)
        first, later = in_fresh_process(_rates, str(folder / "run"), sections, sizes.images, sizes.epochs)
        reference = in_fresh_process(training_step_rate, {**sections, "label_map": []}, num_classes(data), sizes.steps)
    report(
        "input_pipeline",
        later,
        "images/s",
        "the bare training step on one batch in memory",
        reference,
        **vars(sizes),
        decoding_images_per_s=first,
    )


def _rates(output: str, sections: dict, num_examples: int, epochs: int) -> tuple[float, float]:
    import pathlib

    import tensorflow_transform as tft

    from models import input_pipeline
    from models.settings import PreprocessingSettings, TrainSettings

    artifacts = pathlib.Path(output, "artifacts")
    (graph,) = (artifacts / "Transform" / "transform_graph").iterdir()
    (examples,) = (artifacts / "ImportExampleGen" / "examples").iterdir()
    transform = tft.TFTransformOutput(str(graph)).transform_features_layer()
    settings = TrainSettings.model_validate(sections["train"])
    shape = PreprocessingSettings.model_validate(sections["preprocessing"])
    decoded = input_pipeline.examples([str(examples / "Split-train" / "*")], transform, "")
    batches = iter(input_pipeline.training_batches(decoded, settings, shape, num_examples, None))
    next(batches)  # The shuffle buffer takes all examples before the first batch comes, so what follows is the cache's.
    rates = []
    started = time.monotonic()
    first = input_pipeline.examples([str(examples / "Split-train" / "*")], transform, None)
    for _ in first:
        pass
    rates.append(num_examples / (time.monotonic() - started))
    steps = num_examples // settings.batch_size
    for _ in range(steps):  # To the end of the first epoch.
        next(batches)
    started = time.monotonic()
    for _ in range(epochs * steps):
        next(batches)
    rates.append(epochs * steps * settings.batch_size / (time.monotonic() - started))
    return rates[0], rates[1]


if __name__ == "__main__":
    main()
