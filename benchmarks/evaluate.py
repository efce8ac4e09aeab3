"""The Evaluator component against batched calls of the same SavedModel and a NumPy confusion matrix.

Both read the same TFRecords, decode them by the model's own graph and measure one model. The rate of the Evaluator is
marginal, (large - small) images over the difference of the seconds.
"""

import glob
import time

from common import arguments, dataset, in_fresh_process, num_classes, report, run_pipeline, scratch, train_files


def main() -> None:
    """Measures and prints."""
    sizes = arguments(__doc__, small=50, large=300, filters=32, pixels=128, batch_size=64)
    sections = {
        "preprocessing": {"height": sizes.pixels, "width": sizes.pixels},
        "model": {"filters": sizes.filters},
        "train": {"epochs": 1},
    }
    with scratch() as folder:
        seconds, references = {}, []
        for count in (sizes.small, sizes.large):
            data = dataset(train=16, evaluation=4, test=count)
            output = str(folder / f"run{count}")
            seconds[count] = run_pipeline(output, data, "Evaluator", **sections)["Evaluator"]["seconds"]
            (model,) = glob.glob(f"{output}/artifacts/Trainer/model/*/Format-Serving")
            files = train_files(data, "test")
            references.append(in_fresh_process(_reference, model, files, sizes.batch_size, num_classes(data)))
    report(
        "evaluate",
        (sizes.large - sizes.small) / (seconds[sizes.large] - seconds[sizes.small]),
        "images/s",
        "batched calls of the SavedModel and a NumPy confusion matrix",
        sum(references) / len(references),
        **vars(sizes),
    )


def _reference(model: str, files: list[str], batch_size: int, classes: int) -> float:
    import tensorflow as tf

    from models.metrics import confusion_matrix, mean_iou

    evaluate = tf.saved_model.load(model).signatures["examples"]
    records = tf.data.TFRecordDataset(files).batch(batch_size).prefetch(2)
    for batch in records.take(1):
        evaluate(batch)
    count, confusion = 0, 0
    started = time.monotonic()
    for batch in records:
        outputs = evaluate(batch)
        confusion = confusion + confusion_matrix(outputs["label"].numpy(), outputs["class_ids"].numpy(), classes)
        count += len(batch)
    mean_iou(confusion)
    return count / (time.monotonic() - started)


if __name__ == "__main__":
    main()
