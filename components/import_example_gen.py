"""TFX's ImportExampleGen for records that hold images: it copies files, not records.

TFX's executor sends every record through a shuffle and compresses it. JPEG and PNG bytes do not get smaller, the
shuffle of Beam's local runner holds the whole data set in memory, and the trainer shuffles anyway. Here each file is
read once, which verifies the checksum of every record, and is copied as it is.

TFX's takes one span; this takes a window of spans. TFX would join the artifacts of several runs with a resolver, which
open-source Kubeflow Pipelines cannot run.
"""

from __future__ import annotations

import glob
import hashlib
import json
import logging
import os
import re
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow as tf
from tfx import types
from tfx.components.example_gen import driver as example_gen_driver
from tfx.components.example_gen.utils import FINGERPRINT_PROPERTY_NAME, SPAN_PROPERTY_NAME, VERSION_PROPERTY_NAME
from tfx.components.util import examples_utils
from tfx.dsl.components.base import base_beam_component, base_beam_executor, executor_spec
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils, component_spec, standard_artifacts
from tfx.types.standard_component_specs import (
    EXAMPLES_KEY,
    INPUT_BASE_KEY,
    INPUT_CONFIG_KEY,
    OUTPUT_DATA_FORMAT_KEY,
)
from tfx.utils import proto_utils

from data.base.digests import Digests
from data.base.errors import UserError
from data.base.files import copy, exists, find, make_folder, read_bytes, write_text
from data.contract import LABEL_MAP_FILE, REPORT_FILE, compression_type
from data.decoding.image_type import read_image_type
from data.input_files import describe_left_out, find_input_files
from data.label_map import LabelMap
from data.spans import INPUTS_PROPERTY, NEWEST_SPLIT, SPAN, Window, choose_window, find_spans

_LOG = logging.getLogger("segpipe.import")
_TEST_SPLIT = "test"
_SHOWN = 20
# What TFRecords add to each record: its length and two checksums.
_FRAME_BYTES = 16


class ImportExampleGenSpec(component_spec.ComponentSpec):
    """Inputs, outputs and parameters of the component."""

    PARAMETERS = {
        INPUT_BASE_KEY: component_spec.ExecutionParameter(type=str),
        INPUT_CONFIG_KEY: component_spec.ExecutionParameter(type=example_gen_pb2.Input),
        OUTPUT_DATA_FORMAT_KEY: component_spec.ExecutionParameter(type=int),
        "window": component_spec.ExecutionParameter(type=int, optional=True),
        "test_span": component_spec.ExecutionParameter(type=int, optional=True),
        "newest_span": component_spec.ExecutionParameter(type=int, optional=True),
        "digests": component_spec.ExecutionParameter(type=str, optional=True),
    }
    INPUTS: dict[str, component_spec.ChannelParameter] = {}
    OUTPUTS = {EXAMPLES_KEY: component_spec.ChannelParameter(type=standard_artifacts.Examples)}


class Driver(example_gen_driver.Driver):
    """Replaces `{SPAN}` in the patterns by spans, and adds a fingerprint of the files to the key of TFX's cache.

    TFX's own driver goes by sizes and times, which `rsync -t` and `tar` set; here contents count.
    """

    def resolve_exec_properties(
        self, exec_properties: dict[str, Any], pipeline_info: Any, component_info: Any
    ) -> dict[str, Any]:
        """Adds `span`, and gives `input_config` an entry for each split and span that has files."""
        input_config = example_gen_pb2.Input()
        proto_utils.json_to_proto(exec_properties[INPUT_CONFIG_KEY], input_config)
        base = exec_properties[INPUT_BASE_KEY]
        (below,) = {os.path.dirname(split.pattern) for split in input_config.splits}
        place = os.path.join(base, below) if below else base
        folders, window = {0: place}, Window((0,), 0, 0)
        if SPAN in place:
            folders = find_spans(place)
            asked = (exec_properties.get(key) for key in ("window", "test_span", "newest_span"))
            window = choose_window(folders, *asked)
        chosen = [
            (split.name, span, os.path.basename(split.pattern))
            for split in input_config.splits
            for span in ([window.test] if split.name == _TEST_SPLIT else window.train)
        ]
        if window.newest != window.test:
            chosen += [
                (NEWEST_SPLIT, window.newest, os.path.basename(split.pattern))
                for split in input_config.splits
                if split.name == _TEST_SPLIT
            ]
        resolved, fingerprints = example_gen_pb2.Input(), hashlib.sha256()
        digests = Digests(exec_properties.get("digests") or "")
        found = {folder: find_input_files(folder).of_split for folder in {folders[span] for _, span, _ in chosen}}
        for name, span, pattern in chosen:
            # A span need not have files of every split; the executor checks which splits must not be empty.
            if files := found[folders[span]][pattern.removesuffix("*")]:
                path = os.path.join(folders[span], pattern)
                resolved.splits.add(name=name, pattern=os.path.relpath(path, base))
                names = [os.path.basename(file.path) for file in files]
                described = list(zip(names, digests.of(files), strict=True))
                fingerprints.update(json.dumps([name, span, described]).encode())
        for split in input_config.splits:
            if not any(found.name == split.name for found in resolved.splits):
                spans = [window.test] if split.name == _TEST_SPLIT else window.train
                where = f" in span {', '.join(map(str, spans))}" if SPAN in place else ""
                raise UserError(f"no TFRecord file matches {os.path.join(base, split.pattern)}{where}")
        exec_properties[INPUT_CONFIG_KEY] = proto_utils.proto_to_json(resolved)
        exec_properties[SPAN_PROPERTY_NAME] = window.newest
        exec_properties[VERSION_PROPERTY_NAME] = None
        exec_properties[FINGERPRINT_PROPERTY_NAME] = fingerprints.hexdigest()
        return exec_properties


