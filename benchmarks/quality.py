"""Mean IoU on the test split after equal training time: segpipe's default against its former ones and other libraries.

The contenders, of which `contenders` chooses some:
  default         what segpipe trains when nothing is configured
  folds           five of them, each for a fifth of the time, which predict together (`train.folds: 5`)
  former_default  the plain U-Net from random weights, by the recipe from before encoders had ImageNet's weights
  first_version   the same U-Net by the first version's recipe
  smp             U-Net of segmentation-models-pytorch on EfficientNet-Lite0, the same file of weights, a usual recipe
  keras           the plain U-Net in a plain Keras loop
  pytorch         the plain U-Net in a plain PyTorch loop

All get several seeds. The last three get decoded arrays, so reading costs them nothing. Two of them need the PyTorch of
`tools/pytorch.sh`, or of the Python that the environment variable PYTORCH_PYTHON names, and are left out without.

Of segpipe's, `seconds` is `train.minutes`. The others' scripts have the time that the slowest Trainer component of
these took in all; smp has it for its training steps alone.
"""

import dataclasses
import glob
import pathlib
import statistics
import subprocess
import sys

from common import PYTORCH, arguments, in_fresh_process, report, run_pipeline, scratch, source_folder
from recipes import EqualTime, Result, chosen, class_means, recipes


@dataclasses.dataclass(frozen=True)
class Loop:
    """A script that trains on arrays for a time.

    Attributes:
      script: beside this one.
      needs_pytorch: whether it runs in the environment with PyTorch.
      is_plain: whether it is told the filters of the plain U-Net.
    """

    script: str
    needs_pytorch: bool
    is_plain: bool


LOOPS = {
    "smp": Loop("pretrained_pytorch.py", needs_pytorch=True, is_plain=False),
    "keras": Loop("plain_keras.py", needs_pytorch=False, is_plain=True),
    "pytorch": Loop("plain_pytorch.py", needs_pytorch=True, is_plain=True),
}


def main() -> None:
    """Measures and prints."""
    sizes = arguments(
        __doc__,
        seconds=480,
        seeds=3,
        pixels=128,
        filters=16,
        contenders="default,former_default,smp,first_version,keras,pytorch",
    )
    known = recipes(sizes.filters)
    names = chosen(sizes.contenders, [*known, *LOOPS])
    trained = {name: known[name] for name in names if name in known}
    preprocessing = {"height": sizes.pixels, "width": sizes.pixels}
    results: dict[str, list[Result]] = {}
    with scratch() as folder:
        output, data = str(folder / "run"), source_folder()
        run_pipeline(output, data, "Transform", preprocessing=preprocessing)
        arrays = str(folder / "arrays.npz")
        in_fresh_process(_save_arrays, output, preprocessing, arrays)
        training = EqualTime(sizes.seconds, output, data, preprocessing)
        for seed in range(sizes.seeds):
            for name, recipe in trained.items():
                _add(results, name, seed, training.train(recipe, seed))
            allowed = max((results[name][-1].seconds for name in trained), default=float(sizes.seconds))
            for name in names:
                if name in LOOPS and (result := _looped(LOOPS[name], arrays, allowed, seed, sizes.filters)):
                    _add(results, name, seed, result)
    if not results:
        sys.exit("none of the contenders can run: tools/pytorch.sh installs PyTorch")
    means = {name: statistics.mean(result.mean_iou for result in values) for name, values in results.items()}
    first, *others = means
    reference = others[0] if others else None
    report(
        "quality",
        means[first],
        f"mean IoU of {first}",
        reference or "none",
        means[reference] if reference else None,
        **vars(sizes) | {"contenders": {name: _line(values) for name, values in results.items()}},
        ahead_of={name: round(means[first] - means[name], 4) for name in others},
    )


def _line(results: list[Result]) -> dict[str, object]:
    mean_ious = [result.mean_iou for result in results]
    return {
        "mean": round(statistics.mean(mean_ious), 4),
        "standard_deviation": round(statistics.stdev(mean_ious), 4) if len(results) > 1 else None,
        "mean_ious": [round(value, 4) for value in mean_ious],
        "classes": class_means(results),
        "seconds": [round(result.seconds) for result in results],
    }


def _add(results: dict[str, list[Result]], name: str, seed: int, result: Result) -> None:
    results.setdefault(name, []).append(result)
    message = f"{name}, seed {seed}: mean IoU {result.mean_iou:.4f} after {result.seconds:.0f} s"
    print(message, file=sys.stderr, flush=True)


def _looped(loop: Loop, arrays: str, seconds: float, seed: int, filters: int) -> Result | None:
    """Runs a script; None if it needs PyTorch, which is not there."""
    python = sys.executable
    if loop.needs_pytorch:
        python = str(PYTORCH) if PYTORCH.exists() else sys.executable
    predictions = str(pathlib.Path(arrays).parent / "predictions.npy")
    command = [python, "-W", "ignore", str(pathlib.Path(__file__).parent / loop.script), arrays]
    command += [str(seconds), str(seed), predictions, *([str(filters)] if loop.is_plain else [])]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    if loop.needs_pytorch and "ModuleNotFoundError" in finished.stderr:
        print(f"{loop.script} left out: {finished.stderr.splitlines()[-1]}", file=sys.stderr, flush=True)
        return None
    if finished.returncode:
        sys.exit(finished.stderr)
    ious = in_fresh_process(_ious, arrays, predictions)
    return Result(statistics.mean(ious.values()), ious, float(finished.stdout.split()[-1]))


def _save_arrays(output: str, preprocessing: dict, path: str) -> None:
    import numpy as np
    import tensorflow_transform as tft

    from models.inputs.input_pipeline import DecodedExamples
    from models.inputs.settings import PreprocessingSettings

    (graph,) = glob.glob(f"{output}/artifacts/Transform/transform_graph/*")
    layer = tft.TFTransformOutput(graph).transform_features_layer()
    shape = PreprocessingSettings.model_validate(preprocessing)
    arrays = {}
    for split in ("train", "eval", "test"):
        pattern = f"{source_folder()}/{split}-*"
        count = sum(1 for name in glob.glob(pattern) for _ in _records(name))
        examples = DecodedExamples([pattern], layer, shape, count, "")
        arrays.update({f"{split}_x": examples.pixels, f"{split}_y": examples.labels})
    np.savez(path, **arrays)


def _records(path: str):
    import tensorflow as tf

    return tf.data.TFRecordDataset(path)


def _ious(arrays: str, predictions: str) -> dict[str, float]:
    """Of each class that occurs, by name."""
    import numpy as np

    from data.contract import LABEL_MAP_FILE
    from data.label_map import LabelMap
    from models.evaluation.metrics import class_iou, class_totals, confusion_matrix

    names = LabelMap.load(str(source_folder() / LABEL_MAP_FILE)).names
    labels, class_ids = np.load(arrays)["test_y"], np.load(predictions)
    ious = class_iou(class_totals(confusion_matrix(labels, class_ids, len(names))))
    return {name: float(iou) for name, iou in zip(names, ious, strict=True) if np.isfinite(iou)}


if __name__ == "__main__":
    main()
