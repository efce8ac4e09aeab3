"""Peak resident memory of a process that runs the Evaluator, with a candidate and a deployed model, on many images.

The components before it run in another process, so that their memory does not count. The model is small, because the
figure is about images and their number.
"""

from common import arguments, dataset, report, run_pipeline, scratch


def main() -> None:
    """Measures and prints."""
    sizes = arguments(__doc__, small=200, large=10_000, pixels=512, filters=8, depth=2)
    sections = {
        "preprocessing": {"height": sizes.pixels, "width": sizes.pixels},
        "model": {"encoder": "plain", "filters": sizes.filters, "depth": sizes.depth},
        "gate": {"min": {"mean_iou": 0}},
        "evaluation": {"resolution": "original"},
    }
    peak, seconds = {}, {}
    first, second = ({"epochs": 1, "seed": seed} for seed in (1, 2))
    with scratch() as folder:
        for count in (sizes.small, sizes.large):
            data = dataset(train=16, evaluation=4, test=count, size=(sizes.pixels, sizes.pixels))
            if count == sizes.small:
                run_pipeline(str(folder), data, "Pusher", **sections, train=first)
            run_pipeline(str(folder), data, "DeployedModel", **sections, train=second)
            measured = run_pipeline(str(folder), data, "Evaluator", **sections, train=second)["Evaluator"]
            peak[count], seconds[count] = measured["peak_megabytes"], measured["seconds"]
    report(
        "evaluate_memory",
        peak[sizes.large],
        "MB",
        f"{sizes.small} images",
        peak[sizes.small],
        **vars(sizes),
        seconds=seconds[sizes.large],
    )


if __name__ == "__main__":
    main()
