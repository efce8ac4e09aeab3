"""What the benchmarks share: data sets of any size from real images, runs in fresh processes, one JSON line each."""

from __future__ import annotations

import argparse
import contextlib
import datetime
import importlib
import itertools
import json
import logging
import multiprocessing
import os
import pathlib
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parent.parent
PETS = ROOT.parent / "shared" / "data" / "oxford_iiit_pet"
CACHE = ROOT / "output" / "benchmarks"
# A Python that has PyTorch: that of `tools/pytorch.sh`, or another one.
PYTORCH = pathlib.Path(os.environ.get("PYTORCH_PYTHON") or ROOT / ".tools" / "pytorch" / "bin" / "python")

# What components import when they start; imported before, so that it counts for none of them.
_IMPORTS = (
    "pipeline.pipeline",
    "models.training.trainer",
    "tensorflow_data_validation",
    "tensorflow_transform.beam",
    "components.evaluator",
    "components.report.content",
)

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def arguments(description: str | None, **sizes: int | str) -> argparse.Namespace:
    """Parses the command line: one option for each size, or choice, with its default."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter, allow_abbrev=False
    )
    for name, value in sizes.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value, help=" ")
    return parser.parse_args()


def report(name: str, value: float, unit: str, reference: str, reference_value: float | None, **sizes: Any) -> None:
    """Prints the result as one line of JSON; `ratio` is value / reference value, if there is one and it is not 0."""
    ratio = value / reference_value if reference_value else None
    line = {
        "name": name,
        "value": _rounded(value),
        "unit": unit,
        "reference": reference,
        "reference_value": _rounded(reference_value),
        "ratio": _rounded(ratio),
        **{key: _rounded(item) for key, item in sizes.items()},
    }
    print(json.dumps(line), flush=True)


def _rounded(value: Any) -> Any:
    return float(f"{value:.3g}") if isinstance(value, float) else value


def source_folder() -> pathlib.Path:
    """Real images with masks by the data contract: the pets where they are, else the slices of the offline sample."""
    return _converted("pets") if PETS.is_dir() else sample_folder()


def sample_folder() -> pathlib.Path:
    """The slices of the offline sample by the data contract."""
    return _converted("brain_mri")


def _converted(name: str) -> pathlib.Path:
    folder = CACHE / name
    if not folder.is_dir():
        from data.convert import convert
        from data.formats.brain_mri import BrainMriReader
        from data.formats.oxford_pets import OxfordPetsReader

        convert(OxfordPetsReader(folder=str(PETS)) if name == "pets" else BrainMriReader(), str(folder))
    return folder


def converted_sets() -> dict[str, pathlib.Path]:
    """The data sets that are here, by name, by the data contract: pets, offline sample, nuclei, fruits."""
    shared = PETS.parent
    found = {"pets": _converted("pets")} if PETS.is_dir() else {}
    found["brain_mri"] = sample_folder()
    if (shared / "nuclei").is_dir():
        found["nuclei"] = _converted_folder("nuclei", _nuclei_as_classes)
    if (shared / "fruits_coco").is_dir():
        found["fruits"] = _converted_folder("fruits", lambda: shared / "fruits_coco")
    return found


def _converted_folder(name: str, source: Callable[[], pathlib.Path]) -> pathlib.Path:
    """A folder as `segpipe convert` reads it when it is given no format."""
    folder = CACHE / name
    if not folder.is_dir():
        from data.convert import convert
        from data.inspection.recognize import recognize

        found = recognize(str(source()))
        convert(found.reader, str(folder), listing=found.listing)
    return folder


def _nuclei_as_classes() -> pathlib.Path:
    """The nuclei with masks of two classes, 0 and 255, instead of one number for each nucleus."""
    import numpy as np
    from PIL import Image

    source, folder = PETS.parent / "nuclei", CACHE / "data" / "nuclei"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(source / "images", folder / "images")
    (folder / "masks").mkdir()
    for path in (source / "instances").iterdir():
        Image.fromarray(np.where(np.asarray(Image.open(path)), 255, 0).astype(np.uint8)).save(
            folder / "masks" / path.name
        )
    return folder


def _source_records() -> list[bytes]:
    import tensorflow as tf

    return [record.numpy() for record in tf.data.TFRecordDataset(sorted(map(str, source_folder().glob("*.tfrecord"))))]


def enlarged(record: bytes, height: int, width: int) -> bytes:
    """The example with its image, as JPEG, and its mask repeated in rows and columns up to a size in pixels."""
    import numpy as np
    import tensorflow as tf

    from data import contract
    from data.decoding.images import encode_png

    example = tf.train.Example.FromString(record)
    features = example.features.feature
    for name, channels in ((contract.IMAGE, 3), (contract.MASK, 1)):
        pixels = tf.io.decode_image(features[name].bytes_list.value[0], channels, expand_animations=False).numpy()
        times = (-(-height // pixels.shape[0]), -(-width // pixels.shape[1]), 1)
        pixels = np.tile(pixels, times)[:height, :width]
        encoded = tf.io.encode_jpeg(pixels).numpy() if channels == 3 else encode_png(pixels[..., 0])
        features[name].bytes_list.value[0] = encoded
    return example.SerializeToString()


def reduced(record: bytes, side: int) -> bytes:
    """The example with image, as JPEG, and mask made `side` pixels high and wide."""
    import tensorflow as tf

    from data import contract

    example = tf.train.Example.FromString(record)
    features = example.features.feature
    for name, channels in ((contract.IMAGE, 3), (contract.MASK, 1)):
        pixels = tf.io.decode_image(features[name].bytes_list.value[0], channels, expand_animations=False)
        if name == contract.IMAGE:
            small = tf.cast(tf.round(tf.image.resize(pixels, [side, side], antialias=True)), tf.uint8)
            features[name].bytes_list.value[0] = tf.io.encode_jpeg(small).numpy()
        else:
            features[name].bytes_list.value[0] = tf.io.encode_png(
                tf.image.resize(pixels, [side, side], "nearest")
            ).numpy()
    return example.SerializeToString()


def dataset(
    *,
    train: int,
    evaluation: int = 10,
    test: int = 10,
    shards: int = 4,
    size: tuple[int, int] | None = None,
    side: int = 0,
) -> pathlib.Path:
    """A data set by the contract: the source records again and again under distinct names. Kept for later scripts.

    Args:
      train: images of the train split, in `shards` files.
      evaluation: images of the eval split.
      test: images of the test split, in `shards` files.
      shards: files of the train and the test split.
      size: height and width that a few of the images are enlarged to; None leaves all as they are.
      side: height and width that all images are made; 0 leaves them as they are.

    Returns:
      Its folder.
    """
    import tensorflow as tf

    from data import contract

    sides = [f"side{side}"] if side else []
    name = "-".join(map(str, [source_folder().name, train, evaluation, test, shards, *(size or []), *sides]))
    folder = CACHE / "data" / name
    if folder.exists():
        return folder
    records = _source_records()
    if size:
        records = [enlarged(record, *size) for record in records[:20]]
    if side:
        records = [reduced(record, side) for record in records]
    unfinished = folder.with_suffix(".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    for split, count in (("train", train), ("eval", evaluation), ("test", test)):
        files = 1 if split == "eval" else shards
        for shard in range(files):
            with tf.io.TFRecordWriter(str(unfinished / f"{split}-{shard:05d}-of-{files:05d}.tfrecord")) as writer:
                for index in range(shard, count, files):
                    example = tf.train.Example.FromString(records[index % len(records)])
                    source_id = example.features.feature[contract.SOURCE_ID].bytes_list
                    source_id.value[0] += f"/{split}{index}".encode()
                    writer.write(example.SerializeToString())
    shutil.copy(source_folder() / contract.LABEL_MAP_FILE, unfinished)
    unfinished.rename(folder)
    return folder


@contextlib.contextmanager
def scratch() -> Iterator[pathlib.Path]:
    """A folder for runs, deleted at the end."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        yield pathlib.Path(folder)


