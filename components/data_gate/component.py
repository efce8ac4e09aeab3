"""The component: which inputs it takes, in which order it checks, and what it writes."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
from typing import Any, Literal

from tfx import types
from tfx.dsl.components.base import base_beam_component, base_beam_executor, executor_spec
from tfx.types import artifact_utils, component_spec, standard_artifacts

from components.data_gate.counting import check_files, read_findings
from components.data_gate.doubts import PAIRS_FILE, doubts, near_duplicates
from components.data_gate.judgment import (
    DataGateError,
    stop_on_anomalies,
    stop_on_bad_examples,
    stop_on_missing,
    stop_on_shared_examples,
)
from components.data_gate.statistics import STATISTICS_FILE, summarize
from data.base.files import write_text
from data.decoding.image_type import IMAGE_KEY, ImageType, of_report
from data.label_map import LabelMap
from models.instances.scale import things

_LOG = logging.getLogger("segpipe.data_gate")


class DataStatistics(types.Artifact):
    """The data gate's statistics as JSON: examples, class shares of the labeled pixels and image sizes, per split."""

    TYPE_NAME = "components.DataStatistics"


class DataGateSpec(component_spec.ComponentSpec):
    """Inputs, outputs and parameters of the data gate."""

    PARAMETERS = {
        "label_map": component_spec.ExecutionParameter(type=str),
        "images": component_spec.ExecutionParameter(type=str, optional=True),
        "near_duplicates": component_spec.ExecutionParameter(type=str, optional=True),
        "has_objects": component_spec.ExecutionParameter(type=int, optional=True),
    }
    INPUTS = {
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "anomalies": component_spec.ChannelParameter(type=standard_artifacts.ExampleAnomalies),
    }
    OUTPUTS = {"statistics": component_spec.ChannelParameter(type=DataStatistics)}


class Executor(base_beam_executor.BaseBeamExecutor):
    """Reads the anomalies, then decodes every example once."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes the statistics, or raises DataGateError, or a UserError if objects are wanted and there are none."""
        stop_on_anomalies(artifact_utils.get_single_instance(input_dict["anomalies"]))
        examples = artifact_utils.get_single_instance(input_dict["examples"])
        label_map = LabelMap.model_validate_json(exec_properties["label_map"])
        on_near_duplicates = exec_properties.get("near_duplicates") or "warn"
        splits = artifact_utils.decode_split_names(examples.split_names)
        files = {split: os.path.join(artifact_utils.get_split_uri([examples], split), "*") for split in splits}
        has_objects = bool(exec_properties.get("has_objects"))
        results = os.path.join(self._get_tmp_dir(), "results")
        with self._make_beam_pipeline() as pipeline:
            check_files(
                pipeline,
                files,
                len(label_map),
                results,
                with_hashes=on_near_duplicates != "ignore",
                images=of_report(json.loads(exec_properties.get("images") or "{}")),
                objects_of=label_map if has_objects else None,
            )
        findings = read_findings(results)
        stop_on_bad_examples(findings)
        stop_on_shared_examples(findings)
        statistics = summarize(findings.sums, splits, label_map)
        stop_on_missing(statistics, label_map)
        if has_objects:
            things(label_map, statistics["train"])
        if "test" in statistics:
            statistics["test"]["slices"] = {
                name: {"examples": images, "pixels": dict(zip(label_map.names, pixels, strict=True))}
                for name, (images, *pixels) in sorted(findings.slices.items())
            }

        uri = artifact_utils.get_single_uri(output_dict["statistics"])
        warnings = doubts(statistics, label_map)
        if alike := near_duplicates(findings, os.path.join(uri, PAIRS_FILE)):
            if on_near_duplicates == "error":
                raise DataGateError(alike)
            pairs = [dataclasses.asdict(pair) for pair in findings.pairs]
            write_text(os.path.join(uri, PAIRS_FILE), json.dumps(pairs, indent=2))
            warnings.append(alike)
        for warning in warnings:
            _LOG.warning("%s", warning)
        write_text(
            os.path.join(uri, STATISTICS_FILE), json.dumps({"splits": statistics, "warnings": warnings}, indent=2)
        )


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
        near_duplicates: Literal["warn", "error", "ignore"] = "warn",
        images: ImageType | None = None,
        has_objects: bool = False,
    ):
        """Constructs the gate.

        Args:
          examples: tf.Examples by the data contract, any splits, `train` among them.
          anomalies: of ExampleValidator, for the same splits; one anomaly stops the pipeline.
          label_map: the classes that masks may hold.
          near_duplicates: what to do if images of different splits look alike.
          images: what images have to be; gray or RGB of 8 bits by default.
          has_objects: whether examples must say which object a pixel belongs to.
        """
        super().__init__(
            spec=DataGateSpec(
                examples=examples,
                anomalies=anomalies,
                label_map=label_map.model_dump_json(),
                near_duplicates=near_duplicates,
                images=None if images is None else json.dumps({IMAGE_KEY: images.to_json()}),
                has_objects=1 if has_objects else None,
                statistics=types.Channel(type=DataStatistics),
            )
        )
