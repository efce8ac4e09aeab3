"""What `segpipe plan` proposes against the best of a small grid, after equal training time: a line for each data set.

The grid differs in size, encoder and small sizes; all else is the default recipe. Data sets are the pets, the offline
sample, the nuclei and the fruits, as far as they are here. Mean IoU is that of the test split at each image's own size,
as the mean over the seeds; `difference` is the plan's minus the best of the grid.
"""

import statistics
import sys
from typing import Any

from common import arguments, converted_sets, evaluated, in_fresh_process, report, run_pipeline, scratch

from pipeline.planning.numbers import PRETRAINED, RANDOM

# Height and width, encoder with its options, small sizes.
GRID: dict[str, tuple[int, dict[str, Any], float]] = {
    "plain_128": (128, {"encoder": RANDOM, "filters": 16}, 0.8),
    "pretrained_128": (128, {"encoder": PRETRAINED}, 0.4),
    "pretrained_224": (224, {"encoder": PRETRAINED}, 0.4),
    "pretrained_224_full_size": (224, {"encoder": PRETRAINED}, 0.0),
}


def main() -> None:
    """Measures and prints."""
    sizes = arguments(__doc__, seconds=480, seeds=1, sets=4, configurations=len(GRID))
    minutes = sizes.seconds / 60
    for name, data in list(converted_sets().items())[: sizes.sets]:
        planned = in_fresh_process(_planned, str(data), minutes)
        channels = planned["preprocessing"]["channels"]
        contenders = {"plan": planned}
        for key in list(GRID)[: sizes.configurations]:
            contenders[key] = _of_grid(*GRID[key], channels, minutes)
        mean_ious: dict[str, list[float]] = {key: [] for key in contenders}
        with scratch() as folder:
            output = str(folder / "run")
            for seed in range(sizes.seeds):
                for key, sections in contenders.items():
                    train = {**sections["train"], "seed": seed}
                    run_pipeline(output, data, "Evaluator", **{**sections, "train": train})
                    mean_ious[key].append(in_fresh_process(evaluated, output))
                    told = f"{name}, {key}, seed {seed}: mean IoU {mean_ious[key][-1]:.4f}"
                    print(told, file=sys.stderr, flush=True)
        means = {key: round(statistics.mean(values), 4) for key, values in mean_ious.items()}
        grid = {key: mean for key, mean in means.items() if key != "plan"}
        best = max(grid, key=lambda key: grid[key])
        report(
            "plan",
            means["plan"],
            "mean IoU",
            f"{best}, the best of the grid",
            grid[best],
            data=name,
            difference=round(means["plan"] - grid[best], 4),
            grid=grid,
            plan={key: planned[key] for key in ("preprocessing", "model", "train")},
            **vars(sizes),
        )


def _of_grid(
    pixels: int, model: dict[str, Any], small_sizes: float, channels: int, minutes: float
) -> dict[str, dict[str, Any]]:
    return {
        "preprocessing": {"height": pixels, "width": pixels, "channels": channels},
        "model": model,
        "train": {"minutes": minutes, "small_sizes": small_sizes},
        "gate": {"min": {"mean_iou": 0}},
    }


def _planned(data: str, minutes: float) -> dict[str, dict[str, Any]]:
    """The sections that the plan decides, with a gate that lets all models pass."""
    import yaml

    from data.inspection.records import look_at_records
    from pipeline.planning import DataFacts, make_plan, this_machine

    facts = DataFacts.of_sample(*look_at_records(data, lambda *_: None))
    sections = yaml.safe_load(make_plan(facts, this_machine(), minutes).text("plan", data))
    return {key: sections[key] for key in ("preprocessing", "model", "train")} | {"gate": {"min": {"mean_iou": 0}}}


if __name__ == "__main__":
    main()
