"""TFX's ImportExampleGen for records that hold images: it copies files, not records.

TFX's executor sends every record through a shuffle and compresses it. JPEG and PNG bytes do not get smaller, the
shuffle of Beam's local runner holds the whole data set in memory, and the trainer shuffles anyway. Here each file is
read once, which checks the checksum of every record, and copied as it is.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow as tf
from tfx.components import ImportExampleGen as TfxImportExampleGen
from tfx.components.util import examples_utils
from tfx.dsl.components.base import base_beam_executor, executor_spec
from tfx.dsl.io import fileio
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils
from tfx.types.standard_component_specs import (
    EXAMPLES_KEY,
    INPUT_BASE_KEY,
    INPUT_CONFIG_KEY,
    OUTPUT_CONFIG_KEY,
    OUTPUT_DATA_FORMAT_KEY,
)
from tfx.utils import io_utils, proto_utils

from data.contract import REPORT_FILE, compression_type
from data.errors import UserError

_SHOWN = 20


class Executor(base_beam_executor.BaseBeamExecutor):
    """Checks and copies the files of each input split."""

    def Do(self, input_dict: Any, output_dict: Any, exec_properties: dict[str, Any]) -> None:
        """Writes `Split-NAME/data_tfrecord-0000I-of-0000N`, or raises UserError."""
        output_config = example_gen_pb2.Output()
        proto_utils.json_to_proto(exec_properties[OUTPUT_CONFIG_KEY], output_config)
        if output_config.split_config.splits:
            raise ValueError("files are copied whole, so output splits cannot be made of them; use input splits")
        input_config = example_gen_pb2.Input()
        proto_utils.json_to_proto(exec_properties[INPUT_CONFIG_KEY], input_config)
        examples = artifact_utils.get_single_instance(output_dict[EXAMPLES_KEY])
        examples.split_names = artifact_utils.encode_split_names([split.name for split in input_config.splits])
        examples_utils.set_payload_format(examples, exec_properties[OUTPUT_DATA_FORMAT_KEY])

        copies: list[tuple[str, str]] = []
        folders: set[str] = set()
        for split in input_config.splits:
            folder = artifact_utils.get_split_uri([examples], split.name)
            fileio.makedirs(folder)
            pattern = os.path.join(exec_properties[INPUT_BASE_KEY], split.pattern)
            sources = [path for path in sorted(fileio.glob(pattern)) if not fileio.isdir(path)]
            if not sources:
                raise UserError(f"no TFRecord file matches {pattern}")
            folders.update(map(os.path.dirname, sources))
            for index, source in enumerate(sources):
                suffix = ".gz" if compression_type(source) else ""
                name = f"data_tfrecord-{index:05d}-of-{len(sources):05d}{suffix}"
                copies.append((source, os.path.join(folder, name)))
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
        lines = io_utils.read_string_file(faults).splitlines()
        if lines:
            more = [f"  … and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
            raise UserError("\n".join(["files that cannot be imported:", *sorted(lines)[:_SHOWN], *more]))
        # What the conversion set aside goes along, for the report.
        for report in sorted(os.path.join(folder, REPORT_FILE) for folder in folders):
            if fileio.exists(report):
                fileio.copy(report, os.path.join(examples.uri, REPORT_FILE), overwrite=True)


def _check_and_copy(source: str, destination: str) -> Iterator[str]:
    """Copies a file, or yields what is wrong with it."""
    try:
        records = tf.data.TFRecordDataset(source, compression_type=compression_type(source), buffer_size=1 << 20)
        # Parses without looking for any feature that there is.
        parsed = records.batch(64).map(lambda batch: tf.io.parse_example(batch, {"": tf.io.VarLenFeature(tf.string)}))
        parsed.reduce(np.int64(0), lambda count, _: count + 1)
        fileio.copy(source, destination, overwrite=True)
    except tf.errors.DataLossError as error:
        with tf.io.gfile.GFile(source, "rb") as file:
            is_gzip = file.read(2) == b"\x1f\x8b"
        if is_gzip != bool(compression_type(source)):
            yield f"  {source}: is {'' if is_gzip else 'not '}gzipped; only names of gzipped files end in .gz"
        else:
            yield f"  {source}: {_reason(error)}; write or copy the file anew"
    # The second is TensorFlow's own, when it puts bytes of the record into the message of the first.
    except (tf.errors.InvalidArgumentError, UnicodeDecodeError):
        yield f"  {source}: holds a record that is no tf.train.Example"
    except (tf.errors.OpError, OSError) as error:
        yield f"  {source}: cannot be read and copied: {_reason(error)}"


def _reason(error: Exception) -> str:
    text = str(getattr(error, "message", error)).splitlines()[0]
    return re.sub(r"^.*?}} | \[Op:.*", "", text)


class ImportExampleGen(TfxImportExampleGen):
    """Imports TFRecord files by input splits; the number and the order of the files stay as they are.

    It takes the parameters of TFX's component. Files that end in `.gz` are gzipped. Output splits
    and Parquet files are not supported.
    """

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)
