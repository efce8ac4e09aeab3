"""A stand-in for Kubeflow's driver and launcher, which need a cluster: it runs a compiled pipeline in containers.

What it does as they do (backend/src/v2 of Kubeflow Pipelines): it resolves parameters and artifacts of each task, puts
the ExecutorInput in the place of `{{$}}`, downloads input artifacts from the object store to the paths that
`LocalPathForURI` gives, runs the command, and only if it succeeds uploads what is at the output paths and believes the
ExecutorOutput. What it does not: caching, retries, resources, and tasks at the same time.
"""

from __future__ import annotations

import json
import pathlib
import subprocess
import tempfile
import threading
import uuid
from collections.abc import Callable
from typing import Any

import yaml

OUTPUT_FILE = "/tmp/kfp_outputs/output_metadata.json"


class TaskFailedError(Exception):
    """A container failed; with the task's name and its termination message."""

    def __init__(self, task: str, message: str):
        super().__init__(f"{task}: {message}")
        self.task, self.message = task, message


class Launcher:
    """Runs a pipeline with artifacts in a bucket.

    Args:
      pipeline: path of the YAML.
      store: a boto3 client.
      bucket: that is there.
      scheme: of the artifacts' URIs, `minio` or `s3`.
      volume: folder that is mounted in the place of the pipeline's claim.
    """

    def __init__(self, pipeline: pathlib.Path, store: Any, bucket: str, scheme: str, volume: pathlib.Path):
        self._spec = next(yaml.safe_load_all(pipeline.read_text()))
        self._store, self._bucket, self._volume = store, bucket, volume
        self.prefix = f"segpipe/{uuid.uuid4().hex}"
        self._root = f"{scheme}://{bucket}/{self.prefix}"
        self._scheme = scheme
        self.artifacts: dict[tuple[str, str], dict[str, Any]] = {}
        self._parameters: dict[tuple[str, str], Any] = {}

    def run(self, parameters: dict[str, Any], on_start: Callable[[str, str], None] | None = None) -> None:
        """Runs all tasks.

        Args:
          parameters: of the run.
          on_start: called in a thread with the names of each task and its container.

        Raises:
          TaskFailedError: of the first task that fails.
        """
        root = self._spec["root"]
        defaults = {key: value.get("defaultValue") for key, value in root["inputDefinitions"]["parameters"].items()}
        waiting = dict(root["dag"]["tasks"])
        while waiting:
            ready = [name for name, task in waiting.items() if not set(task.get("dependentTasks", [])) & set(waiting)]
            for name in ready:
                self._run_task(name, waiting.pop(name), {**defaults, **parameters}, on_start)

    def keys(self, task: str) -> list[str]:
        """The objects that a task has put into the bucket."""
        pages = self._store.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=f"{self.prefix}/{task}/"
        )
        return [item["Key"] for page in pages for item in page.get("Contents", [])]

    def _run_task(
        self,
        name: str,
        task: dict[str, Any],
        parameters: dict[str, Any],
        on_start: Callable[[str, str], None] | None,
    ) -> None:
        component = self._spec["components"][task["componentRef"]["name"]]
        container = self._spec["deploymentSpec"]["executors"][component["executorLabel"]]["container"]
        inputs = task.get("inputs", {})
        executor_input = {
            "inputs": {
                "parameterValues": {
                    key: self._value(value, parameters) for key, value in inputs.get("parameters", {}).items()
                },
                "artifacts": {
                    key: {"artifacts": [self.artifacts[_producer(value["taskOutputArtifact"])]]}
                    for key, value in inputs.get("artifacts", {}).items()
                },
            },
            "outputs": {
                "artifacts": {
                    key: {"artifacts": [self._new_artifact(name, key, value)]}
                    for key, value in component.get("outputDefinitions", {}).get("artifacts", {}).items()
                },
                "parameters": {
                    key: {"outputFile": f"/tmp/kfp/outputs/{key}"}
                    for key in component.get("outputDefinitions", {}).get("parameters", {})
                },
                "outputFile": OUTPUT_FILE,
            },
        }
        with tempfile.TemporaryDirectory() as text:
            folder = pathlib.Path(text)
            local, results, message = folder / self._scheme, folder / "results", folder / "termination-log"
            results.mkdir()
            local.mkdir()
            message.touch()
            for artifact in executor_input["inputs"]["artifacts"].values():
                self._download(artifact["artifacts"][0]["uri"], local)
            for artifact in executor_input["outputs"]["artifacts"].values():
                (local / artifact["artifacts"][0]["uri"].partition("://")[2]).parent.mkdir(parents=True, exist_ok=True)
            # The container's user is another one.
            subprocess.run(["chmod", "-R", "a+rwX", str(folder)], check=True)
            text = json.dumps(executor_input)
            container_name = f"segpipe-test-{uuid.uuid4().hex}"
            command = [
                *("docker", "run", "--rm", "--network", "none", "--name", container_name),
                *("--volume", f"{local}:/{self._scheme}", "--volume", f"{results}:{pathlib.Path(OUTPUT_FILE).parent}"),
                *("--volume", f"{message}:/dev/termination-log", "--volume", f"{self._volume}:/mnt/segpipe"),
                *("--entrypoint", container["command"][0], container["image"], *container["command"][1:]),
                *(argument.replace("{{$}}", text) for argument in container["args"]),
            ]
            if on_start:
                threading.Thread(target=on_start, args=(name, container_name), daemon=True).start()
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise TaskFailedError(name, message.read_text() or done.stderr[-2000:])
            output = json.loads((results / pathlib.Path(OUTPUT_FILE).name).read_text())
            for key, found in executor_input["outputs"]["artifacts"].items():
                (artifact,) = found["artifacts"]
                (told,) = output["artifacts"][key]["artifacts"]
                assert told["uri"] == artifact["uri"]
                self._upload(artifact["uri"], local)
                self.artifacts[name, key] = {**artifact, "metadata": told.get("metadata", {})}
            for key in executor_input["outputs"]["parameters"]:
                self._parameters[name, key] = output["parameterValues"][key]

    def _value(self, value: dict[str, Any], parameters: dict[str, Any]) -> Any:
        if "runtimeValue" in value:
            return value["runtimeValue"]["constant"]
        if "componentInputParameter" in value:
            return parameters[value["componentInputParameter"]]
        source = value["taskOutputParameter"]
        return self._parameters[source["producerTask"], source["outputParameterKey"]]

    def _new_artifact(self, task: str, key: str, spec: dict[str, Any]) -> dict[str, Any]:
        uri = f"{self._root}/{task}/{key}"
        return {"name": uri, "uri": uri, "type": spec["artifactType"], "metadata": {}}

    def _download(self, uri: str, local: pathlib.Path) -> None:
        prefix = uri.partition(f"://{self._bucket}/")[2] + "/"
        pages = self._store.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix)
        for page in pages:
            for item in page.get("Contents", []):
                path = local / self._bucket / item["Key"]
                path.parent.mkdir(parents=True, exist_ok=True)
                self._store.download_file(self._bucket, item["Key"], str(path))

    def _upload(self, uri: str, local: pathlib.Path) -> None:
        folder = local / uri.partition("://")[2]
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                key = path.relative_to(local / self._bucket).as_posix()
                self._store.upload_file(str(path), self._bucket, key)


def _producer(source: dict[str, str]) -> tuple[str, str]:
    return source["producerTask"], source["outputArtifactKey"]
