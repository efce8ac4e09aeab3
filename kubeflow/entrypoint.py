"""What each container of a Kubeflow run executes: a component's executor, its driver, or the verdict at the end.

It stands in front of TFX's own entrypoint (tfx.orchestration.kubeflow.v2.container.kubeflow_v2_run_executor), for what
open-source Kubeflow Pipelines does differently from Vertex AI: its launcher hands over URIs of object stores and copies
the objects to local paths; and `kfp.local` forgets the types of artifacts. Outputs appear when they are complete.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import resource
import shutil
import sys
import tempfile
import time
import traceback
from typing import Any

# The launcher's, as in Kubeflow Pipelines' LocalPathForURI.
LOCAL_PATHS = {"minio://": "/minio/", "s3://": "/s3/", "gs://": "/gcs/"}
TERMINATION_MESSAGE = "/dev/termination-log"
_LONGEST_MESSAGE = 2000  # Kubernetes keeps 4096 bytes.
_INCOMPLETE = ".incomplete-"


def local_path(uri: str) -> str:
    """Where the launcher puts, or fetches, what is at a URI; other URIs and paths stay as they are."""
    for scheme, folder in LOCAL_PATHS.items():
        if uri.startswith(scheme):
            return folder + uri.removeprefix(scheme)
    return uri


def restore_types(executor_input: dict[str, Any], inputs_spec: dict[str, Any]) -> None:
    """Gives input artifacts the types of the component's interface: `kfp.local` types all of them system.Artifact."""
    artifacts = executor_input.get("inputs", {}).get("artifacts", {})
    for name, spec in inputs_spec.get("artifacts", {}).items():
        for artifact in artifacts.get(name, {}).get("artifacts", []):
            artifact["type"] = spec["artifactType"]


def run_executor(args: argparse.Namespace, rest: list[str], executor_input: dict[str, Any]) -> dict[str, Any]:
    """Runs an executor by TFX's entrypoint.

    Args:
      args: parsed arguments.
      rest: flags for Beam.
      executor_input: Kubeflow's ExecutorInput; artifacts at their URIs.

    Returns:
      Kubeflow's ExecutorOutput, with the URIs that came in.
    """
    from tfx.orchestration.kubeflow.v2.container import kubeflow_v2_run_executor

    seen = json.loads(json.dumps(executor_input))
    is_local = args.artifacts == "local"
    if is_local:
        for artifact in _artifacts(seen, "inputs").values():
            artifact["uri"] = local_path(artifact["uri"])
    uris, staged = {}, {}
    for name, artifact in _artifacts(seen, "outputs").items():
        uris[name] = artifact["uri"]
        path = local_path(uris[name]) if is_local else uris[name]
        if "://" not in path:
            # Beside its place, so that it gets there by one rename.
            staged[name] = (os.path.join(os.path.dirname(path), _INCOMPLETE + os.path.basename(path)), path)
            _remove(staged[name][0])
            os.makedirs(staged[name][0])
            path = staged[name][0]
        artifact["uri"] = path
    with tempfile.TemporaryDirectory(prefix="segpipe-") as folder:
        seen["outputs"]["outputFile"] = os.path.join(folder, "executor_output.json")
        arguments = argparse.Namespace(
            executor_class_path=args.executor_class_path,
            json_serialized_invocation_args=json.dumps(seen),
            json_serialized_inputs_spec_args=args.json_serialized_inputs_spec_args,
        )
        try:
            kubeflow_v2_run_executor.main((arguments, rest))
        except BaseException:
            for incomplete, _ in staged.values():
                _remove(incomplete)
            raise
        with open(seen["outputs"]["outputFile"], encoding="utf-8") as file:
            output = json.load(file)
    for name, artifact in output.get("artifacts", {}).items():
        artifact["artifacts"][0]["uri"] = uris[name]
    for incomplete, path in staged.values():
        _remove(path)
        os.rename(incomplete, path)
    return output


def run_driver(args: argparse.Namespace, executor_input: dict[str, Any]) -> dict[str, Any]:
    """Asks a component's driver for what the component is to do; see `pipeline.runners.kubeflow.compiler`.

    Returns:
      Kubeflow's ExecutorOutput with the parameters that the step is to give.
    """
    from google.protobuf import json_format
    from kfp.pipeline_spec import pipeline_spec_pb2
    from tfx.orchestration.kubeflow.v2.container import kubeflow_v2_entrypoint_utils as utils
    from tfx.orchestration.portable.data_types import ExecutionInfo
    from tfx.types import standard_artifacts
    from tfx.utils import import_utils

    if args.artifacts == "local":
        for artifact in _artifacts(executor_input, "inputs").values():
            artifact["uri"] = local_path(artifact["uri"])
    message = json_format.ParseDict(executor_input, pipeline_spec_pb2.ExecutorInput(), ignore_unknown_fields=True)
    spec = json_format.Parse(args.json_serialized_inputs_spec_args, pipeline_spec_pb2.ComponentInputsSpec())
    properties = utils.parse_execution_properties(message.inputs.parameter_values, message.inputs.parameters, spec)
    span = properties.pop("span", -1)
    if span >= 0:
        properties["newest_span"] = span
    driver = import_utils.import_class_by_path(args.driver_class_path)
    answer = driver(None).run(
        ExecutionInfo(
            input_dict=utils.parse_raw_artifact_dict(message.inputs.artifacts),
            output_dict={"examples": [standard_artifacts.Examples()]},
            exec_properties=properties,
        )
    )
    found = {name: getattr(value, value.WhichOneof("value")) for name, value in answer.exec_properties.items()}
    return {"parameterValues": {name: found[name] for name in message.outputs.parameters}}


