"""ExampleGen, StatisticsGen and data gate, one after the other, against one tf.data pass that decodes the same files.

The rate is marginal, (large - small) images over the difference of the seconds, so that what a component costs to
start does not count.
"""

from common import arguments, dataset, in_fresh_process, ingest, report, train_files
from reference import decoding_rate

COMPONENTS = ("ImportExampleGen", "StatisticsGen", "DataGate")


def main() -> None:
    """Measures and prints."""
    sizes = arguments(__doc__, small=600, large=6000)
    seconds = {}
    references = []
    for count in (sizes.small, sizes.large):
        data = dataset(train=count)
        references.append(in_fresh_process(decoding_rate, train_files(data), None))
        measured = ingest(data)
        seconds[count] = {name: measured[name]["seconds"] for name in COMPONENTS}
    marginal = {name: seconds[sizes.large][name] - seconds[sizes.small][name] for name in COMPONENTS}
    images = sizes.large - sizes.small
    report(
        "ingest",
        images / sum(marginal.values()),
        "images/s",
        "one tf.data pass that reads and decodes image and mask",
        sum(references) / len(references),
        **vars(sizes),
        **{f"{name}_images_per_s": images / value for name, value in marginal.items()},
    )


if __name__ == "__main__":
    main()
