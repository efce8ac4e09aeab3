"""The baseline of the evaluation: what production serves now, read from the push destination.

TFX's `Resolver(LatestBlessedModelStrategy)` answers from the metadata store, which neither knows of a rollback nor
exists on open-source Kubeflow Pipelines, whose compiler refuses resolvers.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_component, base_driver, base_executor, executor_spec
from tfx.orchestration.data_types_utils import set_metadata_value
from tfx.orchestration.portable import base_driver as portable_base_driver
from tfx.orchestration.portable import data_types
from tfx.proto.orchestration import driver_output_pb2
from tfx.types import artifact_utils, component_spec, standard_artifacts
from tfx.utils import path_utils

from data.base.files import copy_tree, is_folder
from data.contract import IGNORE_LABEL
from models.evaluation.gate import Measured
from models.inputs.settings import PreprocessingSettings
from models.serving.signatures import read_facts
from models.serving.versions import fingerprint, read_measured, servable_versions, version_path

_LOG = logging.getLogger("segpipe.deployed_model")
# Custom property of the artifact: the version at the push destination, 0 for none.
VERSION_PROPERTY = "version"
NO_VERSION = 0
# And what was measured of the last versions when they were pushed: a list of `Measured` as JSON.
MEASURED_PROPERTY = "measured"


class DeployedModelSpec(component_spec.ComponentSpec):
    """Inputs, outputs and parameters of the component."""

    PARAMETERS = {
        "push_destination": component_spec.ExecutionParameter(type=str),
        "baseline_version": component_spec.ExecutionParameter(type=int, optional=True),
        # A version may be replaced in its place.
        "baseline_fingerprint": component_spec.ExecutionParameter(type=str, optional=True),
        "repeated_version": component_spec.ExecutionParameter(type=int, optional=True),
        "compared_versions": component_spec.ExecutionParameter(type=int, optional=True),
        "measured": component_spec.ExecutionParameter(type=str, optional=True),
    }
    INPUTS = {"model": component_spec.ChannelParameter(type=standard_artifacts.Model)}
    OUTPUTS = {"baseline": component_spec.ChannelParameter(type=standard_artifacts.Model)}


def find_baseline(push_destination: str, candidate: str, repeated_version: int = NO_VERSION) -> int:
    """The version to compare a candidate with: the deployed one, even if that is the candidate itself.

    Only a run that repeats the one that pushed the candidate, with nothing new, asks the same question as that one did:
    the candidate against what it replaced.

    Args:
      push_destination: folder of numbered versions.
      candidate: folder of the candidate's SavedModel.
      repeated_version: the version that a run of the same data, configuration, code and packages pushed, if any did.

    Returns:
      The version; 0 if there is none, or if it cannot be compared, because of another task, other classes (or
      others of them with objects), images of another type or other bands, or older signatures.
    """
    candidate_fingerprint = fingerprint(candidate)
    present = servable_versions(push_destination)
    if present and repeated_version == max(present):
        present = {version: other for version, other in present.items() if other != candidate_fingerprint}
    if not present:
        return NO_VERSION
    newest = max(present)
    if _comparable(version_path(push_destination, newest)) != _comparable(candidate):
        _LOG.warning(
            "version %d has another task, other classes (or others with objects), images (their type or bands) or "
            "signatures; there is nothing to compare with",
            newest,
        )
        return NO_VERSION
    return newest


def measured_versions(push_destination: str, candidate: str, count: int) -> list[Measured]:
    """What was measured of the newest versions that a candidate can be compared with, oldest first.

    Args:
      push_destination: folder of numbered versions.
      candidate: folder of the candidate's SavedModel, which is not among them.
      count: how many versions.
    """
    if not count:
        return []
    candidate_fingerprint, what = fingerprint(candidate), _comparable(candidate)
    others = [
        version for version, other in servable_versions(push_destination).items() if other != candidate_fingerprint
    ]
    comparable = [other for other in others[-count:] if _comparable(version_path(push_destination, other)) == what]
    return [read_measured(push_destination, version) for version in comparable]


def _measured_text(push_destination: str, candidate: str, count: int) -> str:
    return json.dumps([dataclasses.asdict(one) for one in measured_versions(push_destination, candidate, count)])


def _comparable(model: str) -> Any:
    """What must be equal in two models that are compared."""
    facts = read_facts(model)
    if not facts:
        return facts
    image = PreprocessingSettings.of_facts(facts.get("preprocessing", {})).image_type
    # An entry for "ignore" is no class, and of 8 bits each model takes gray and RGB.
    return (
        facts.get("format"),
        facts.get("task", "semantic"),
        facts.get("things", []),
        [label["name"] for label in facts["label_map"] if label["id"] != IGNORE_LABEL],
        "usual" if image.type == "uint8" and image.bands in (1, 3) else (image.type, image.bands, image.names),
    )


class Driver(base_driver.BaseDriver, portable_base_driver.BaseDriver):  # Both, as TFX's own drivers.
    """Puts the version into the execution's properties, and so into the key of TFX's cache.

    What is deployed changes behind the cache's back; an answer may come from the cache only while it still holds.
    """

    def __init__(self, metadata_handle: Any):
        base_driver.BaseDriver.__init__(self, metadata_handle)
        portable_base_driver.BaseDriver.__init__(self, metadata_handle)

    def run(self, execution_info: data_types.ExecutionInfo) -> driver_output_pb2.DriverOutput:
        properties = dict(execution_info.exec_properties)
        model = artifact_utils.get_single_instance(list(execution_info.input_dict["model"]))
        destination = properties["push_destination"]
        repeated = properties.get("repeated_version") or NO_VERSION
        candidate = path_utils.serving_model_path(model.uri)
        version = find_baseline(destination, candidate, repeated)
        # The answer counts for the cache, not what led to it.
        properties["repeated_version"] = NO_VERSION
        properties["baseline_version"] = version
        properties["measured"] = _measured_text(destination, candidate, properties.get("compared_versions") or 0)
        properties["baseline_fingerprint"] = fingerprint(version_path(destination, version)) if version else ""
        result = driver_output_pb2.DriverOutput()
        for name, value in properties.items():
            set_metadata_value(result.exec_properties[name], value)
        return result


class Executor(base_executor.BaseExecutor):
    """Copies the deployed model into the pipeline; leaves the artifact empty if nothing is deployed."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        destination = exec_properties["push_destination"]
        version, measured = exec_properties.get("baseline_version"), exec_properties.get("measured")
        if version is None:  # Orchestrators without drivers, which must not cache this component.
            candidate = path_utils.serving_model_path(artifact_utils.get_single_uri(input_dict["model"]))
            version = find_baseline(destination, candidate)
            measured = _measured_text(destination, candidate, exec_properties.get("compared_versions") or 0)
        baseline = artifact_utils.get_single_instance(output_dict["baseline"])
        baseline.set_string_custom_property(MEASURED_PROPERTY, measured or "[]")
        baseline.set_int_custom_property(VERSION_PROPERTY, version)
        if version == NO_VERSION:
            _LOG.info("nothing to compare with at %s; the absolute thresholds decide", destination)
            return
        _LOG.info("the deployed model is version %d", version)
        copy_tree(version_path(destination, version), path_utils.serving_model_dir(baseline.uri))


def has_model(baseline: types.Artifact) -> bool:
    """Whether a baseline artifact holds a model."""
    return is_folder(path_utils.serving_model_dir(baseline.uri))


class DeployedModel(base_component.BaseComponent):
    """The model at the push destination that a candidate has to stand up to."""

    SPEC_CLASS = DeployedModelSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)
    DRIVER_CLASS = Driver

    def __init__(
        self,
        model: types.BaseChannel,
        push_destination: str,
        repeated_version: int | None = None,
        compared_versions: int = 0,
    ):
        """Constructs the component.

        Args:
          model: the candidate.
          push_destination: folder of numbered versions, where Pusher pushes.
          repeated_version: the version that a run of the same data, configuration, code and packages pushed.
          compared_versions: how many of the newest versions the gate looks at, beside the deployed one.
        """
        super().__init__(
            spec=DeployedModelSpec(
                model=model,
                push_destination=push_destination,
                repeated_version=repeated_version,
                compared_versions=compared_versions,
                baseline=types.Channel(type=standard_artifacts.Model),
            )
        )