def refusal(executor_input: dict[str, Any]) -> str:
    """Why the model was not pushed, by the properties of the step's inputs; "" if it was."""
    from models.evaluation.gate import Verdict, why_not_pushed

    found = {name: artifact.get("metadata", {}) for name, artifact in _artifacts(executor_input, "inputs").items()}
    # Only Pusher knows whether it pushed: it also declines models that passed, such as one that was rolled back.
    if found["pushed_model"].get("pushed"):
        return ""
    verdict = Verdict.from_json(found["evaluation"]["verdict"])
    reasons = (found[name].get("reason", "") for name in ("infra_blessing", "pushed_model"))
    return "The model was not pushed: " + "; ".join(why_not_pushed(verdict, *reasons))


def describe(error: BaseException) -> str:
    """A failure in one line."""
    from data.base.errors import UserError

    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = "; ".join(lines).replace(":;", ":") or "no message"
    text = text if isinstance(error, UserError) else f"{type(error).__name__}: {text}"
    return text if len(text) <= _LONGEST_MESSAGE else text[:_LONGEST_MESSAGE] + " …"


def _artifacts(executor_input: dict[str, Any], side: str) -> dict[str, dict[str, Any]]:
    """The artifacts by name; each channel of segpipe's holds one."""
    lists = executor_input.get(side, {}).get("artifacts", {})
    return {name: found["artifacts"][0] for name, found in lists.items() if found.get("artifacts")}


def _remove(path: str) -> None:
    if os.path.isdir(path):
        shutil.rmtree(path)
    elif os.path.exists(path):
        os.remove(path)


def _write_output(path: str, output: dict[str, Any]) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path + ".incomplete", "w", encoding="utf-8") as file:
        json.dump(output, file)
    os.replace(path + ".incomplete", path)


def _fail(message: str) -> int:
    print(message, file=sys.stderr, flush=True)
    if os.path.exists(TERMINATION_MESSAGE):
        with contextlib.suppress(OSError), open(TERMINATION_MESSAGE, "w", encoding="utf-8") as file:
            file.write(message)
    return 1


def main(argv: list[str]) -> int:
    """Runs one step; the exit code is 1 if it failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--executor_class_path", help="import path of the executor to run")
    what.add_argument("--driver_class_path", help="import path of the driver to ask")
    what.add_argument("--verdict", action="store_true", help="fail if the model was not pushed")
    parser.add_argument("--json_serialized_invocation_args", required=True, help="Kubeflow's ExecutorInput as JSON")
    parser.add_argument("--json_serialized_inputs_spec_args", required=True, help="ComponentInputsSpec as JSON")
    parser.add_argument("--artifacts", choices=("local", "direct"), default="local", help="paths or URIs are opened")
    args, rest = parser.parse_known_args(argv)
    # TFX lets its own messages through, not segpipe's, which tell the progress.
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    log = logging.getLogger("segpipe")
    log.handlers[:], log.propagate = [handler], False
    log.setLevel(logging.INFO)
    try:
        executor_input = json.loads(args.json_serialized_invocation_args)
        restore_types(executor_input, json.loads(args.json_serialized_inputs_spec_args))
        if args.verdict:
            message = refusal(executor_input)
            if message:
                return _fail(message)
            output = {}
        elif args.driver_class_path:
            output = run_driver(args, executor_input)
        else:
            output = run_executor(args, rest, executor_input)
        _write_output(executor_input["outputs"]["outputFile"], output)
    except Exception as error:
        traceback.print_exc()
        return _fail(f"{args.driver_class_path or args.executor_class_path or 'Verdict'} failed: {describe(error)}")
    return 0


def _used(started: float) -> str:
    """What this step took, for counting costs."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cpu = sum(usage.ru_utime + usage.ru_stime for usage in usages)
    peak = max(usage.ru_maxrss for usage in usages) / 1024
    seconds = time.monotonic() - started
    return f"This step took {seconds:.1f} s, {cpu:.1f} CPU-seconds and at most {peak:.0f} MiB of memory."


if __name__ == "__main__":
    begin = time.monotonic()
    status = main(sys.argv[1:])
    if status == 0:
        print(_used(begin), flush=True)
    sys.exit(status)
