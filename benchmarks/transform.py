"""The Transform component at 128x128 against one tf.data pass that decodes and resizes the same files.

The rate is marginal, (large - small) images over the difference of the seconds, so that what the component costs to
start does not count. Transform analyzes the images and stores none of them, so it need not decode the masks.
"""

from common import arguments, dataset, in_fresh_process, ingested, report, run_pipeline, train_files
from reference import decoding_rate


def main() -> None:
    """Measures and prints."""
    sizes = arguments(__doc__, small=600, large=6000, pixels=128)
    preprocessing = {"height": sizes.pixels, "width": sizes.pixels}
    seconds = {}
    references = []
    for count in (sizes.small, sizes.large):
        data = dataset(train=count)
        references.append(in_fresh_process(decoding_rate, train_files(data), sizes.pixels))
        with ingested(data) as output:
            measured = run_pipeline(output, data, "Transform", preprocessing=preprocessing)
        seconds[count] = measured["Transform"]["seconds"]
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
