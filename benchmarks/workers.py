"""Ingest and Transform with two Beam worker processes against one process that is pinned to one core.

The rates are marginal, (large - small) images over the difference of the seconds, which leaves out the start of the
workers, `start_seconds` for all four components together; it is longer than what is left, so take the ratio as rough.
An unpinned process uses all cores in the data gate and in Transform: compare with `ingest` and `transform`.
"""

import os

from common import arguments, dataset, report, run_pipeline, scratch

COMPONENTS = ("ImportExampleGen", "StatisticsGen", "DataGate", "Transform")


def main() -> None:
    """Measures and prints."""
    sizes = arguments(__doc__, small=600, large=6000, pixels=128, workers=2)
    preprocessing = {"height": sizes.pixels, "width": sizes.pixels}
    modes = {1: {min(os.sched_getaffinity(0))}, sizes.workers: None}
    seconds: dict[int, dict[int, dict[str, float]]] = {workers: {} for workers in modes}
    with scratch() as folder:
        for count in (sizes.small, sizes.large):
            data = dataset(train=count)
            for workers, cores in modes.items():
                output = str(folder / f"run{count}-{workers}")
                beam = {"options": {"workers": workers}}
                measured = run_pipeline(
                    output,
                    data,
                    "Transform",
                    cores,
                    preprocessing=preprocessing,
                    beam=beam,
                )
                seconds[workers][count] = {name: measured[name]["seconds"] for name in COMPONENTS}
    images = sizes.large - sizes.small
    marginal = {
        workers: {name: of[sizes.large][name] - of[sizes.small][name] for name in COMPONENTS}
        for workers, of in seconds.items()
    }
    rates = {workers: images / sum(marginal[workers].values()) for workers in modes}
    small = {workers: sum(seconds[workers][sizes.small].values()) for workers in modes}
    report(
        "workers",
        rates[sizes.workers],
        "images/s",
        "one process pinned to one core",
        rates[1],
        **vars(sizes),
        **{f"{name}_ratio": marginal[1][name] / marginal[sizes.workers][name] for name in COMPONENTS},
        start_seconds=small[sizes.workers] - sizes.small / rates[sizes.workers],
    )


if __name__ == "__main__":
    main()
