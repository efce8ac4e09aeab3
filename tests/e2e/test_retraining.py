"""Retraining on the offline sample: reasons to train, drift, notifications, rollback, history, lineage, cleaning up."""

import contextlib
import json
import os
import pathlib
import shutil
import sys

import numpy as np
import pytest
import tensorflow as tf
import yaml
from rich.console import Console

from components.report import component as report
from data import contract
from data.base.errors import UserError
from data.decoding.images import encode_png
from models.serving.versions import numbers, roll_back, rolled_back, servable_versions
from pipeline.records.lineage import load_history, trace
from pipeline.records.metadata import database_of
from pipeline.records.retention import clean
from pipeline.records.runs import load_runs
from pipeline.retraining.retrain import retrain
from pipeline.runners.local import RunFailedError, run_locally

pytestmark = pytest.mark.one_line
# Part of a URL at which nobody answers.
KEY = "T0PSECRET"
WRITE = "import sys; open(sys.argv[1], 'a').write(sys.stdin.read() + chr(10))"


@pytest.fixture(scope="module")
def schedule(small_config, brain_mri):
    """Makes configurations over spans in a folder, with a first span, whose notifications go to a file there."""

    def start(folder):
        shutil.copytree(brain_mri, folder / "spans" / "1")
        (folder / "webhook").write_text(f"http://127.0.0.1:9/{KEY}")
        notify = {
            "command": [sys.executable, "-c", WRITE, str(folder / "notified.jsonl")],
            "webhook": {"file": str(folder / "webhook")},
        }

        def make(**keys):
            values = {"train": {"epochs": 2}, "gate": {"regression": 1}, "notify": notify, **keys}
            return small_config(folder / "output", data={"input": f"{folder}/spans/{{SPAN}}"}, **values)

        return make

    return start


@pytest.fixture(scope="module")
def retrained(schedule, tmp_path_factory):
    """A folder with one span, what makes its configurations, and the result of the first `retrain`."""
    folder = tmp_path_factory.mktemp("retrained")
    make = schedule(folder)
    return folder, make, run_retrain(make())


def run_retrain(config):
    lines = []
    return retrain(config, Console(quiet=True), lines.append)


def notified(folder):
    return [json.loads(line) for line in (folder / "notified.jsonl").read_text().splitlines()]


@pytest.fixture
def failing_report(monkeypatch):
    """Within its context, the report cannot be written."""

    def fail(*_):
        raise OSError("no space for the report")

    @contextlib.contextmanager
    def context():
        with monkeypatch.context() as patch:
            patch.setattr(report.Executor, "Do", fail)
            yield

    return context


def component_states(run):
    return {component.name: component.state for component in run.components}


def add_span(folder, number, change=lambda feature: None):
    """Adds a span: the first one's train and test examples under other names, with something changed in each."""
    (folder / "spans" / str(number)).mkdir()
    for path in (folder / "spans" / "1").glob("t*.tfrecord"):
        with tf.io.TFRecordWriter(str(folder / "spans" / str(number) / path.name)) as writer:
            for record in tf.data.TFRecordDataset(str(path)):
                example = tf.train.Example.FromString(record.numpy())
                feature = example.features.feature
                feature[contract.SOURCE_ID].bytes_list.value[0] += b" again"
                change(feature)
                writer.write(example.SerializeToString())
    shutil.copy(folder / "spans" / "1" / "labels.yaml", folder / "spans" / str(number))


def all_of_one_class(feature):
    size = (feature[contract.HEIGHT].int64_list.value[0], feature[contract.WIDTH].int64_list.value[0])
    mask = np.arange(size[0] * size[1], dtype=np.int64).reshape(size) % 4
    feature[contract.MASK].bytes_list.value[0] = encode_png(mask.astype(np.uint8))


