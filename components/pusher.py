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
from tfx.types.standard_component_specs import PUSH_DESTINATION_KEY, PUSHED_MODEL_KEY
from tfx.utils import proto_utils

from data.base.files import copy_tree, delete_tree, find_below, join, list_names, move_folder
from models.serving.versions import MARKERS, fingerprint, rolled_back, servable_versions, taken_numbers, version_path

# Custom property of a PushedModel that was not pushed although it was blessed: why.
REASON_PROPERTY = "reason"

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
        """Pushes the model if it is blessed, and says in the artifact what became of it."""
        pushed = artifact_utils.get_single_instance(output_dict[PUSHED_MODEL_KEY])
        pushed.set_int_custom_property("pushed", 0)
        if not self.CheckBlessing(input_dict):
            return
        push_destination = pusher_pb2.PushDestination()
        proto_utils.json_to_proto(exec_properties[PUSH_DESTINATION_KEY], push_destination)
        destination, model = push_destination.filesystem.base_directory, self.GetModelPath(input_dict)
        candidate, present = fingerprint(model), servable_versions(destination)
        version = max(present, default=0)
        if present.get(version) != candidate:
            for number, other in rolled_back(destination).items():
                if other == candidate:
                    reason = (
                        f"it is version {number}, which was rolled back; `segpipe rollback {number}` deploys it again"
                    )
                    pushed.set_string_custom_property(REASON_PROPERTY, reason)
                    return
            version = _push(model, destination)
            copy_tree(model, pushed.uri)
        # What TFX's own executor says of a push, which it has no public method for.
        pushed.set_int_custom_property("pushed", 1)
        pushed.set_string_custom_property("pushed_destination", version_path(destination, version))
        pushed.set_string_custom_property("pushed_version", str(version))


def _push(model: str, destination: str) -> int:
    """Copies a model to a new version, which appears at once, or in a bucket becomes a model with its last file."""
    _delete_stale(destination)
    staging = join(destination, _STAGING_PREFIX + uuid.uuid4().hex)
    try:
        copy_tree(model, staging)
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
