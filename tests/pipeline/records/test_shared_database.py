"""Records in a real database of ML Metadata: runs in every state, and those of another TFX pipeline beside them."""

import json
import logging
import os
import pathlib
import shlex
import socket
import subprocess
import sys
import time

import pytest
import tensorflow as tf
import yaml
from click.testing import CliRunner
from ml_metadata.proto import metadata_store_pb2 as mlmd

from data.base.errors import UserError
from models.serving.versions import deployed_version, version_path
from pipeline.cli.records import history, rollback
from pipeline.cli.run import retrain
from pipeline.records.lineage import load_history, repeated_version, trace
from pipeline.records.metadata import database_of
from pipeline.records.recording import begin_run, forget_pushes, record_failure
from pipeline.records.retention import clean
from pipeline.records.runs import HOST, RUN_TYPE, NoRunError, load_run, load_runs
from pipeline.retraining.retrain import last_decisive

ROOT = pathlib.Path(__file__).parents[3]
VERDICT = {"metrics": {"mean_iou": 0.5}, "baseline_metrics": None, "baseline_version": 0, "checks": []}


class Recorder:
    """Writes what TFX writes about executions."""

    def __init__(self, config):
        self.config = config
        self.store = database_of(config).open()

    def context(self, kind, name):
        type_id = self.store.put_context_type(mlmd.ContextType(name=kind))
        found = self.store.get_context_by_type_and_name(kind, name)
        return (
            found
            or self.store.get_contexts_by_id(self.store.put_contexts([mlmd.Context(type_id=type_id, name=name)]))[0]
        )

    def artifact(self, kind, uri, **properties):
        type_id = self.store.put_artifact_type(mlmd.ArtifactType(name=kind))
        artifact = mlmd.Artifact(type_id=type_id, uri=str(uri), state=mlmd.Artifact.LIVE)
        for name, value in properties.items():
            key = "int_value" if isinstance(value, int) else "string_value"
            setattr(artifact.custom_properties[name], key, value)
        os.makedirs(uri, exist_ok=True)
        pathlib.Path(uri, "content").touch()
        return artifact

    def execute(self, run_id, component, outputs=(), inputs=(), state=mlmd.Execution.COMPLETE, pipeline="small"):
        """Records an execution and returns the ids of its outputs."""
        execution = mlmd.Execution(
            type_id=self.store.put_execution_type(mlmd.ExecutionType(name=component)), last_known_state=state
        )
        node = f"{pipeline}.{component.rpartition('.')[2]}"
        contexts = [self.context("pipeline", pipeline), self.context(RUN_TYPE, run_id), self.context("node", node)]
        events = [(item, mlmd.Event(type=mlmd.Event.OUTPUT)) for item in outputs]
        events += [(self.store.get_artifacts_by_id([item])[0], mlmd.Event(type=mlmd.Event.INPUT)) for item in inputs]
        return self.store.put_execution(execution, events, contexts)[1]

    def run(self, run_id, version, until="Report", state=mlmd.Execution.COMPLETE, **verdict):
        """Records a run that ends with a component in some state."""
        begin_run(database_of(self.config), run_id, self.config)
        root, destination = self.config.artifacts_path, version_path(self.config.push_destination, version)
        evaluation = {"verdict": json.dumps({**VERDICT, **verdict})}
        push = {"pushed": 1, "pushed_version": str(version), "pushed_destination": destination}
        steps = [
            (
                "components.import_example_gen.ImportExampleGen",
                "Examples",
                {"inputs": json.dumps({"train": ["folder"]})},
            ),
            ("tfx.components.schema_gen.import_schema_gen.component.ImportSchemaGen", "Schema", {}),
            ("components.trainer.Trainer", "Model", {}),
            ("components.evaluator.Evaluator", "ModelEvaluation", evaluation),
            ("components.pusher.Pusher", "PushedModel", push),
            ("components.report.component.Report", "components.RunReport", {}),
        ]
        before = []
        for component, kind, properties in steps:
            is_last = component.endswith(until)
            if component.endswith("Pusher"):
                tf.saved_model.save(tf.Module(), destination)
            made = [self.artifact(kind, f"{root}/{component.rpartition('.')[2]}/{kind}/{version}", **properties)]
            if is_last and state != mlmd.Execution.COMPLETE:
                made = []
            before = self.execute(run_id, component, made, before, state if is_last else mlmd.Execution.COMPLETE)
            if is_last:
                return

    def foreign(self):
        """A run of another TFX pipeline, which evaluates our newest model, after importing it from its folder."""
        model = max(self.store.get_artifacts_by_type("Model"), key=lambda artifact: artifact.id)
        destination = os.path.dirname(self.config.push_destination)
        elsewhere = self.artifact("ModelEvaluation", f"{destination}/foreign/evaluation")
        pushed = self.artifact("PushedModel", f"{destination}/foreign/pushed", pushed=1)
        self.execute("theirs", "tfx.dsl.components.common.importer.Importer", [model], pipeline="foreign")
        inputs = [model.id]
        self.execute("theirs", "tfx.components.evaluator.component.Evaluator", [elsewhere], inputs, pipeline="foreign")
        self.execute("theirs", "tfx.components.pusher.component.Pusher", [pushed], inputs, pipeline="foreign")
        return model


