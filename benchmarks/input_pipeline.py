"""The trainer's batches, from decoded images in memory and with augmentation, against the bare training step.

`decoding_images_per_s` is what comes before, once, or all the time with `train.cache: none`.
"""

import time

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
        first, later = in_fresh_process(_rates, output, sections, sizes.images, sizes.epochs)
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

    from models.inputs import input_pipeline
    from models.inputs.order import TrainingOrder
    from models.inputs.settings import PreprocessingSettings
    from models.training.settings import TrainSettings

    artifacts = pathlib.Path(output, "artifacts")
    (graph,) = (artifacts / "Transform" / "transform_graph").iterdir()
    (examples,) = (artifacts / "ImportExampleGen" / "examples").iterdir()
    transform = tft.TFTransformOutput(str(graph)).transform_features_layer()
    settings = TrainSettings.model_validate(sections["train"])
    shape = PreprocessingSettings.model_validate(sections["preprocessing"])
    started = time.monotonic()
    decoded = input_pipeline.DecodedExamples([str(examples / "Split-train" / "*")], transform, shape, num_examples, "")
    decoding = num_examples / (time.monotonic() - started)
    order = TrainingOrder(num_examples, settings.batch_size, settings.seed)
    batches = iter(input_pipeline.training_batches(decoded, order, settings, 0))
    for _ in range(order.steps_per_epoch):
        next(batches)
    steps = epochs * order.steps_per_epoch
    started = time.monotonic()
    for _ in range(steps):
        next(batches)
    return decoding, steps * settings.batch_size / (time.monotonic() - started)


if __name__ == "__main__":
    main()
