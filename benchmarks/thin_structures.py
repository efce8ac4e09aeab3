"""What is thin, among what is large: segpipe's default against its former one after equal time, on drawn streets.

Poles, wires and lane markings are 1 to 3 pixels wide (`streets.py`). An encoder whose first map has half the resolution
could lose them; an encoder from photographs could find them better.
"""

import pathlib
import statistics
import sys

import streets
from common import CACHE, arguments, in_fresh_process, report, scratch
from recipes import EqualTime, Result, chosen, class_means, recipes


def main() -> None:
    """Measures and prints."""
    sizes = arguments(
        __doc__,
        seconds=480,
        seeds=1,
        train=200,
        evaluation=40,
        test=60,
        filters=16,
        height=streets.HEIGHT,
        width=streets.WIDTH,
        contenders="default,former_default",
    )
    known = recipes(sizes.filters)
    trained = {name: known[name] for name in chosen(sizes.contenders, known)}
    results: dict[str, list[Result]] = {}
    with scratch() as folder:
        data = in_fresh_process(converted, {"train": sizes.train, "eval": sizes.evaluation, "test": sizes.test})
        preprocessing = {"height": sizes.height, "width": sizes.width}
        training = EqualTime(sizes.seconds, str(folder / "run"), data, preprocessing)
        for seed in range(sizes.seeds):
            for name, recipe in trained.items():
                result = training.train(recipe, seed)
                results.setdefault(name, []).append(result)
                message = f"{name}, seed {seed}: mean IoU {result.mean_iou:.4f}, thin {_thin(result):.4f}"
                print(message, file=sys.stderr, flush=True)
    means = {name: statistics.mean(result.mean_iou for result in values) for name, values in results.items()}
    first, *others = means
    reference = others[0] if others else None
    report(
        "thin_structures",
        means[first],
        f"mean IoU of {first}",
        reference or "none",
        means[reference] if reference else None,
        **vars(sizes) | {"contenders": {name: _line(values) for name, values in results.items()}},
    )


def converted(counts: dict[str, int]) -> pathlib.Path:
    """The folder with so many streets of each split as TFRecords. Kept for later runs."""
    from data.convert import convert
    from data.formats.mask_folder import MaskFolderReader

    folder = CACHE / "data" / "-".join(map(str, ["streets", *counts.values()]))
    if not folder.is_dir():
        drawn = folder.with_name(folder.name + "-drawn")
        if not drawn.is_dir():
            streets.save(drawn, counts)
        convert(MaskFolderReader(folder=str(drawn), classes=streets.CLASSES), str(folder))
    return folder


def _thin(result: Result) -> float:
    return statistics.mean(result.ious[name] for name in streets.THIN if name in result.ious)


def _line(results: list[Result]) -> dict[str, object]:
    return {
        "mean_ious": [round(result.mean_iou, 4) for result in results],
        "thin": [round(_thin(result), 4) for result in results],
        "classes": class_means(results),
        "seconds": [round(result.seconds) for result in results],
    }


if __name__ == "__main__":
    main()