@pytest.fixture
def config(small_config, tmp_path):
    return small_config(tmp_path / "output")


@pytest.fixture
def recorder(config):
    (pathlib.Path(config.output)).mkdir()
    return Recorder(config)


def states(config):
    return [run.state for run in load_runs(database_of(config))]


def test_runs_of_another_pipeline_are_none_of_ours(config, recorder):
    recorder.run("1", 1)
    recorder.run("2", 2)
    model = recorder.foreign()
    for name in (None, "small"):
        assert [run.run_id for run in load_runs(database_of(config), name)] == ["1", "2"]
    with pytest.raises(NoRunError, match="no run yet of a pipeline named foreign"):
        load_runs(database_of(config), "foreign")
    versions = load_history(config)
    assert [(item.version, item.run_id, item.mean_iou) for item in versions] == [(1, "1", 0.5), (2, "2", 0.5)]
    steps = {row.label: row.texts[0] for row in trace(config, 2).sections["Steps"]}
    assert list(steps) == ["ImportExampleGen", "ImportSchemaGen", "Trainer", "Evaluator", "Pusher"]
    assert all(text.endswith(" of run 2") for text in steps.values())
    with pytest.raises(UserError, match="knows of no push to"):
        trace(config, 3)
    forget_pushes(database_of(config), config.push_destination)

    # What others use stays, when it is old.
    recorder.run("3", 3)
    clean(config, 1, is_dry_run=False)
    assert os.path.exists(model.uri)
    assert not os.path.exists(model.uri.replace("Trainer/Model/2", "Pusher/PushedModel/2"))
    assert load_history(config)[0].state == "removed"


def test_the_history_shows_how_losses_add_up(config, recorder, monkeypatch):
    """On the same test images at the same size; what was measured on others begins anew."""
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    measured = [(0.70, "a", "model"), (0.69, "a", "model"), (0.5, "b", "model"), (0.68, "a", "model"),
                (0.9, "a", "original"), (0.71, "a", "model"), (0.3, "", "model"), (0.7, "", "model")]  # fmt: skip
    for version, (mean_iou, digest, resolution) in enumerate(measured, start=1):
        recorder.run(str(version), version, metrics={"mean_iou": mean_iou}, test_digest=digest, resolution=resolution)
    found = [item.below_best for item in load_history(config)]
    assert found == [None, pytest.approx(0.01), None, pytest.approx(0.02), None, 0, None, None]
    printed = CliRunner().invoke(history, ["--config", written(config)], catch_exceptions=False).output.splitlines()
    assert "below best" in printed[0]
    assert " 0.6800      0.0200 " in printed[4]


def test_a_run_knows_the_version_that_it_repeats(config, recorder):
    assert repeated_version(database_of(config), config) is None
    recorder.run("1", 1)
    recorder.run("2", 2)
    recorder.run("3", 3, until="Trainer", state=mlmd.Execution.FAILED)
    assert repeated_version(database_of(config), config) == 2
    # One that was killed between its push and what records it.
    tf.saved_model.save(tf.Module(), version_path(config.push_destination, 4))
    assert repeated_version(database_of(config), config) == 4
    gate = config.gate.model_copy(update={"regression": 0.5})
    assert repeated_version(database_of(config), config.model_copy(update={"gate": gate})) is None
    elsewhere = config.push.model_copy(update={"destination": f"{config.output}/elsewhere"})
    assert repeated_version(database_of(config), config.model_copy(update={"push": elsewhere})) is None


def test_an_unchanged_retrain_after_a_rollback_says_how_to_go_back(config, recorder, monkeypatch):
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    first, second = "2026-11-26T03:00:00.100000", "2026-11-27T03:00:00.100000"
    recorder.run(first, 1)
    recorder.run(second, 2)
    arguments = ["--config", written(config)]
    output = CliRunner().invoke(retrain, arguments, catch_exceptions=False).output
    assert output.splitlines() == [f"Nothing has changed since run {second} (pushed); nothing was trained."]
    assert CliRunner().invoke(rollback, arguments, catch_exceptions=False).exit_code == 0
    *_, where, command = CliRunner().invoke(retrain, arguments, catch_exceptions=False).output.splitlines()
    assert f"was rolled back, to {config.push_destination}/.rolled-back/2; version 1 is deployed now." in where
    assert CliRunner().invoke(rollback, shlex.split(command)[-3:], catch_exceptions=False).exit_code == 0
    assert deployed_version(config.push_destination) == 2


