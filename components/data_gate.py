"""Data gate: stops the pipeline, before anything expensive runs, if the data breaks the contract.

TFX's ExampleValidator records anomalies and lets the pipeline go on. This component stops it, and checks what TFDV
cannot see: that images and masks decode, that their sizes agree, that class ids are in the label map, that every class
occurs, that no example is in two splits. It also computes pixel statistics for the trainer's class weights.
"""

from __future__ import annotations

import functools
import json
import logging
import operator
import os
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow as tf
from apache_beam.metrics import Metrics
from apache_beam.options.pipeline_options import PipelineOptions
from google.protobuf.message import DecodeError
from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx import types
from tfx.dsl.components.base import base_beam_component, base_beam_executor, executor_spec
from tfx.types import artifact_utils, component_spec, standard_artifacts

from data import contract
from data.base.errors import UserError
from data.base.files import read_bytes, write_text
from data.contract import IGNORE_LABEL
from data.decoding.structure import read_header
from data.label_map import LabelMap
from data.spans import NEWEST_SPLIT

STATISTICS_FILE = "statistics.json"
_SHOWN = 10
# Images are counted by size: the power of two of their number of pixels.
_SIZES = 32
_COUNTS = 1 + 2 * 256 + _SIZES
# Examples decoded at a time; together with the number of threads, this bounds the memory.
_BATCH_SIZE = 16
_PROGRESS_SECONDS = 10.0
# An example keeps its role for ever. Roles are bits, so that those of one name can be combined.
_ROLES = {"train": 1, "eval": 2, "test": 4, NEWEST_SPLIT: 4}
_LOG = logging.getLogger("segpipe.data_gate")
_RANGE = "preprocessing.intensity_range: [LOW, HIGH]"


class DataGateError(UserError):
    """The data set is not fit for training; the message says which features, splits and examples."""


class DataStatistics(types.Artifact):
    """The data gate's statistics as JSON: examples, class shares of the labeled pixels and image sizes, per split."""

    TYPE_NAME = "components.DataStatistics"


class DataGateSpec(component_spec.ComponentSpec):
    """Inputs, outputs and parameters of the data gate."""

    PARAMETERS = {
        "label_map": component_spec.ExecutionParameter(type=str),
        "takes_16_bits": component_spec.ExecutionParameter(type=int),
    }
    INPUTS = {
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "anomalies": component_spec.ChannelParameter(type=standard_artifacts.ExampleAnomalies),
    }
    OUTPUTS = {"statistics": component_spec.ChannelParameter(type=DataStatistics)}


class _CheckExamples(beam.DoFn):
    """Batches of serialized examples → the sum, minimum and maximum of their vectors.

    Names of unusable examples and what is wrong with them go to the output `bad`; each name, with the bit of its
    split's role, to the output `names`.

    An example's vector, to be summed: 1; pixels by value (256); whether each value occurs (256); 1 at the power of two
    of its number of pixels (32). Its height and width are not summed.
    """

    def __init__(self, split: str, num_classes: int, takes_16_bits: bool = True):
        self._split, self._num_classes, self._takes_16_bits = split, num_classes, takes_16_bits
        self._checked = Metrics.counter("data_gate", "examples_checked")
        self._done = 0
        self._last_progress = 0.0

    def setup(self) -> None:
        # TensorFlow's decoders run without Python's lock.
        self._threads = ThreadPoolExecutor(len(os.sched_getaffinity(0)))
        self._last_progress = time.monotonic()

    def teardown(self) -> None:
        self._threads.shutdown()

    def process(self, batch: list[bytes]) -> Iterator[Any]:
        vectors = []
        for serialized, result in zip(batch, self._threads.map(self._vector, batch), strict=True):
            name = _source_id(serialized)
            if name:
                yield beam.pvalue.TaggedOutput("names", (name, _ROLES.get(self._split, 0)))
            if isinstance(result, ValueError):
                shown = name or f"(no {contract.SOURCE_ID})"
                yield beam.pvalue.TaggedOutput("bad", (self._split, shown, str(result)))
            else:
                vectors.append(result)
        if vectors:
            counts, sizes = np.split(np.stack(vectors), [_COUNTS], axis=1)
            yield self._split, (counts.sum(axis=0), sizes.min(axis=0), sizes.max(axis=0))
        self._checked.inc(len(batch))
        self._done += len(batch)
        if time.monotonic() - self._last_progress > _PROGRESS_SECONDS:
            _LOG.info("%d examples of split %s checked", self._done, self._split)
            self._last_progress = time.monotonic()

    def _vector(self, serialized: bytes) -> np.ndarray | ValueError:
        try:
            pixels, height, width = self._check(tf.train.Example.FromString(serialized))
        except DecodeError:
            return ValueError("the record is not a tf.train.Example")
        except ValueError as error:
            return error
        sizes = np.arange(_SIZES) == int(height * width).bit_length() - 1
        return np.concatenate([[1], pixels, pixels > 0, sizes, [height, width]]).astype(np.int64)

    def _check(self, example: tf.train.Example) -> tuple[np.ndarray, int, int]:
        image = _decode(_single_bytes(example, contract.IMAGE), contract.IMAGE)
        mask = _decode(_single_bytes(example, contract.MASK), contract.MASK)
        header = read_header(_single_bytes(example, contract.IMAGE))
        if header and header.bits == 16 and not self._takes_16_bits:
            raise ValueError(f"{contract.IMAGE} has 16 bits per channel; set {_RANGE} to what becomes black and white")
        if mask.shape[:2] != image.shape[:2]:
            raise ValueError(
                f"sizes differ: the image has {image.shape[1]}x{image.shape[0]} pixels, "
                f"the mask {mask.shape[1]}x{mask.shape[0]}"
            )
        pixels = np.bincount(mask.ravel(), minlength=256)
        unknown = np.flatnonzero(pixels[self._num_classes : IGNORE_LABEL]) + self._num_classes
        if len(unknown):
            raise ValueError(
                f"class id {', '.join(map(str, unknown))} is not in the label map (0 to {self._num_classes - 1})"
            )
        return pixels, image.shape[0], image.shape[1]


