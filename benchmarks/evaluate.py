"""The Evaluator component against batched calls of the same SavedModel and a NumPy confusion matrix.

Both read the same TFRecords, decode images by the model's own graph and measure one model. The rate of the Evaluator is
marginal, (large - small) images over the difference of the seconds.
"""

import glob
import time

from common import arguments, dataset, in_fresh_process, num_classes, report, run_pipeline, scratch, train_files


def main() -> None:
    """Measures and prints."""
    sizes = arguments(__doc__, small=50, large=300, filters=32, depth=4, pixels=128, batch_size=64)
    sections = {
        "preprocessing": {"height": sizes.pixels, "width": sizes.pixels},
        "model": {"encoder": "plain", "filters": sizes.filters, "depth": sizes.depth},
        "train": {"epochs": 1},
    }
    with scratch() as folder:
        seconds = {}
        for count in (sizes.small, sizes.large):
            data = dataset(train=16, evaluation=4, test=count)
            output = str(folder / f"run{count}")
            seconds[count] = run_pipeline(output, data, "Evaluator", **sections)["Evaluator"]["seconds"]
        (model,) = glob.glob(f"{output}/artifacts/Trainer/model/*/Format-Serving")
        files = train_files(data, "test")
        reference = in_fresh_process(_reference, model, files, sizes.batch_size, num_classes(data), sizes.pixels)
    report(
        "evaluate",
        (sizes.large - sizes.small) / (seconds[sizes.large] - seconds[sizes.small]),
        "images/s",
        "batched calls of the SavedModel and a NumPy confusion matrix",
        reference,
        **vars(sizes),
    )


def _reference(model: str, files: list[str], batch_size: int, classes: int, pixels: int) -> float:
    import tensorflow as tf

    from data import contract
    from models.evaluation.metrics import class_totals, confusion_matrix, mean_iou

    serve = tf.saved_model.load(model).signatures["serving_default"]

    def read(record: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        spec = {name: tf.io.FixedLenFeature([], tf.string) for name in (contract.IMAGE, contract.MASK)}
        features = tf.io.parse_single_example(record, spec)
        mask = tf.io.decode_png(features[contract.MASK], 1)
        return features[contract.IMAGE], tf.image.resize(mask, [pixels, pixels], "nearest")[..., 0]

    examples = tf.data.TFRecordDataset(files).map(read, num_parallel_calls=tf.data.AUTOTUNE).batch(batch_size)
    for images, _ in examples.take(1):
        serve(images)
    count, confusion = 0, 0
    started = time.monotonic()
    for images, labels in examples.prefetch(2):
        class_ids = serve(images)["class_ids"].numpy()
        confusion = confusion + confusion_matrix(labels.numpy(), class_ids, classes)
        count += len(images)
    mean_iou(class_totals(confusion))
    return count / (time.monotonic() - started)


if __name__ == "__main__":
    main()
