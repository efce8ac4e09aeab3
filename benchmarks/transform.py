"""The Transform component at 128x128 against one tf.data pass that decodes and resizes the same files.

The rate is marginal, (large - small) images over the difference of the seconds, so that what the component costs to
start does not count. Transform analyzes the images and stores none of them, so it need not decode the masks.
"""

from common import arguments, in_fresh_process, report, run_pipeline, scratch, train_files, write_dataset
from reference import decoding_rate


def main() -> None:
    """Measures and prints."""
    sizes = arguments(__doc__, small=600, large=6000, pixels=128)
    preprocessing = {"height": sizes.pixels, "width": sizes.pixels}
    with scratch() as folder:
        seconds = {}
        references = []
        for count in (sizes.small, sizes.large):
            data = write_dataset(folder / f"data{count}", train=count, evaluation=10, test=10)
            references.append(in_fresh_process(decoding_rate, train_files(data), sizes.pixels))
            measured = run_pipeline(str(folder / f"run{count}"), data, "Transform", preprocessing=preprocessing)
            seconds[count] = measured["Transform"]["seconds"]
        references.append(in_fresh_process(decoding_rate, train_files(data), sizes.pixels))
    report(
        "transform",
        (sizes.large - sizes.small) / (seconds[sizes.large] - seconds[sizes.small]),
        "images/s",
        "one tf.data pass that reads, decodes and resizes image and mask",
        sum(references) / len(references),
        **vars(sizes),
    )


if __name__ == "__main__":
    main()
