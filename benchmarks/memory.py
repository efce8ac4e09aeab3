"""Peak resident memory of a process that runs Transform, on many images against few.

The components before it run in another process, so that their memory does not count. `--height` and `--width` enlarge
the images to that size.
"""

from common import arguments, dataset, ingested, report, run_pipeline


def main() -> None:
    """Measures and prints."""
    sizes = arguments(__doc__, small=600, large=6000, pixels=128, height=0, width=0)
    preprocessing = {"height": sizes.pixels, "width": sizes.pixels}
    size = (sizes.height, sizes.width) if sizes.height else None
    peak = {}
    for count in (sizes.small, sizes.large):
        data = dataset(train=count, size=size)
        with ingested(data) as output:
            measured = run_pipeline(output, data, "Transform", preprocessing=preprocessing)
        peak[count] = measured["Transform"]["peak_megabytes"]
    report("memory", peak[sizes.large], "MB", f"{sizes.small} images", peak[sizes.small], **vars(sizes))


if __name__ == "__main__":
    main()
