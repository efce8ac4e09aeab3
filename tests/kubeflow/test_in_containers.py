"""Compiled pipelines, each step in its own container: by KFP's local runner, and with an object store between them.

`make test-kubeflow` makes the image and runs these.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytestmark = pytest.mark.kubeflow
ROOT = pathlib.Path(__file__).parent.parent.parent
IMAGE = "segpipe:test"
SEGPIPE = ROOT / ".venv" / "bin" / "segpipe"
# A model that is no good, but soon there.
QUICK = ("--set", "gate.min={iou: {}}", "--set", "gate.regression=1", "--set", "model.filters=8")
KEYS = {"aws_access_key_id": "segpipe", "aws_secret_access_key": "segpipe-test"}


def compile_pipeline(output: pathlib.Path, volume: pathlib.Path, *arguments: str) -> pathlib.Path:
    """Compiles the configuration where its relative paths lead to the volume's data set."""
    config = ("--config", str(ROOT / "configs" / "brain_mri.yaml"), "--image", IMAGE, "--output", str(output))
    subprocess.run([SEGPIPE, "compile", *config, *arguments], cwd=volume, check=True)
    return output


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """What the cluster's volume holds: the offline sample at first, then checkpoints and pushed models."""
    folder = tmp_path_factory.mktemp("volume")
    sample = folder / "output" / "brain_mri_tfrecords"
    subprocess.run([SEGPIPE, "convert", "--format", "brain-mri", str(sample)], check=True)
    # The containers' user is another one.
    subprocess.run(["chmod", "-R", "a+rwX", str(folder.parent)], check=True)
    return folder


@pytest.fixture(scope="module")
def run_locally(volume: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., pathlib.Path]:
    """Runs a pipeline with `kfp.local` and DockerRunner; gives the folder of its artifacts."""
    import docker
    from kfp import components, local

    mask = os.umask(0)  # For the folders that the containers write to.

    def run(pipeline: pathlib.Path, **parameters: Any) -> pathlib.Path:
        root = tmp_path_factory.mktemp("artifacts")
        root.chmod(0o777)
        mounts = [docker.types.Mount("/mnt/segpipe", str(volume), type="bind")]
        local.init(runner=local.DockerRunner(mounts=mounts, network_mode="none"), pipeline_root=str(root))
        try:
            components.load_component_from_file(str(pipeline))(**parameters)
        finally:
            (folder,) = root.iterdir()
        return folder

    yield run
    os.umask(mask)


def versions(volume: pathlib.Path) -> list[str]:
    return sorted(path.name for path in (volume / "output" / "brain_mri" / "serving").glob("[0-9]*"))


def metadata(folder: pathlib.Path, task: str, key: str) -> dict[str, Any]:
    output = json.loads((folder / task / "executor_output.json").read_text())
    return output["artifacts"][key]["artifacts"][0]["metadata"]


