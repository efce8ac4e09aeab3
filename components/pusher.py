"""TFX's Pusher with versions that appear complete or not at all."""

from __future__ import annotations

import time
import uuid
from typing import Any

from tfx import types
from tfx.components.pusher import component as tfx_pusher
from tfx.components.pusher import executor as tfx_pusher_executor
from tfx.dsl.components.base import executor_spec
from tfx.proto import pusher_pb2
from tfx.types import artifact_utils
from tfx.types.standard_component_specs import MODEL_BLESSING_KEY, PUSH_DESTINATION_KEY, PUSHED_MODEL_KEY
from tfx.utils import proto_utils

from components.deployed_model import MEASURED_PROPERTY, find_baseline
from components.evaluator import BASELINE_VERSION_PROPERTY
from data.base.errors import UserError
from data.base.files import copy_tree, delete_tree, find_below, join, list_names, move_folder
from models.serving.versions import (
    MARKERS,
    fingerprint,
    is_same_model,
    rolled_back,
    servable_versions,
    taken_numbers,
    version_path,
    write_measured,
)

# Custom property of a PushedModel that was not pushed although it was blessed: why.
REASON_PROPERTY = "reason"
# And 1 if the version stood there before the run.
FOUND_PROPERTY = "found"

# No numbers, so TF Serving does not take them for versions; one for each push, as several pipelines may push there.
_STAGING_PREFIX = ".incoming-"
_STALE_SECONDS = 24 * 3600


class Executor(tfx_pusher_executor.Executor):
    """Copies to a folder beside the versions, then renames.

    A model that is already deployed, or that was rolled back, is not pushed again.
    """

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Pushes the model if it is blessed, and says in the artifact what became of it.

        Raises:
          UserError: if what is deployed changed since the model was compared with it.
        """
        pushed = artifact_utils.get_single_instance(output_dict[PUSHED_MODEL_KEY])
        pushed.set_int_custom_property("pushed", 0)
        if not self.CheckBlessing(input_dict):
            return
        push_destination = pusher_pb2.PushDestination()
        proto_utils.json_to_proto(exec_properties[PUSH_DESTINATION_KEY], push_destination)
        destination, model = push_destination.filesystem.base_directory, self.GetModelPath(input_dict)
        candidate, present = fingerprint(model), servable_versions(destination)
        version = max(present, default=0)
        if present.get(version) == candidate:
            # It was not compared with itself where a run pushed it that was killed before that was recorded.
            if _compared_with(input_dict) == version:
                pushed.set_int_custom_property(FOUND_PROPERTY, 1)
        else:
            for number, other in rolled_back(destination).items():
                if is_same_model(other, candidate):  # With other exports, its weights are no better.
                    reason = (
                        f"it is version {number}, which was rolled back; "
                        f"`segpipe rollback --config FILE {number}` deploys it again"
                    )
                    pushed.set_string_custom_property(REASON_PROPERTY, reason)
                    return
            _check_baseline(destination, model, input_dict)
            version = _push(model, destination, _measured(input_dict))
            copy_tree(model, pushed.uri)
        # What TFX's own executor says of a push, which it has no public method for.
        pushed.set_int_custom_property("pushed", 1)
        pushed.set_string_custom_property("pushed_destination", version_path(destination, version))
        pushed.set_string_custom_property("pushed_version", str(version))


def _compared_with(input_dict: dict[str, list[types.Artifact]]) -> int | None:
    """The version that the model was compared with, 0 for none; None if another evaluator blessed it."""
    blessings = input_dict.get(MODEL_BLESSING_KEY)
    if not blessings or not blessings[0].has_custom_property(BASELINE_VERSION_PROPERTY):
        return None
    return blessings[0].get_int_custom_property(BASELINE_VERSION_PROPERTY)


def _check_baseline(destination: str, model: str, input_dict: dict[str, list[types.Artifact]]) -> None:
    """Raises a UserError if what is deployed is not what the model was compared with."""
    compared, deployed = _compared_with(input_dict), find_baseline(destination, model)
    if compared not in (None, deployed):
        before, now = (f"version {number}" if number else "no version" for number in (compared, deployed))
        raise UserError(
            f"{destination}: {now} is deployed, but the model was compared with {before}, which was deployed then; "
            "another run or a rollback has changed it meanwhile. Run again, to compare it with what is deployed now"
        )


def _measured(input_dict: dict[str, list[types.Artifact]]) -> str:
    """What the evaluator measured of the model, as JSON; "" if another one blessed it."""
    blessings = input_dict.get(MODEL_BLESSING_KEY)
    return blessings[0].get_string_custom_property(MEASURED_PROPERTY) if blessings else ""


def _push(model: str, destination: str, measured: str) -> int:
    """Copies a model to a new version, which appears at once, or in a bucket becomes a model with its last file."""
    _delete_stale(destination)
    staging = join(destination, _STAGING_PREFIX + uuid.uuid4().hex)
    try:
        copy_tree(model, staging)
        if measured:
            write_measured(staging, measured)
        version = max([int(time.time()), *(number + 1 for number in taken_numbers(destination))])
        move_folder(staging, version_path(destination, version), MARKERS)
    finally:
        delete_tree(staging)
    return version


def _delete_stale(destination: str) -> None:
    """Deletes what pushes that were killed left behind; one that is still going on has written a file lately."""
    for name in list_names(destination):
        folder = join(destination, name)
        written = [file.changed for file in find_below(folder)] if name.startswith(_STAGING_PREFIX) else []
        if written and time.time() - max(written) > _STALE_SECONDS:
            delete_tree(folder)


class Pusher(tfx_pusher.Pusher):
    """Pushes a blessed model to a folder of numbered versions that TF Serving reads."""

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)
