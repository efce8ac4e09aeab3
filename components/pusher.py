"""TFX's Pusher with versions that appear complete or not at all."""

from __future__ import annotations

import os
from typing import Any

import tensorflow as tf
from tfx.components.pusher import component as tfx_pusher
from tfx.components.pusher import executor as tfx_pusher_executor
from tfx.dsl.components.base import executor_spec
from tfx.proto import pusher_pb2
from tfx.types import artifact_utils
from tfx.types.standard_component_specs import PUSH_DESTINATION_KEY, PUSHED_MODEL_KEY
from tfx.utils import proto_utils

from components.versions import fingerprint, version_path, versions

# Not a number, so TF Serving does not take it for a version.
_STAGING_FOLDER = ".incoming"


class Executor(tfx_pusher_executor.Executor):
    """Copies to a folder beside the versions, then renames; a model that is already deployed is not pushed again."""

    def Do(self, input_dict: Any, output_dict: Any, exec_properties: Any) -> None:
        pushed = artifact_utils.get_single_instance(output_dict[PUSHED_MODEL_KEY])
        if not self.CheckBlessing(input_dict):
            self._MarkNotPushed(pushed)
            return
        push_destination = pusher_pb2.PushDestination()
        proto_utils.json_to_proto(exec_properties[PUSH_DESTINATION_KEY], push_destination)
        destination = push_destination.filesystem.base_directory
        deployed = versions(destination)
        if deployed:
            newest = version_path(destination, deployed[-1])
            if fingerprint(newest) == fingerprint(self.GetModelPath(input_dict)):
                self._MarkPushed(pushed, pushed_destination=newest, pushed_version=str(deployed[-1]))
                return

        staging = os.path.join(destination, _STAGING_FOLDER)
        if tf.io.gfile.exists(staging):  # Of a push that was killed.
            tf.io.gfile.rmtree(staging)
        push_destination.filesystem.base_directory = staging
        super().Do(
            input_dict,
            output_dict,
            {**exec_properties, PUSH_DESTINATION_KEY: proto_utils.proto_to_json(push_destination)},
        )
        (staged,) = versions(staging)
        version = max(staged, deployed[-1] + 1 if deployed else 0)
        tf.io.gfile.rename(version_path(staging, staged), version_path(destination, version))
        tf.io.gfile.rmtree(staging)
        self._MarkPushed(pushed, pushed_destination=version_path(destination, version), pushed_version=str(version))


class Pusher(tfx_pusher.Pusher):
    """Pushes a blessed model to a folder of numbered versions that TF Serving reads."""

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)