def _source_id(serialized: bytes) -> str:
    try:
        names = tf.train.Example.FromString(serialized).features.feature[contract.SOURCE_ID].bytes_list.value
    except DecodeError:
        names = []
    return names[0].decode(errors="replace") if names else ""


def _single_bytes(example: tf.train.Example, name: str) -> bytes:
    values = example.features.feature[name].bytes_list.value
    if len(values) != 1:
        raise ValueError(f"{name} must hold one string of bytes; it has {len(values)}")
    return values[0]


def _decode(content: bytes, name: str) -> np.ndarray:
    """[height, width, channels] uint8, once it is clear that the transform graph takes it and changes no class id."""
    is_jpeg, is_png = content.startswith(b"\xff\xd8\xff"), content.startswith(b"\x89PNG\r\n\x1a\n")
    if name == contract.MASK:
        # The header's first chunk: width, height, then bit depth and color type, which is 0 for grayscale.
        if not is_png or content[24:26] != b"\x08\x00":
            raise ValueError(f"{name} is not a PNG with one 8-bit channel, which holds class ids")
    elif not (is_jpeg or is_png):
        raise ValueError(f"{name} is neither a JPEG nor a PNG image")
    try:
        if is_jpeg and tf.io.extract_jpeg_shape(content)[2] == 4:
            raise ValueError(f"{name} has four channels (CMYK); it must be RGB or grayscale")
        return tf.io.decode_image(content, expand_animations=False).numpy()
    except tf.errors.InvalidArgumentError:
        raise ValueError(f"{name} is not an image that TensorFlow can decode") from None