def ingest(data: pathlib.Path) -> dict[str, dict[str, Any]]:
    """Runs the components before Transform, and returns what `run_pipeline` does; `ingested` finds them done."""
    shutil.rmtree(CACHE / "ingested" / data.name, ignore_errors=True)
    return run_pipeline(str(CACHE / "ingested" / data.name), data, "DataGate")


@contextlib.contextmanager
def ingested(data: pathlib.Path) -> Iterator[str]:
    """The output folder of a run in which TFX's cache has the components before Transform; others leave no trace."""
    output = CACHE / "ingested" / data.name
    run_pipeline(str(output), data, "DataGate")
    metadata, before = output / "metadata.sqlite", output / "metadata.before"
    shutil.copy(metadata, before)
    try:
        yield str(output)
    finally:
        before.replace(metadata)
        shutil.rmtree(output / "artifacts" / "Transform", ignore_errors=True)


def run_pipeline(
    output: str, data: pathlib.Path, to: str, cores: set[int] | None = None, **sections: dict[str, Any]
) -> dict[str, dict[str, Any]]:
    """Runs a component of segpipe's graph, after those that it takes something from, in a fresh process.

    Args:
      output: folder of the run; components that ran there before are answered from TFX's cache.
      data: folder of the TFRecords.
      to: the component; "" runs all.
      cores: processor cores that the process may use; all if None.
      sections: of the configuration.

    Returns:
      Of each component `seconds`, and `peak_megabytes` of the process's resident memory at its end; of the Trainer also
      `epochs`, `images_per_second` before its last evaluation, and the `epoch_seconds` of all, with evaluation.
    """
    values = {"name": "bench", "output": output, "data": {"input": str(data)}, **sections}
    return in_fresh_process(_run_pipeline, values, to, cores)


def trained_model(folder: pathlib.Path, data: pathlib.Path, sizes: argparse.Namespace) -> str:
    """The SavedModel of a plain U-Net after an epoch, made in a folder.

    Args:
      folder: of the run.
      data: folder of the TFRecords.
      sizes: with `pixels`, `filters` and `depth`.
    """
    sections = {
        "preprocessing": {"height": sizes.pixels, "width": sizes.pixels},
        "model": {"encoder": "plain", "filters": sizes.filters, "depth": sizes.depth},
        "train": {"epochs": 1},
    }
    run_pipeline(str(folder), data, "Trainer", **sections)
    (model,) = folder.glob("artifacts/Trainer/model/*/Format-Serving")
    return str(model)