def written(config):
    path = pathlib.Path(config.output).parent / "run.yaml"
    path.write_text(yaml.safe_dump(config.model_dump(mode="json")))
    return str(path)


_EXECUTIONS = """
import sys
import time

from ml_metadata.proto import metadata_store_pb2 as mlmd

from pipeline.records.metadata import sqlite_database

store = sqlite_database(sys.argv[1]).open()
contexts = [store.get_context_by_type_and_name(*pair.split("/")) for pair in ("pipeline_run/1", "node/small.Pusher")]
kind = store.get_execution_type("components.pusher.Pusher").id
print("ready", flush=True)
while True:
    time.sleep(0.02)
    store.put_execution(mlmd.Execution(type_id=kind, last_known_state=mlmd.Execution.CACHED), [], contexts)
"""


def test_runs_are_read_while_one_registers_executions(config, recorder):
    recorder.run("1", 1)
    command = [sys.executable, "-c", _EXECUTIONS, config.metadata_path]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout.readline() == "ready\n"
        read, ends = [], time.monotonic() + 60
        # However slow the machine is: so many reads, between which executions were registered.
        try:
            while len(read) <= 10 or len({len(run.components) for run in read}) <= 5:
                assert time.monotonic() < ends
                read += load_runs(database_of(config))
                assert writer.poll() is None
        finally:
            writer.kill()
    assert {component.name for run in read for component in run.components} >= {"Pusher", "Report"}


def test_a_run_that_pushed_has_pushed_whatever_fails_after(config, recorder):
    recorder.run("1", 1)
    recorder.run("2", 2, state=mlmd.Execution.FAILED)
    record_failure(database_of(config), "2", "Report: no space")
    first, second = load_runs(database_of(config))
    assert (second.state, second.reasons, second.report) == ("failed", ["Report: no space"], None)
    assert (second.has_pushed, second.pushed_version) == (True, 2)
    assert last_decisive([first, second]) == second
    versions = load_history(config)
    assert [(item.version, item.run_id, item.state) for item in versions] == [(1, "1", "older"), (2, "2", "deployed")]
    rows = {row.label: row.texts[0] for row in trace(config, 2).sections["Version"]}
    assert "by run 2" in rows["pushed"]

    # Two later runs fail before they push; what the deployed model came from stays.
    for number in (3, 4):
        recorder.run(str(number), number, until="Trainer", state=mlmd.Execution.FAILED)
    failed = load_run(database_of(config), "4")
    assert (failed.state, failed.has_pushed, failed.pushed_version) == ("failed", False, None)
    clean(config, 1, is_dry_run=False)
    root = pathlib.Path(config.artifacts_path)
    assert (root / "Trainer" / "Model" / "2" / "content").exists()
    assert not (root / "Trainer" / "Model" / "1").exists()


@pytest.mark.parametrize(
    ("until", "state", "host", "expected"),
    [
        ("Trainer", mlmd.Execution.RUNNING, "a-container-that-is-gone", "unfinished"),
        ("Trainer", mlmd.Execution.RUNNING, socket.gethostname(), "interrupted"),
        ("Trainer", mlmd.Execution.FAILED, socket.gethostname(), "failed"),
        ("Report", mlmd.Execution.COMPLETE, socket.gethostname(), "pushed"),
    ],
)
def test_checkpoints_stay_until_the_training_has_ended(until, state, host, expected, config, recorder):
    recorder.run("1", 1)
    recorder.run("2", 2, until, state)
    context = recorder.store.get_context_by_type_and_name(RUN_TYPE, "2")
    context.custom_properties[HOST].string_value = host
    recorder.store.put_contexts([context])
    assert states(config) == ["pushed", expected]
    checkpoint = pathlib.Path(config.checkpoints_path, "0123", "steps")
    checkpoint.mkdir(parents=True)
    clean(config, 1, is_dry_run=False)
    assert checkpoint.exists() == (expected != "pushed")


def test_clean_keeps_what_was_made_while_the_output_folder_had_another_path(config, small_config, recorder, tmp_path):
    recorder.run("1", 1)
    os.rename(config.output, tmp_path / "mounted")
    moved = small_config(tmp_path / "mounted")
    assert [item.path for item in clean(moved, 1, is_dry_run=True)] == []
    assert pathlib.Path(moved.artifacts_path, "Trainer", "Model", "1").exists()