class Executor(base_beam_executor.BaseBeamExecutor):
    """Checks and copies the files of each input split."""

    def Do(self, input_dict: Any, output_dict: Any, exec_properties: dict[str, Any]) -> None:
        """Writes `Split-NAME/data_tfrecord-0000I-of-0000N`, or raises UserError."""
        input_config = example_gen_pb2.Input()
        proto_utils.json_to_proto(exec_properties[INPUT_CONFIG_KEY], input_config)
        examples = artifact_utils.get_single_instance(output_dict[EXAMPLES_KEY])
        sources: dict[str, list[str]] = {}
        left_out: dict[str, list[str]] = {}
        for split in input_config.splits:
            # A pattern is a folder, as it is called, and the name of a split with an asterisk.
            pattern = os.path.join(exec_properties[INPUT_BASE_KEY], split.pattern)
            folder, name = os.path.split(pattern)
            files = find_input_files(folder)
            found = [file.path for file in files.of_split[name.removesuffix("*")]]
            if not found:
                raise UserError(f"no TFRecord file matches {pattern}")
            sources.setdefault(split.name, []).extend(found)
            left_out[folder] = files.left_out
        for folder, paths in left_out.items():
            if paths:
                _LOG.warning("left out of %s: %s", folder, describe_left_out(paths))
        inputs = {name: sorted({os.path.dirname(path) for path in paths}) for name, paths in sources.items()}
        folders = sorted({folder for found in inputs.values() for folder in found})
        _check_label_maps(folders)
        _check_image_types(folders)
        examples.split_names = artifact_utils.encode_split_names(list(sources))
        examples_utils.set_payload_format(examples, exec_properties[OUTPUT_DATA_FORMAT_KEY])
        examples.set_int_custom_property(SPAN_PROPERTY_NAME, exec_properties.get(SPAN_PROPERTY_NAME) or 0)
        examples.set_string_custom_property(INPUTS_PROPERTY, json.dumps(inputs))

        copies: list[tuple[str, str]] = []
        for name, paths in sources.items():
            folder = artifact_utils.get_split_uri([examples], name)
            make_folder(folder)
            for index, source in enumerate(paths):
                suffix = ".gz" if compression_type(source) else ""
                copies.append((source, os.path.join(folder, f"data_tfrecord-{index:05d}-of-{len(paths):05d}{suffix}")))
        faults = os.path.join(self._get_tmp_dir(), "faults")
        with self._make_beam_pipeline() as pipeline:
            _ = (
                pipeline
                | beam.Create(copies)
                | beam.Reshuffle()
                | "CheckAndCopy" >> beam.FlatMapTuple(_check_and_copy)
                | beam.io.WriteToText(faults, shard_name_template="")
            )
        # Beam would turn an exception of a worker into a traceback.
        lines = read_bytes(faults).decode().splitlines()
        if lines:
            more = [f"  … and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
            raise UserError("\n".join(["files that cannot be imported:", *sorted(lines)[:_SHOWN], *more]))
        # The reports of the conversions are kept, for the report and the lineage.
        reports = {folder: os.path.join(folder, REPORT_FILE) for folder in folders}
        conversions = [
            {"folder": folder, **json.loads(read_bytes(path))} for folder, path in reports.items() if exists(path)
        ]
        if conversions:
            text = json.dumps({"conversions": conversions}, indent=2)
            write_text(os.path.join(examples.uri, REPORT_FILE), text)


def read_conversions(examples: types.Artifact) -> list[dict[str, Any]]:
    """The reports of `data.convert` on the folders that the examples came from; none if they came from elsewhere."""
    path = os.path.join(examples.uri, REPORT_FILE)
    return json.loads(read_bytes(path))["conversions"] if exists(path) else []


def _check_label_maps(folders: list[str]) -> None:
    """Raises a UserError unless class IDs mean the same in all folders; otherwise the model would learn nonsense."""
    first = ""
    expected: tuple[str, ...] = ()
    for folder in folders:
        path = os.path.join(folder, LABEL_MAP_FILE)
        if not exists(path):
            continue
        found = LabelMap.parse(read_bytes(path).decode(), path).names
        if not expected:
            first, expected = path, found
        elif found != expected:
            raise UserError(f"{path} has other classes than {first}; convert both spans with the same classes")


def _check_image_types(folders: list[str]) -> None:
    """Raises a UserError unless images of all folders have the same type and bands, as far as conversions say it."""
    found = [(known, folder) for folder in folders if (known := read_image_type(folder))]
    for known, folder in found:
        if not known.agrees(found[0][0]):
            raise UserError(
                f"images in {folder} have {known}, those in {found[0][1]} have {found[0][0]}; a model learns from "
                "images of one type and the same bands"
            )


def _check_and_copy(source: str, destination: str) -> Iterator[str]:
    """Copies a file, or yields what is wrong with it."""
    try:
        records = tf.data.TFRecordDataset(source, compression_type=compression_type(source), buffer_size=1 << 20)

        def parse(batch: tf.Tensor) -> tuple[Any, tf.Tensor]:
            # Parses the record, but looks for no feature that exists.
            parsed = tf.io.parse_example(batch, {"": tf.io.VarLenFeature(tf.string)})
            return parsed, tf.reduce_sum(tf.cast(tf.strings.length(batch), tf.int64) + _FRAME_BYTES)

        size = records.batch(64).map(parse).reduce(np.int64(0), lambda total, item: total + item[1])
        # If a file ends within the length of a record, TensorFlow takes it for one that ends before that record.
        if not compression_type(source) and [int(size)] != [file.size for file in find(glob.escape(source))]:
            yield f"  {source}: truncated record at {int(size)}; write or copy the file again"
            return
        copy([source], [destination])
    except tf.errors.DataLossError as error:
        is_gzip = read_bytes(source, size=2) == b"\x1f\x8b"
        if is_gzip != bool(compression_type(source)):
            yield f"  {source}: is {'' if is_gzip else 'not '}gzipped; only names of gzipped files end in .gz"
        else:
            yield f"  {source}: {_reason(error)}; write or copy the file again"
    # TensorFlow itself raises the second when it puts bytes of the record into the message of the first.
    except (tf.errors.InvalidArgumentError, UnicodeDecodeError):
        yield f"  {source}: holds a record that is not a tf.train.Example"
    except (tf.errors.OpError, OSError) as error:
        yield f"  {source}: cannot be read and copied: {_reason(error)}"


def _reason(error: Exception) -> str:
    text = str(getattr(error, "message", error)).splitlines()[0]
    return re.sub(r"^.*?}} | \[Op:.*", "", text)


class ImportExampleGen(base_beam_component.BaseBeamComponent):
    """Imports TFRecord files by input split; the number and the order of the files stay as they are.

    Files whose names end in `.gz` are gzipped. With `{SPAN}` in the folder of the patterns, the splits come from
    the newest spans, except that `test` comes from a single span; the newest span's own test split becomes `newest`.
    """

    SPEC_CLASS = ImportExampleGenSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)
    DRIVER_CLASS = Driver

    def __init__(
        self,
        input_base: str,
        input_config: example_gen_pb2.Input,
        window: int = 0,
        test_span: int | None = None,
        digests: str = "",
    ):
        """Constructs the component.

        Args:
          input_base: folder of the files.
          input_config: for each split its name and an asterisk, in the same folder below `input_base`, whose path may
            contain `{SPAN}` and is otherwise taken as it is; `find_input_files` says which files these are.
          window: how many of the newest spans to take; 0 for all.
          test_span: the span that `test` is taken from; by default, the oldest.
          digests: file that remembers digests of the files; "" for none.
        """
        super().__init__(
            spec=ImportExampleGenSpec(
                input_base=input_base,
                input_config=input_config,
                output_data_format=example_gen_pb2.FORMAT_TF_EXAMPLE,
                window=window,
                test_span=test_span,
                digests=digests or None,
                examples=types.Channel(type=standard_artifacts.Examples),
            )
        )
