"""Mean IoU on the test split after equal training time: segpipe's default recipe against that of its first version.

Beside them, with the same U-Net and time, a plain Keras loop and, where PyTorch is installed, a plain PyTorch loop; all
with several seeds. Both loops get decoded arrays, so reading costs them nothing. PyTorch may be that of another Python,
which the environment variable PYTORCH_PYTHON names.

Of the recipes `seconds` is what the Trainer component takes; the number of epochs that fit is measured before. Of the
loops it is what the script takes until it is trained, and they have the time of the slower recipe.
"""

import glob
import os
import pathlib
import statistics
import subprocess
import sys

from common import arguments, epochs_in, evaluated, in_fresh_process, report, run_pipeline, scratch, source_folder

# The train section of configs/oxford_pets.yaml in the first version, and what was the default then.
FIRST_VERSION = {
    "batch_size": 8,
    "loss": "cross_entropy",
    "class_weights": "root_median_frequency",
    "small_sizes": 0,
    "optimizer": "adamw",
    "schedule": "cosine",
    "learning_rate": 1e-3,
    "warmup_epochs": 2,
    "weight_decay": 1e-4,
    "gradient_clip_norm": 0.0,
    "ema_momentum": 0.0,
    "augmentation": {
        "flip_horizontal": True,
        "rotation_degrees": 20,
        "scale": 1.5,
        "brightness": 0,
        "contrast": 0,
        "saturation": 0,
    },
}
RECIPES: dict[str, dict] = {"default": {}, "first_version": FIRST_VERSION}
LOOPS = {"keras": "plain_keras.py", "pytorch": "plain_pytorch.py"}


def main() -> None:
    """Measures and prints."""
    sizes = arguments(__doc__, seconds=90, seeds=3, pixels=128, filters=16, timed_epochs=10)
    base = {
        "preprocessing": {"height": sizes.pixels, "width": sizes.pixels},
        "model": {"filters": sizes.filters},
        "gate": {"min": {"mean_iou": 0}},
    }
    data = source_folder()
    results: dict[str, list[tuple[float, float]]] = {}
    with scratch() as folder:
        output = str(folder / "run")
        epochs = {
            name: epochs_in(sizes.seconds, output, data, base, recipe, sizes.timed_epochs)
            for name, recipe in RECIPES.items()
        }
        arrays = str(folder / "arrays.npz")
        in_fresh_process(_save_arrays, output, base, arrays)
        for seed in range(sizes.seeds):
            for name, recipe in RECIPES.items():
                train = {**recipe, "epochs": epochs[name], "seed": seed}
                seconds = run_pipeline(output, data, "Evaluator", **base, train=train)["Trainer"]["seconds"]
                results.setdefault(name, []).append((in_fresh_process(evaluated, output), seconds))
                _tell(name, seed, results)
            # Neither loop has less time than a recipe took.
            allowed = max(values[seed][1] for values in results.values() if len(values) > seed)
            for name, script in LOOPS.items():
                predictions = str(folder / "predictions.npy")
                python = os.environ.get("PYTORCH_PYTHON", sys.executable) if name == "pytorch" else sys.executable
                command = [python, "-W", "ignore", str(pathlib.Path(__file__).parent / script), arrays]
                command += [str(allowed), str(seed), str(sizes.filters), predictions]
                finished = subprocess.run(command, capture_output=True, text=True, check=False)
                if "No module named 'torch'" in finished.stderr:
                    continue
                if finished.returncode:
                    sys.exit(finished.stderr)
                mean_iou = in_fresh_process(_mean_iou, arrays, predictions)
                results.setdefault(name, []).append((mean_iou, float(finished.stdout.split()[-1])))
                _tell(name, seed, results)
    mean_ious = {name: [mean_iou for mean_iou, _ in values] for name, values in results.items()}
    means = {name: statistics.mean(values) for name, values in mean_ious.items()}
    report(
        "quality",
        means["default"],
        "mean IoU",
        "the first version's recipe",
        means["first_version"],
        **vars(sizes),
        difference=means["default"] - means["first_version"],
        contenders={
            name: {
                "mean": round(means[name], 4),
                "standard_deviation": round(statistics.stdev(values), 4) if len(values) > 1 else None,
                "mean_ious": [round(value, 4) for value in values],
                "seconds": [round(seconds) for _, seconds in results[name]],
                "epochs": epochs.get(name),
            }
            for name, values in mean_ious.items()
        },
    )


def _tell(name: str, seed: int, results: dict[str, list[tuple[float, float]]]) -> None:
    mean_iou, seconds = results[name][-1]
    print(f"{name}, seed {seed}: mean IoU {mean_iou:.4f} after {seconds:.0f} s", file=sys.stderr, flush=True)


def _save_arrays(output: str, base: dict, path: str) -> None:
    import numpy as np
    import tensorflow_transform as tft

    from models.inputs.input_pipeline import DecodedExamples
    from models.inputs.settings import PreprocessingSettings

    (graph,) = glob.glob(f"{output}/artifacts/Transform/transform_graph/*")
    layer = tft.TFTransformOutput(graph).transform_features_layer()
    shape = PreprocessingSettings.model_validate(base["preprocessing"])
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


def _mean_iou(arrays: str, predictions: str) -> float:
    import numpy as np

    from models.evaluation.metrics import class_totals, confusion_matrix, mean_iou

    labels, class_ids = np.load(arrays)["test_y"], np.load(predictions)
    num_classes = 1 + max(int(labels[labels < 255].max()), int(class_ids.max()))
    return float(mean_iou(class_totals(confusion_matrix(labels, class_ids, num_classes))))


if __name__ == "__main__":
    main()