@pytest.mark.nightly
def test_a_push_destination_that_was_deleted_is_filled_again_whatever_fails_after_the_push(retrained, failing_report):
    folder, make, _ = retrained
    config = make(report={"max_megabytes": 9})
    shutil.rmtree(config.push_destination)
    with failing_report(), pytest.raises(UserError, match="Report failed: OSError: no space for the report"):
        run_retrain(config)
    failed = load_runs(database_of(config))[-1]
    assert (failed.state, failed.has_pushed) == ("failed", True)
    assert component_states(failed) | {"Trainer": "cached", "Pusher": "done"} == component_states(failed)
    assert numbers(config.push_destination) == [failed.pushed_version]
    assert load_history(config)[-1].run_id == failed.run_id
    message = notified(folder)[-1]
    assert (message["state"], message["has_pushed"], message["run_id"]) == ("failed", True, failed.run_id)
    with pytest.raises(UserError, match="no version before"):
        roll_back(config.push_destination)

    # The push stands, and what failed is done; not before then is nothing new.
    completed = run_retrain(config)
    assert (completed.outcome, completed.run.state) == ("ran", "unchanged")
    assert (completed.run.pushed_version, completed.run.has_pushed) == (failed.pushed_version, False)
    assert os.path.exists(completed.run.report)
    assert load_history(config)[-1].run_id == failed.run_id
    assert run_retrain(config).outcome == "nothing new"

    # What is no model serves nobody, whatever it is called.
    shutil.rmtree(config.push_destination)
    os.makedirs(os.path.join(config.push_destination, "7"))
    filled = run_retrain(config)
    assert (filled.outcome, filled.run.state) == ("ran", "pushed")
    assert numbers(config.push_destination) == [7, filled.run.pushed_version]


def test_only_a_reason_starts_a_run_and_notifies(retrained, segpipe):
    folder, make, first = retrained
    assert (first.outcome, first.run.state, first.drift) == ("ran", "pushed", None)
    run_retrain(make())
    count, before = len(load_runs(database_of(make()))), len(notified(folder))
    page = folder / "output" / "index.html"
    page.unlink()  # Each turn writes it anew.
    again = run_retrain(
        make(beam={"options": {"workers": 2}}, retrain={"max_drift": 0.2})
    )  # Results do not depend on these.
    assert again.outcome == "nothing new"
    assert f"{first.run.mean_iou:.4f}" in page.read_text()

    add_span(folder, 2)
    unmoved = run_retrain(make(retrain={"trigger": "drift"}))
    assert unmoved.outcome == "no drift"
    assert "Span 2 has not been trained on yet" in page.read_text()
    assert max(unmoved.drift.values()) < 0.1
    assert len(load_runs(database_of(make()))) == count

    add_span(folder, 3, all_of_one_class)
    deployed = list(servable_versions(make().push_destination))
    moved = run_retrain(make(retrain={"trigger": "drift"}))
    assert (moved.outcome, moved.run.state) == ("ran", "pushed")
    assert moved.drift["classes"] > 0.3
    assert moved.run.newest_span == 3
    assert [pathlib.Path(path).name for path in moved.run.inputs["train"]] == ["1", "2", "3"]

    # A broken span fails the run, and that is notified, too.
    (folder / "spans" / "4").mkdir()
    for split in ("train", "test"):
        (folder / "spans" / "4" / f"{split}.tfrecord").write_bytes(b"broken")
    shutil.copy(folder / "spans" / "1" / "labels.yaml", folder / "spans" / "4")
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(make().model_dump(mode="json")))
    broken = segpipe("retrain", "--config", str(path))
    assert broken.returncode == 1
    assert "Traceback" not in broken.stderr
    assert "spans/4/" in broken.stderr
    assert "The last run failed: " in page.read_text()
    assert "notify.webhook: Connection refused" in broken.stderr + broken.stdout
    written = [path for path in [folder / "notified.jsonl", *(folder / "output").rglob("*")] if path.is_file()]
    assert len(written) > 50
    assert not [path for path in written if KEY.encode() in path.read_bytes()]
    assert KEY not in broken.stderr + broken.stdout
    messages = notified(folder)[before:]
    assert [message["state"] for message in messages] == ["pushed", "failed"]
    assert messages[0]["drift"] == moved.drift
    assert any("spans/4/" in reason for reason in messages[1]["reasons"])
    assert messages[1]["run_id"] == load_runs(database_of(make()))[-1].run_id
    assert list(servable_versions(make().push_destination)) == [*deployed, moved.run.pushed_version]