def _run_pipeline(values: dict[str, Any], to: str, cores: set[int] | None) -> dict[str, dict[str, Any]]:
    if cores:
        os.sched_setaffinity(0, cores)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    import absl.logging

    for module in _IMPORTS:
        importlib.import_module(module)

    from pipeline.config import Config
    from pipeline.pipeline import create_pipeline
    from pipeline.records.metadata import database_of
    from pipeline.runners.local import run_components

    components = _Components()
    root = logging.getLogger()
    root.setLevel(logging.INFO)
    root.handlers[:] = [components]
    absl.logging.set_verbosity(absl.logging.INFO)  # Else Keras and others set the level back when they are imported.
    config = Config.model_validate(values)
    os.makedirs(config.output, exist_ok=True)  # For the metadata; `segpipe run` makes it, too.
    pipeline = create_pipeline(config)
    names = [component.id for component in pipeline.components]  # In an order in which they can run.
    if to:
        needed = _needed(pipeline.components, to)
        names = [name for name in names if name in needed]
    run_components(pipeline, names, database_of(config), datetime.datetime.now().isoformat(), components)
    return components.measured


def _needed(components: Iterable[Any], to: str) -> set[str]:
    """The names of a component and of all that it comes after, as it takes something from them or waits for them."""
    waiting, names = [component for component in components if component.id == to], set()
    while waiting:
        component = waiting.pop()
        names.add(component.id)
        waiting += component.upstream_nodes
    return names


def evaluated(output: str) -> float:
    """Mean IoU by the newest evaluation in an output folder; call it in a fresh process."""
    return evaluated_classes(output)[0]


def evaluated_classes(output: str) -> tuple[float, dict[str, float]]:
    """Mean IoU, and the IoU of each class that occurs by its name, as `evaluated`."""
    from components.evaluator import read_metrics
    from models.evaluation.metric_table import of_classes

    evaluations = pathlib.Path(output, "artifacts", "Evaluator", "evaluation").iterdir()
    newest = max(evaluations, key=lambda folder: int(folder.name))
    values = read_metrics(str(newest), "")[""]
    ious = {name: iou for name, iou in of_classes("iou", values).items() if iou is not None}
    return values["mean_iou"] or 0.0, ious


class _Components(logging.Handler):
    """Measures components as the local runner starts and ends them, and epochs by the trainer's messages."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.measured: dict[str, dict[str, Any]] = {}
        self._component = ""
        self._started = self._images_per_second = self._epochs = 0.0
        self._epochs_ended: list[float] = []

    def start(self, component: str) -> None:
        """A component starts."""
        self._component, self._started = component, time.monotonic()

    def end(self, _: str) -> None:
        """It ended."""
        measured: dict[str, Any] = {"seconds": time.monotonic() - self._started, "peak_megabytes": peak_megabytes()}
        if self._component == "Trainer":
            measured["epochs"] = self._epochs
            measured["images_per_second"] = self._images_per_second
            ended = [self._started, *self._epochs_ended]
            measured["epoch_seconds"] = [b - a for a, b in itertools.pairwise(ended)]
        self.measured[self._component] = measured

    def emit(self, record: logging.LogRecord) -> None:
        if record.name == "segpipe.training" and record.msg.startswith("epoch"):
            self._images_per_second = record.args[-1]  # type: ignore[index, assignment]
            self._epochs = float(re.findall(r"epoch ([\d.]+)", record.getMessage())[0])
            self._epochs_ended.append(time.monotonic())


def peak_megabytes() -> float:
    """The peak of this process's resident memory so far, 10⁶ bytes."""
    return int(re.findall(r"VmHWM:\s+(\d+) kB", pathlib.Path("/proc/self/status").read_text())[0]) * 1024 / 1e6


def in_fresh_process(function: Callable[..., Any], *args: Any) -> Any:
    """Calls a function of a script's module level in a process of its own, which has done nothing but imports."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(_IMPORTS))
    with context.Pool(1) as pool:
        return pool.apply(function, args)


def train_files(data: pathlib.Path, split: str = "train") -> list[str]:
    """The TFRecords of a split."""
    return sorted(map(str, data.glob(f"{split}-*")))


def num_classes(data: pathlib.Path) -> int:
    """C, from the label map beside the TFRecords."""
    from data.contract import LABEL_MAP_FILE
    from data.label_map import LabelMap

    return len(LabelMap.load(str(data / LABEL_MAP_FILE)))


def alternating(rounds: int, *functions: Callable[[], float]) -> list[float]:
    """Calls the functions in turn, so that slow spells hit all, and returns the median of each; of two the larger."""
    results: list[list[float]] = [[] for _ in functions]
    for _ in range(rounds):
        for function, values in zip(functions, results, strict=True):
            values.append(function())
    return [sorted(values)[len(values) // 2] for values in results]
