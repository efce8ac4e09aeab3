"""Whole runs that are killed and gone on with, and that two processes train for."""

import json
import os
import socket
import time

import pytest
import yaml
from rich.console import Console

from models.serving.versions import numbers
from pipeline.records.metadata import database_of
from pipeline.records.runs import load_runs
from pipeline.runners.local import run_locally

pytestmark = pytest.mark.one_line


def run(config):
    return run_locally(config, Console(file=open(os.devnull, "w")))


def states(result):
    return {component.name: component.state for component in result.components}


@pytest.mark.nightly  # Faults in the Trainer and training itself nearly show it.
def test_a_run_killed_in_the_trainer_is_finished_by_the_next(small_config, segpipe, tmp_path):
    # Sizes that change leave time to kill it: their steps are traced anew.
    config = small_config(tmp_path / "output", train={"epochs": 12, "checkpoint_steps": 5, "small_sizes": 0.8})
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(config.model_dump(mode="json")))
    process = segpipe.start("run", "--config", str(path))
    logs = tmp_path / "output" / "logs"
    while not any("epoch 2/12" in log.read_text() for log in logs.glob("*.log")):
        assert process.poll() is None
        time.sleep(0.1)
    segpipe.kill(process)
    (killed,) = load_runs(database_of(config))
    assert killed.state == "interrupted"
    assert states(killed)["Trainer"] == "running"

    finished = run(config)
    assert finished.state == "pushed"
    before_trainer = [
        "ImportExampleGen",
        "StatisticsGen",
        "ImportSchemaGen",
        "ExampleValidator",
        "DataGate",
        "ThresholdCheck",
        "Transform",
    ]
    assert {states(finished)[name] for name in before_trainer} == {"cached"}
    assert states(finished)["Trainer"] == "done"
    log = max(logs.iterdir()).read_text()
    assert "going on at step " in log
    assert "epoch 1/12" not in log
    assert "epoch 12/12" in log
    assert len(numbers(config.push_destination)) == 1


def test_two_workers_train_the_model_of_one_run(small_config, segpipe, tmp_path):
    config = small_config(
        tmp_path / "output", train={"epochs": 2, "strategy": "multi_worker"}, gate={"min": {"mean_iou": 0}}
    )
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(config.model_dump(mode="json")))
    for command in ("run", "join"):
        refused = segpipe(command, "--config", str(path), TF_CONFIG="")
        assert refused.returncode == 1
        assert "needs the environment variable TF_CONFIG, such as" in refused.stderr
        assert "Traceback" not in refused.stderr
    assert not (tmp_path / "output").exists()

    with socket.socket() as first, socket.socket() as second:
        for opened in (first, second):
            opened.bind(("127.0.0.1", 0))
        addresses = [f"127.0.0.1:{opened.getsockname()[1]}" for opened in (first, second)]

    def as_worker(index):
        return json.dumps({"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}})

    other = segpipe.start("join", "--config", str(path), TF_CONFIG=as_worker(1))
    finished = segpipe("run", "--config", str(path), TF_CONFIG=as_worker(0))
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert other.wait(timeout=300) == 0
    log = max((tmp_path / "output" / "logs").iterdir()).read_text()
    assert "2 replica(s)" in log
    assert "epoch 2/2" in log
    assert len(numbers(config.push_destination)) == 1