@pytest.mark.nightly
def test_versions_are_listed_traced_rolled_back_and_cleaned(schedule, segpipe, failing_report, tmp_path):
    make = schedule(tmp_path)
    config = make(train={"epochs": 3})
    run_locally(make(train={"epochs": 1}), Console(quiet=True))
    with failing_report(), pytest.raises(RunFailedError, match="Report failed"):
        run_locally(make(train={"epochs": 2}), Console(quiet=True))
    run_locally(config, Console(quiet=True))
    runs = load_runs(database_of(config))
    assert [run.state for run in runs] == ["pushed", "failed", "pushed"]
    first, second, third = (run.pushed_version for run in runs)
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(config.model_dump(mode="json")))
    assert segpipe("rollback", "--config", str(path)).returncode == 0
    history = load_history(config)
    assert [(item.version, item.state, item.replaced) for item in history] == [
        (first, "older", None),
        (second, "deployed", first),
        (third, "rolled back", second),
    ]
    assert [item.run_id for item in history] == [run.run_id for run in runs]
    assert history[2].rollbacks[0]["to"] == second
    assert history[0].data == [str(tmp_path / "spans" / "1")]

    # A run of the same does not bring it back, and the next candidate is compared with what is deployed now.
    again = run_locally(config, Console(quiet=True))
    assert again.state in ("unchanged", "refused")
    assert list(servable_versions(config.push_destination)) == [first, second]
    better = make(train={"epochs": 4})
    fourth = run_locally(better, Console(quiet=True))
    assert (fourth.baseline_version, fourth.state) == (second, "pushed")

    rows = {
        f"{heading}: {row.label}": row.texts[0]
        for heading, rows in trace(config, second).sections.items()
        for row in rows
    }
    assert rows["Data: train"] == str(tmp_path / "spans" / "1")
    assert "train 75, eval 10, test 20; set aside 0" in rows["Data: conversion"]
    assert "epochs: 2" in rows["Configuration: train"]
    assert rows["Packages: tensorflow"] == tf.__version__
    assert rows["Metrics on the test split: mean IoU"] == f"{runs[1].mean_iou:.4f}"
    assert f"version {first}" in rows["Version: compared with"]
    assert runs[1].run_id in rows["Steps: Trainer"]
    assert runs[0].run_id in rows["Steps: Transform"]
    page = tmp_path / "lineage.html"
    assert segpipe("lineage", "--config", str(path), str(second), "--html", str(page)).stdout == f"Written to {page}\n"
    assert f"small, version {second}" in page.read_text()
    graph = {node.name: node for node in trace(config, second).graph}
    assert (graph["Transform"].kind, graph["Trainer"].kind) == ("earlier", "step")
    assert set(graph["Evaluator"].used) >= {"Trainer", "DeployedModel", "ImportExampleGen"}
    assert graph["DeployedModel"].used == (f"Version {first}", "Trainer")
    with pytest.raises(UserError, match=r"knows of no push to .*/7; `segpipe history` lists all versions"):
        trace(config, 7)

    def files():
        return {file for file in (tmp_path / "output").rglob("*") if file.is_file()}

    before = files()
    planned = clean(config, 2, is_dry_run=True)
    assert files() == before
    assert clean(config, 2, is_dry_run=False) == planned
    assert not any(os.path.exists(item.path) for item in planned)
    assert list(servable_versions(config.push_destination)) == [second, fourth.pushed_version]
    assert list(rolled_back(config.push_destination)) == [third]
    store = database_of(config).open()
    live = [artifact for artifact in store.get_artifacts() if artifact.state == 2]
    assert live
    assert all(os.path.exists(artifact.uri) for artifact in live)
    # What is kept can be traced to files that are there, and is found in the cache.
    for version in (second, fourth.pushed_version):
        texts = [row.texts[0] for rows in trace(config, version).sections.values() for row in rows]
        assert not [text for text in texts if "(removed)" in text]
    assert load_history(config)[0].state == "removed"
    assert run_locally(better, Console(quiet=True)).state == "unchanged"
    assert [item.reason for item in clean(config, 2, is_dry_run=True) if "artifacts" in item.path] == []
    # What was cleaned away is computed again.
    oldest = run_locally(make(train={"epochs": 1}), Console(quiet=True), last="Trainer")
    assert component_states(oldest)["Trainer"] == "done"
