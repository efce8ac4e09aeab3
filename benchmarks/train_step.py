"""A training epoch in the Trainer, with reading, augmentation and metrics, against the bare training step.

The bare step computes loss, gradients and the optimizer's update on one batch that lies in memory, with the same model,
optimizer and precision. Both take turns, in processes of their own.
"""

from common import alternating, arguments, dataset, in_fresh_process, num_classes, report, run_pipeline, scratch
from reference import training_step_rate


def main() -> None:
    """Measures and prints."""
    sizes = arguments(__doc__, images=96, batch_size=16, filters=32, depth=4, pixels=128, epochs=2, rounds=2)
    sections = {
        "preprocessing": {"height": sizes.pixels, "width": sizes.pixels},
        "model": {"encoder": "plain", "filters": sizes.filters, "depth": sizes.depth},
        # All epochs at the size of the bare step.
        "train": {"batch_size": sizes.batch_size, "epochs": sizes.epochs, "small_sizes": 0},
    }
    with scratch() as folder:
        data = dataset(train=sizes.images, evaluation=sizes.batch_size)
        rounds = iter(range(sizes.rounds))

        def trainer() -> float:
            # Another seed, else TFX would answer from its cache.
            seeded = {**sections, "train": {**sections["train"], "seed": next(rounds)}}
            return run_pipeline(str(folder / "run"), data, "Trainer", **seeded)["Trainer"]["images_per_second"]

        def bare() -> float:
            steps = sizes.images // sizes.batch_size
            return in_fresh_process(training_step_rate, {**sections, "label_map": []}, num_classes(data), steps)

        value, reference = alternating(sizes.rounds, trainer, bare)
    report("train_step", value, "images/s", "the bare training step on one batch in memory", reference, **vars(sizes))


if __name__ == "__main__":
    main()
