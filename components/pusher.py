"""TFX's Pusher with versions that appear complete or not at all."""

from __future__ import annotations

import os
import time
import uuid
from typing import Any

import tensorflow as tf
from tfx.components.pusher import component as tfx_pusher
from tfx.components.pusher import executor as tfx_pusher_executor
from tfx.dsl.components.base import executor_spec
from tfx.proto import pusher_pb2
from tfx.types import artifact_utils
from tfx.types.standard_component_specs import PUSH_DESTINATION_KEY, PUSHED_MODEL_KEY
from tfx.utils import proto_utils

from data.base.files import is_remote
from models.serving.versions import (
    fingerprint,
    rolled_back,
    rolled_back_path,
    servable_versions,
    version_path,
    versions,
)

# Custom property of a PushedModel that was not pushed although it was blessed: why.
REASON_PROPERTY = "reason"

# No numbers, so TF Serving does not take them for versions; one for each push, as several pipelines may push there.
_STAGING_PREFIX = ".incoming-"
_STALE_SECONDS = 24 * 3600


class Executor(tfx_pusher_executor.Executor):
    """Copies to a folder beside the versions, then renames.

    A model that is already deployed, or that was rolled back, is not pushed again.
    """

    def Do(self, input_dict: Any, output_dict: Any, exec_properties: Any) -> None:
        pushed = artifact_utils.get_single_instance(output_dict[PUSHED_MODEL_KEY])
        if not self.CheckBlessing(input_dict):
            self._MarkNotPushed(pushed)
            return
        push_destination = pusher_pb2.PushDestination()
        proto_utils.json_to_proto(exec_properties[PUSH_DESTINATION_KEY], push_destination)
        destination = push_destination.filesystem.base_directory
        deployed, candidate = servable_versions(destination), fingerprint(self.GetModelPath(input_dict))
        if deployed:
            newest = max(deployed)
            if deployed[newest] == candidate:
                path = version_path(destination, newest)
                self._MarkPushed(pushed, pushed_destination=path, pushed_version=str(newest))
                return
        for version in rolled_back(destination):
            if fingerprint(rolled_back_path(destination, version)) == candidate:
                reason = (
                    f"it is version {version}, which was rolled back; `segpipe rollback {version}` deploys it again"
                )
                pushed.set_string_custom_property(REASON_PROPERTY, reason)
                self._MarkNotPushed(pushed)
                return

        _delete_stale(destination)
        staging = os.path.join(destination, _STAGING_PREFIX + uuid.uuid4().hex)
        push_destination.filesystem.base_directory = staging
        try:
            super().Do(
                input_dict,
                output_dict,
                {**exec_properties, PUSH_DESTINATION_KEY: proto_utils.proto_to_json(push_destination)},
            )
            (staged,) = versions(staging)
            taken = [*versions(destination), *rolled_back(destination)]
            version = max([staged, *(number + 1 for number in taken)])
            tf.io.gfile.rename(version_path(staging, staged), version_path(destination, version))
        finally:
            if tf.io.gfile.exists(staging):
                tf.io.gfile.rmtree(staging)
        self._MarkPushed(pushed, pushed_destination=version_path(destination, version), pushed_version=str(version))


def _delete_stale(destination: str) -> None:
    """Deletes what pushes that were killed left behind."""
    if is_remote(destination):
        return  # Folders of buckets have no time, so nobody knows whether somebody is at work there.
    for folder in tf.io.gfile.glob(os.path.join(destination, _STAGING_PREFIX + "*")):
        if time.time() - tf.io.gfile.stat(folder).mtime_nsec / 1e9 > _STALE_SECONDS:
            tf.io.gfile.rmtree(folder)


class Pusher(tfx_pusher.Pusher):
    """Pushes a blessed model to a folder of numbered versions that TF Serving reads."""

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)
