"""Serving check: a model that cannot serve is not pushed.

What TFX's InfraValidator does with a TF Serving container, without Docker: a fresh process loads the SavedModel and
answers real requests through the signature that clients use, within limits of time and memory.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.types import artifact_utils, component_spec, standard_artifacts
from tfx.utils import io_utils, path_utils

_LOG = logging.getLogger("segpipe.serving_check")
# Custom properties of the artifact; the first is the one that TFX's Pusher reads.
BLESSED_PROPERTY = "blessed"
REASON_PROPERTY = "reason"
_REQUESTS = 16
_TIMEOUT_SECONDS = 600


class ServingCheckSpec(component_spec.ComponentSpec):
    """Inputs, outputs and parameters of the component."""

    PARAMETERS = {
        "max_latency_seconds": component_spec.ExecutionParameter(type=float),
        "max_memory_megabytes": component_spec.ExecutionParameter(type=int),
    }
    INPUTS = {
        "model": component_spec.ChannelParameter(type=standard_artifacts.Model),
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
    }
    OUTPUTS = {"blessing": component_spec.ChannelParameter(type=standard_artifacts.InfraBlessing)}


class Executor(base_executor.BaseExecutor):
    """Sends images of the eval split to the model in a process of its own."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Blesses the model, or writes down why not."""
        model = artifact_utils.get_single_instance(input_dict["model"])
        blessing = artifact_utils.get_single_instance(output_dict["blessing"])
        examples = artifact_utils.get_split_uri(input_dict["examples"], "eval")
        measured = serve_in_fresh_process(path_utils.serving_model_path(model.uri), examples)
        reason = judge(measured, exec_properties["max_latency_seconds"], exec_properties["max_memory_megabytes"])
        _LOG.info("%s", reason or "serves in {latency_seconds} s, {memory_megabytes} MB".format(**measured))
        io_utils.write_string_file(os.path.join(blessing.uri, "measured.json"), json.dumps(measured, indent=2))
        io_utils.write_string_file(
            os.path.join(blessing.uri, "INFRA_NOT_BLESSED" if reason else "INFRA_BLESSED"), reason
        )
        blessing.set_int_custom_property(BLESSED_PROPERTY, 0 if reason else 1)
        blessing.set_string_custom_property(REASON_PROPERTY, reason)


def serve_in_fresh_process(model: str, examples: str) -> dict[str, Any]:
    """Loads a model in a new process and times requests to it.

    Args:
      model: folder of the SavedModel.
      examples: folder of TFRecords whose images are sent.

    Returns:
      `latency_seconds` (the largest after the first request), `memory_megabytes` (peak, resident), or `error`.
    """
    command = [sys.executable, "-m", "components.serving_probe", model, examples, str(_REQUESTS)]
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    try:
        finished = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_SECONDS,
            check=False,
            env={**os.environ, "PYTHONPATH": path},
        )
    except subprocess.TimeoutExpired:
        return {"error": f"no answer in {_TIMEOUT_SECONDS} s"}
    if finished.returncode:
        _LOG.error("%s", finished.stderr)
        lines = finished.stderr.strip().splitlines()
        return {"error": f"exit status {finished.returncode}: {lines[-1] if lines else 'no message'}"}
    return json.loads(finished.stdout.splitlines()[-1])


def judge(measured: dict[str, Any], max_latency_seconds: float, max_memory_megabytes: int) -> str:
    """Why a model may not be pushed; an empty string if it may."""
    if "error" in measured:
        return f"the model does not serve: {measured['error']}"
    for name, limit in {"latency_seconds": max_latency_seconds, "memory_megabytes": max_memory_megabytes}.items():
        if measured[name] > limit:
            return f"serving.max_{name} is {limit:g}, measured {measured[name]:g}"
    return ""


class ServingCheck(base_component.BaseComponent):
    """Blesses a model that serves within limits; its output goes into Pusher's `infra_blessing`."""

    SPEC_CLASS = ServingCheckSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        model: types.BaseChannel,
        examples: types.BaseChannel,
        max_latency_seconds: float,
        max_memory_megabytes: int,
    ):
        """Constructs the check.

        Args:
          model: SavedModel with segpipe's signatures.
          examples: tf.Examples by the data contract; images of the `eval` split are sent.
          max_latency_seconds: the longest that a request of one image may take once the model is warm.
          max_memory_megabytes: peak resident memory of the serving process.
        """
        super().__init__(
            spec=ServingCheckSpec(
                model=model,
                examples=examples,
                max_latency_seconds=max_latency_seconds,
                max_memory_megabytes=max_memory_megabytes,
                blessing=types.Channel(type=standard_artifacts.InfraBlessing),
            )
        )
