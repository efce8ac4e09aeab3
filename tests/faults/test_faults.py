"""Faults in each component of the graph: what was deployed is served all the time, and the next run completes.

`make test-faults` runs them, and writes what happened to output/faults-*.json.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.conftest import unavailable

ROOT = pathlib.Path(__file__).parent.parent.parent
COMPONENTS = (
    "ImportExampleGen", "ImportSchemaGen", "StatisticsGen", "ExampleValidator", "DataGate", "ThresholdCheck",
    "Transform", "Trainer", "DeployedModel", "Evaluator", "ServingCheck", "Pusher", "Report",
)  # fmt: skip
# Runs with a fault begin where all is done up to one of these: what comes before it takes longer than the rest.
STAGES = ("ThresholdCheck", "Trainer", "Evaluator")
MOMENTS = ("start", "middle", "end")
CASES = [
    *(("kill", component, when) for component in COMPONENTS for when in MOMENTS),
    *(("interrupt", component, "middle") for component in COMPONENTS),
    *((kind, component, "start") for kind in ("full", "read-only", "clock", "vanish") for component in COMPONENTS),
    *(("truncated", split, "start") for split in ("train", "eval", "test", "newest")),
]
FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"


class Runner:
    """The process that forks runs."""

    def __init__(self, clock: pathlib.Path):
        self.clock = clock
        self.set_clock("+0")
        environment = {
            "PYTHONPATH": str(ROOT),
            "LD_PRELOAD": FAKETIME,
            "FAKETIME_TIMESTAMP_FILE": str(clock),
            "FAKETIME_CACHE_DURATION": "1",
            "DONT_FAKE_MONOTONIC": "1",
            "TF_CPP_MIN_LOG_LEVEL": "3",
        }
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", str(pathlib.Path(__file__).with_name("runner.py"))],
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def set_clock(self, offset: str) -> None:
        self.clock.with_suffix(".new").write_text(offset + "\n")
        self.clock.with_suffix(".new").rename(self.clock)

    def run(self, config: pathlib.Path, last: str = "", **fault: Any) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"config": str(config), "last": last, "fault": fault}) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


class Watcher(threading.Thread):
    """Looks at the push destination again and again: versions are whole when they appear, and stay as they are."""

    def __init__(self, destination: pathlib.Path):
        super().__init__(daemon=True)
        self.destination, self.stopping = destination, threading.Event()
        self.seen: dict[str, str] = {}
        self.faults: list[str] = []

    def run(self) -> None:
        while not self.stopping.wait(0.01):
            for name in os.listdir(self.destination) if self.destination.is_dir() else ():
                if name.isdigit() and name not in self.seen:
                    self.seen[name] = digest(self.destination / name)
                    if not {"saved_model.pb", "fingerprint.pb", "variables"} <= set(
                        os.listdir(self.destination / name)
                    ):
                        self.faults.append(f"version {name} appeared before it was whole")

    def __enter__(self) -> Watcher:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stopping.set()
        self.join()
        for name, found in self.seen.items():
            if (self.destination / name).is_dir() and digest(self.destination / name) != found:
                self.faults.append(f"version {name} changed after it had appeared")


class Client(threading.Thread):
    """Asks the server again and again."""

    def __init__(self, url: str, image: bytes):
        super().__init__(daemon=True)
        import base64

        self.body = json.dumps({"instances": [{"b64": base64.b64encode(image).decode()}]}).encode()
        self.url, self.stopping = url, threading.Event()
        self.answers, self.faults = 0, []

    def run(self) -> None:
        while not self.stopping.wait(0.25):
            try:
                with urllib.request.urlopen(self.url, self.body, timeout=60) as answer:
                    self.answers += "predictions" in json.load(answer)
            except OSError as error:
                self.faults.append(str(error))


@dataclasses.dataclass
class Bench:
    """What cases share: a data set of two spans, and an output folder with a deployed model, on a disk of its own.

    Attributes:
      before: of each component what the output folder held when the stage began in which it runs.
      seconds: that each component took.
    """

    folder: pathlib.Path
    runner: Runner
    config: pathlib.Path
    before: dict[str, pathlib.Path]
    seconds: dict[str, float]
    expected: dict[str, str]
    client: Client
    results: list[dict[str, Any]]

    @property
    def output(self) -> pathlib.Path:
        return self.folder / "disk" / "output"

    def restore(self, component: str) -> None:
        """As after the first run, whose model is deployed, and before the stage of the second that has a component."""
        for path in (self.folder / "disk").iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        shutil.copytree(self.before.get(component, self.folder / "before-0"), self.output, symlinks=True)
        self.runner.set_clock("+0")


def digest(folder: pathlib.Path) -> str:
    found = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            found.update(str(path.relative_to(folder)).encode() + path.read_bytes())
    return found.hexdigest()


def results_of(output: pathlib.Path) -> dict[str, str]:
    """What the newest run took for its data: digests of examples and statistics."""
    from ml_metadata.proto import metadata_store_pb2 as mlmd

    from pipeline.records.metadata import sqlite_database
    from pipeline.records.runs import RUN_TYPE

    store = sqlite_database(str(output / "metadata.sqlite")).open(read_only=True)
    context = max(store.get_contexts_by_type(RUN_TYPE), key=lambda context: context.id)
    executions = store.get_executions_by_context(context.id)
    events = store.get_events_by_execution_ids([execution.id for execution in executions])
    artifacts = store.get_artifacts_by_id(sorted({event.artifact_id for event in events}))
    assert all(artifact.state == mlmd.Artifact.LIVE for artifact in artifacts), "an orphan was taken for a result"
    kinds = {"Examples": "Split-*/*", "components.DataStatistics": "*.json", "Schema": "*"}
    return {
        artifact.type: hashlib.sha256(
            b"".join(
                path.name.encode() + path.read_bytes() for path in sorted(pathlib.Path(artifact.uri).glob(pattern))
            )
        ).hexdigest()
        for artifact in artifacts
        for kind, pattern in kinds.items()
        if artifact.type == kind
    }


@pytest.fixture(scope="module")
def bench(small_config: Any, brain_mri: pathlib.Path, tmp_path_factory: Any, worker_id: str) -> Iterator[Bench]:
    if os.geteuid() != 0 or not os.path.exists(FAKETIME):
        unavailable("root, for a disk that gets full, and Debian's package libfaketime")
    folder = tmp_path_factory.mktemp("faults")
    (folder / "disk").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "segpipe-faults", str(folder / "disk")], check=True)
    server = None
    runner = Runner(folder / "clock")
    try:
        for span in ("1", "2"):
            shutil.copytree(brain_mri, folder / "spans" / span)
        for path in (folder / "spans" / "2").glob("eval*"):
            path.unlink()
        config = small_config(
            folder / "disk" / "output",
            data={"input": f"{folder}/spans/{{SPAN}}", "window": 2},
            model={"encoder": "plain", "filters": 4, "depth": 1},
            train={"epochs": 1, "checkpoint_steps": 2},
            gate={"min": {"mean_iou": 0.0}, "regression": 1},
        )
        path = folder / "run.yaml"
        path.write_text(yaml.safe_dump(config.model_dump(mode="json")))
        # The first run is of the first span alone, and has another schema, so that the cache answers for no component.
        (folder / "spans" / "2").rename(folder / "second")
        first = runner.run(path, kind="code", component="ImportSchemaGen")
        assert first["state"] == "pushed", first
        (folder / "second").rename(folder / "spans" / "2")
        before, seconds = {}, {}
        for index, last in enumerate((*STAGES, "")):
            copy = shutil.copytree(folder / "disk" / "output", folder / f"before-{index}", symlinks=True)
            reference = runner.run(path, last)
            done = [component for component, state in reference["states"].items() if state == "done"]
            before |= dict.fromkeys(done, copy)
            seconds |= {component: reference["seconds"][component] for component in done}
        assert reference["state"] == "pushed", reference
        assert set(before) == set(COMPONENTS)
        expected = results_of(folder / "disk" / "output")

        destination = str(folder / "disk" / "output" / "serving")
        log = open(folder / "server.log", "w")  # noqa: SIM115
        server = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "pipeline.cli",
                "serve",
                "--model",
                destination,
                "--port",
                "0",
                "--poll-seconds",
                "0.2",
            ],
            cwd=ROOT,
            stdout=log,
            stderr=log,
        )
        while "Serving version" not in (folder / "server.log").read_text():
            assert server.poll() is None
            time.sleep(0.1)
        address = (folder / "server.log").read_text().partition(" at ")[2].split()[0]
        import tensorflow as tf

        (test,) = (folder / "spans" / "1").glob("test*.tfrecord")
        record = next(iter(tf.data.TFRecordDataset(str(test)))).numpy()
        image = tf.train.Example.FromString(record).features.feature["image/encoded"].bytes_list.value[0]
        client = Client(f"{address}v1/models/segpipe:predict", image)
        client.start()
        made = Bench(folder, runner, path, before, seconds, expected, client, [])
        yield made
        client.stopping.set()
        client.join()
        report = ROOT / "output" / f"faults-{worker_id}.json"
        report.parent.mkdir(exist_ok=True)
        report.write_text(
            json.dumps({"answers": client.answers, "lost": client.faults, "cases": made.results}, indent=1)
        )
        assert client.answers > 10
        assert not client.faults
    finally:
        if server:
            server.terminate()
            server.wait()
        runner.process.kill()
        runner.process.wait()
        for place in ("artifacts", "serving"):
            subprocess.run(["umount", "-q", str(folder / "disk" / "output" / place)], check=False)
        subprocess.run(["umount", "--lazy", str(folder / "disk")], check=True)


def inject(bench: Bench, kind: str, component: str, when: str) -> dict[str, Any]:
    """Runs with a fault, and mends what was broken."""
    mark = bench.folder / "happened"
    mark.unlink(missing_ok=True)
    if kind == "truncated":
        span, split = ("2", "test") if component == "newest" else ("1", component)
        (shard,) = (bench.folder / "spans" / span).glob(f"{split}*.tfrecord")
        content, status = shard.read_bytes(), shard.stat()
        shard.write_bytes(content[: len(content) // 2])
        try:
            return bench.runner.run(bench.config)
        finally:
            shard.write_bytes(content)
            os.utime(shard, ns=(status.st_atime_ns, status.st_mtime_ns))
    places = {
        "full": [bench.folder / "disk"],
        "read-only": [bench.output / "artifacts", bench.output / "serving"],
        "clock": [bench.folder / "clock"],
        "vanish": [bench.output / "serving"],
    }.get(kind, [])
    try:
        result = bench.runner.run(
            bench.config,
            kind=kind,
            component=component,
            when=when,
            seconds=bench.seconds[component],
            places=list(map(str, places)),
            mark=str(mark),
        )
    finally:
        (bench.folder / "disk" / "filler").unlink(missing_ok=True)
        if kind == "read-only":
            for place in places:
                # Lazily: the server may be loading a version from there.
                subprocess.run(["umount", "--lazy", str(place)], check=True)
        bench.runner.set_clock("+0")
    assert mark.exists(), "the fault did not happen"
    return result


@pytest.mark.faults
@pytest.mark.parametrize(
    ("kind", "component", "when"),
    [pytest.param(*case, id="-".join(case)) for case in CASES],
)
def test_a_fault_loses_nothing(bench: Bench, kind: str, component: str, when: str) -> None:
    # A truncated record stops a run before all else, and all that was done before it was truncated is right again.
    bench.restore("Pusher" if kind == "truncated" else component)
    destination = bench.output / "serving"
    deployed = {path.name: digest(path) for path in destination.iterdir() if path.name.isdigit()}
    with Watcher(destination) as watcher:
        injected = inject(bench, kind, component, when)
        after = {path.name: digest(path) for path in destination.glob("[0-9]*")}
        recovered = bench.runner.run(bench.config)
    bench.results.append(
        {
            "kind": kind,
            "component": component,
            "when": when,
            "run": injected["state"],
            "message": injected["error"],
            "next run": recovered["state"],
        }
    )
    assert injected["state"] != "crashed", injected
    assert "Traceback" not in injected["error"]
    if kind in ("kill", "truncated"):
        assert injected["state"] == {"kill": "killed", "truncated": "failed"}[kind]
    if kind == "truncated":
        assert "truncated record" in injected["error"]
    assert not watcher.faults
    if kind != "vanish":
        assert after.items() >= deployed.items()
    assert recovered["state"] in ("pushed", "unchanged"), recovered
    versions = sorted(int(path.name) for path in destination.glob("[0-9]*"))
    assert versions
    assert results_of(bench.output) == bench.expected
    # What the first run deployed and what the second trained; a clock that jumped back does not change the order.
    assert len(versions) == (2 if kind != "vanish" else 1)
    if kind != "vanish":
        assert min(versions) == int(next(iter(deployed)))