@pytest.fixture(scope="module")
def first(volume: pathlib.Path, run_locally: Any, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The artifacts of a first run, of the configuration's own model and fewer epochs."""
    compiled = tmp_path_factory.mktemp("compiled") / "pipeline.yaml"
    return run_locally(compile_pipeline(compiled, volume, "--set", "gate.min={iou: {}}"), epochs=12, min_mean_iou=0.5)


def test_a_run_ends_with_a_pushed_model_and_a_report(first: pathlib.Path, volume: pathlib.Path) -> None:
    (version,) = versions(volume)
    assert metadata(first, "Pusher", "pushed_model")["pushed_version"] == version
    verdict = json.loads(metadata(first, "Evaluator", "evaluation")["verdict"])
    assert verdict["metrics"]["mean_iou"] > 0.5
    assert verdict["baseline_metrics"] is None
    report = (first / "Report" / "report" / "report.html").read_text()
    assert f"<title>brain-mri, version {version}, run {first.name}</title>" in report
    assert not list(first.rglob(".incomplete-*"))


@pytest.mark.nightly
def test_a_bad_model_is_refused(
    first: pathlib.Path, volume: pathlib.Path, run_locally: Any, tmp_path: pathlib.Path, capfd: Any
) -> None:
    before = versions(volume)
    pipeline = compile_pipeline(tmp_path / "pipeline.yaml", volume, *QUICK)
    # KFP's local runner takes a container that is gone before it asks how it ended for one that succeeded.
    with contextlib.suppress(RuntimeError):
        run_locally(pipeline, epochs=1, min_mean_iou=0.99)
    assert "The model was not pushed: mean IoU is 0." in capfd.readouterr().out
    assert versions(volume) == before


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A client of an S3 server (Versity's gateway, over a folder) with the bucket `mlpipeline`."""
    import boto3

    folder = tmp_path_factory.mktemp("objects")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = [os.environ["S3_SERVER"], "--port", address, "posix", "--sidecar", str(tmp_path_factory.mktemp("meta"))]
    credentials = {"ROOT_ACCESS_KEY": KEYS["aws_access_key_id"], "ROOT_SECRET_KEY": KEYS["aws_secret_access_key"]}
    server = subprocess.Popen([*command, str(folder)], env={**os.environ, **credentials}, stdout=subprocess.DEVNULL)
    client = boto3.client("s3", endpoint_url=f"http://{address}", region_name="us-east-1", **KEYS)
    for _ in range(100):
        try:
            client.create_bucket(Bucket="mlpipeline")
            break
        except Exception:
            time.sleep(0.1)
    yield client
    server.terminate()
    server.wait()


@pytest.mark.nightly  # Two more runs in containers, a third of an hour on two cores that do other things, too.
def test_a_killed_step_leaves_nothing_and_the_next_run_compares_with_the_deployed_model(
    first: pathlib.Path, volume: pathlib.Path, store: Any, tmp_path: pathlib.Path
) -> None:
    from tests.kubeflow.launcher import Launcher, TaskFailedError

    pipeline = compile_pipeline(tmp_path / "pipeline.yaml", volume, *QUICK)
    killed = []

    def kill(task: str, container: str) -> None:
        if task == "Trainer":
            deadline = time.monotonic() + 300
            while time.monotonic() < deadline:
                logs = subprocess.run(["docker", "logs", container], capture_output=True, text=True, check=False)
                if "epoch 3/" in logs.stdout + logs.stderr:
                    break
                time.sleep(0.2)
            killed.append(subprocess.run(["docker", "kill", container], capture_output=True, check=False).returncode)

    interrupted = Launcher(pipeline, store, "mlpipeline", "minio", volume)
    with pytest.raises(TaskFailedError, match="Trainer"):
        interrupted.run({"epochs": 1000, "min_mean_iou": 0.1}, on_start=kill)
    assert killed == [0]
    assert interrupted.keys("Transform")
    assert not interrupted.keys("Trainer")
    assert len(versions(volume)) == 1

    again = Launcher(pipeline, store, "mlpipeline", "s3", volume)
    again.run({"epochs": 3, "min_mean_iou": 0.1})
    verdict = json.loads(again.artifacts["Evaluator", "evaluation"]["metadata"]["verdict"])
    old, new = versions(volume)
    assert verdict["baseline_version"] == int(old)
    assert verdict["baseline_metrics"]["mean_iou"] > 0.5
    assert again.artifacts["Pusher", "pushed_model"]["metadata"]["pushed_version"] == new
    assert any(key.endswith("report.html") for key in again.keys("Report"))


def test_a_failure_is_told_in_one_line(volume: pathlib.Path, store: Any, tmp_path: pathlib.Path) -> None:
    from tests.kubeflow.launcher import Launcher, TaskFailedError

    label_map = f"data.label_map={volume}/output/brain_mri_tfrecords/labels.yaml"
    arguments = ("--set", "data.input=elsewhere", "--set", label_map)
    pipeline = compile_pipeline(tmp_path / "pipeline.yaml", volume, *arguments)
    with pytest.raises(TaskFailedError) as caught:
        Launcher(pipeline, store, "mlpipeline", "minio", volume).run({})
    assert caught.value.task == "FindInput"
    assert len(caught.value.message.splitlines()) == 1
    assert "/mnt/segpipe/elsewhere" in caught.value.message


def test_the_image_has_no_build_tools_and_no_root() -> None:
    script = "import os, shutil; print(os.getuid(), [n for n in ('gcc', 'cc', 'make', 'uv', 'pip') if shutil.which(n)])"
    command = ["docker", "run", "--rm", "--network", "none", "--entrypoint", "python", IMAGE, "-c", script]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "1000 []"