class _Merge(beam.CombineFn):
    """Merges the sums, smallest and largest of batches."""

    def create_accumulator(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return np.zeros(_COUNTS, np.int64), np.full(2, np.iinfo(np.int64).max), np.zeros(2, np.int64)

    def add_input(self, accumulator: Any, element: Any) -> Any:
        return self.merge_accumulators([accumulator, element])

    def merge_accumulators(self, accumulators: Iterable[Any]) -> Any:
        totals, smallest, largest = zip(*accumulators, strict=True)
        return np.sum(totals, axis=0), np.min(smallest, axis=0), np.max(largest, axis=0)

    def extract_output(self, accumulator: Any) -> list[list[int]]:
        return [vector.tolist() for vector in accumulator]


def _union(roles: Iterable[int]) -> int:
    return functools.reduce(operator.or_, roles, 0)


def _check_files(
    pipeline: beam.Pipeline, files: dict[str, str], num_classes: int, results: str, takes_16_bits: bool = True
) -> None:
    """Decodes every example once.

    Args:
      pipeline: to add the steps to.
      files: pattern of TFRecord files by split.
      num_classes: in the label map.
      results: file to write to, as JSON: `sums` by split, examples that cannot be used (`bad`, and their `count`), and
        names that are in several splits (`shared`, `shared_count`).
    """
    checked = [
        pipeline
        | f"Read[{split}]" >> beam.io.ReadFromTFRecord(pattern)
        | f"Batch[{split}]" >> beam.BatchElements(_BATCH_SIZE, _BATCH_SIZE)
        | f"Check[{split}]"
        >> beam.ParDo(_CheckExamples(split, num_classes, takes_16_bits)).with_outputs("bad", "names", main="vectors")
        for split, pattern in files.items()
    ]
    sums = (
        [outputs.vectors for outputs in checked]
        | "FlattenVectors" >> beam.Flatten()
        | "Merge" >> beam.CombinePerKey(_Merge())
    )
    # A sample is enough for a message; all of them could be as many as there are examples.
    bad = [outputs.bad for outputs in checked] | "FlattenBad" >> beam.Flatten()
    shared = (
        [outputs.names for outputs in checked]
        | "FlattenNames" >> beam.Flatten()
        | "Roles" >> beam.CombinePerKey(_union)
        | "OfSeveral" >> beam.Filter(lambda item: item[1] & (item[1] - 1))
    )
    found = {
        "sums": beam.pvalue.AsDict(sums),
        "count": beam.pvalue.AsSingleton(bad | "CountBad" >> beam.combiners.Count.Globally()),
        "bad": beam.pvalue.AsSingleton(bad | "SmallestBad" >> beam.combiners.Top.Smallest(_SHOWN)),
        "shared_count": beam.pvalue.AsSingleton(shared | "CountShared" >> beam.combiners.Count.Globally()),
        "shared": beam.pvalue.AsSingleton(shared | "SmallestShared" >> beam.combiners.Top.Smallest(_SHOWN)),
    }
    _ = (
        pipeline
        | beam.Create([None])
        | "Collect" >> beam.Map(lambda _, **values: json.dumps(values), **found)
        | beam.io.WriteToText(results, shard_name_template="")
    )


def describe_files(patterns: list[str], label_map: LabelMap, folder: str) -> dict[str, Any]:
    """Statistics of several TFRecord files together, like those that the data gate writes for a split.

    Args:
      patterns: of the files.
      label_map: of the files.
      folder: for temporary files.

    Raises:
      DataGateError: if an example is unusable, or there is none.
    """
    results = os.path.join(folder, "results")
    options = PipelineOptions(["--direct_running_mode=in_memory", "--sdk_container_image=none"])
    with beam.Pipeline(options=options) as pipeline:
        _check_files(pipeline, {os.path.basename(pattern): pattern for pattern in patterns}, len(label_map), results)
    collected = json.loads(read_bytes(results))
    _stop_on_bad_examples(collected["bad"], collected["count"])
    sums = [tuple(map(np.array, vectors)) for vectors in collected["sums"].values()]
    if not sums:
        raise DataGateError(f"there is no example in {', '.join(patterns)}")
    total = _Merge().extract_output(_Merge().merge_accumulators(sums))
    return _statistics({"all": total}, ["all"], label_map)["splits"]["all"]


class Executor(base_beam_executor.BaseBeamExecutor):
    """Reads the anomalies, then decodes every example once."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes the statistics, or raises DataGateError."""
        anomalies = artifact_utils.get_single_instance(input_dict["anomalies"])
        _stop_on_anomalies(anomalies)
        examples = artifact_utils.get_single_instance(input_dict["examples"])
        label_map = LabelMap.model_validate_json(exec_properties["label_map"])
        splits = artifact_utils.decode_split_names(examples.split_names)
        files = {split: os.path.join(artifact_utils.get_split_uri([examples], split), "*") for split in splits}
        results = os.path.join(self._get_tmp_dir(), "results")
        with self._make_beam_pipeline() as pipeline:
            _check_files(pipeline, files, len(label_map), results, bool(exec_properties.get("takes_16_bits")))
        collected = json.loads(read_bytes(results))
        _stop_on_bad_examples(collected["bad"], collected["count"])
        _stop_on_shared_examples(collected["shared"], collected["shared_count"])
        statistics = _statistics(collected["sums"], splits, label_map)
        _stop_on_missing_classes(statistics, label_map)
        write_text(
            os.path.join(artifact_utils.get_single_uri(output_dict["statistics"]), STATISTICS_FILE),
            json.dumps(statistics, indent=2),
        )


def _stop_on_anomalies(artifact: types.Artifact) -> None:
    lines = []
    for split in artifact_utils.decode_split_names(artifact.split_names):
        path = os.path.join(artifact.uri, f"Split-{split}", "SchemaDiff.pb")
        for feature, info in sorted(_load_anomalies(path).anomaly_info.items()):
            # Features beyond the contract do no harm: nothing reads them.
            if {reason.type for reason in info.reason} != {anomalies_pb2.AnomalyInfo.SCHEMA_NEW_COLUMN}:
                lines.append(f"  split {split}, feature {feature}: {info.description}")
    if lines:
        raise DataGateError("\n".join(["the data does not fit the schema:", *_shorten(lines)]))


def _load_anomalies(path: str) -> anomalies_pb2.Anomalies:
    anomalies = anomalies_pb2.Anomalies()
    anomalies.ParseFromString(read_bytes(path))
    return anomalies


def _stop_on_bad_examples(shown: list[list[str]], count: int) -> None:
    if count:
        lines = [f"  split {split}, example {name}: {fault}" for split, name, fault in shown]
        more = [f"  … and {count - len(shown)} more"] if count > len(shown) else []
        raise DataGateError("\n".join([f"{count} example(s) cannot be used:", *lines, *more]))


def _stop_on_shared_examples(shown: list[list[Any]], count: int) -> None:
    if count:
        lines = [
            f"  {name}: in {', '.join(split for split in contract.SPLITS if _ROLES[split] & roles)}"
            for name, roles in shown
        ]
        more = [f"  … and {count - len(shown)} more"] if count > len(shown) else []
        remedy = "a model must not be tested on what it was trained on; convert all spans with the same --split"
        raise DataGateError("\n".join([f"{count} example(s) are in more than one split:", *lines, *more, remedy]))


def _stop_on_missing_classes(statistics: dict[str, Any], label_map: LabelMap) -> None:
    lines = [f"  split {split}: no example" for split, values in statistics["splits"].items() if not values["examples"]]
    train = statistics["splits"].get("train", {}).get("pixel_shares", {})
    lines += [f"  split train: no pixel of class {name}" for name in label_map.names if not train.get(name)]
    if lines:
        raise DataGateError("\n".join(["the data lacks what training needs:", *lines]))


def _shorten(lines: list[str]) -> list[str]:
    return lines if len(lines) <= 2 * _SHOWN else [*lines[: 2 * _SHOWN], f"  … and {len(lines) - 2 * _SHOWN} more"]


def _statistics(sums: dict[str, Any], splits: list[str], label_map: LabelMap) -> dict[str, Any]:
    result: dict[str, dict[str, Any]] = {}
    for split in sorted(splits):
        if split not in sums:
            result[split] = {"examples": 0}
            continue
        total, smallest, largest = sums[split]
        pixels = np.array(total[1 : 1 + len(label_map)])
        result[split] = {
            "examples": total[0],
            "pixels": sum(total[1:257]),
            "pixel_shares": dict(zip(label_map.names, (pixels / max(pixels.sum(), 1)).tolist(), strict=True)),
            "examples_with_class": dict(zip(label_map.names, total[257 : 257 + len(label_map)], strict=True)),
            "ignored_pixel_share": total[256] / max(sum(total[1:257]), 1),
            # Images of at least this many pixels, and less than twice as many.
            "images_by_pixels": {str(2**power): count for power, count in enumerate(total[513:]) if count},
            "smallest_height_and_width": smallest,
            "largest_height_and_width": largest,
        }
    return {"splits": result}


def read_statistics(uri: str) -> dict[str, Any]:
    """The statistics in the data gate's artifact at `uri`."""
    return json.loads(read_bytes(os.path.join(uri, STATISTICS_FILE)))


class DataGate(base_beam_component.BaseBeamComponent):
    """Stops the pipeline if the data breaks the schema or the contract; computes pixel statistics.

    Components that must wait for the gate take its output, or name it in `add_upstream_node`.
    """

    SPEC_CLASS = DataGateSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)

    def __init__(
        self,
        examples: types.BaseChannel,
        anomalies: types.BaseChannel,
        label_map: LabelMap,
        takes_16_bits: bool = False,
    ):
        """Constructs the gate.

        Args:
          examples: tf.Examples by the data contract, any splits, `train` among them.
          anomalies: of ExampleValidator, for the same splits; one anomaly stops the pipeline.
          label_map: the classes that masks may hold.
          takes_16_bits: whether a range is known by which images of 16 bits are scaled.
        """
        super().__init__(
            spec=DataGateSpec(
                examples=examples,
                anomalies=anomalies,
                label_map=label_map.model_dump_json(),
                takes_16_bits=int(takes_16_bits),
                statistics=types.Channel(type=DataStatistics),
            )
        )
