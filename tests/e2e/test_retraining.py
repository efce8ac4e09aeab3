"""Turns of a schedule on the offline sample: what is new, drift, rollback, history, lineage, and cleaning up."""

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

from data import contract
from data.base.errors import UserError
from data.images import encode_png
from models.serving.versions import roll_back, rolled_back, servable_versions, versions
from pipeline.records.history import load_history
from pipeline.records.lineage import trace
from pipeline.records.metadata import database_of
from pipeline.records.retention import clean
from pipeline.records.runs import load_runs
from pipeline.retraining.turn import retrain
from pipeline.runners.local import run_locally

# Part of a URL that nobody answers at.
KEY = "T0PSECRET"
WRITE = "import sys; open(sys.argv[1], 'a').write(sys.stdin.read() + chr(10))"


@pytest.fixture
def schedule(small_config, brain_mri, tmp_path):
    """A configuration over spans, of which there is one, and the file that is told."""
    shutil.copytree(brain_mri, tmp_path / "spans" / "1")
    (tmp_path / "webhook").write_text(f"http://127.0.0.1:9/{KEY}")

    def make(**keys):
        told = [sys.executable, "-c", WRITE, str(tmp_path / "told.jsonl")]
        notify = {"command": told, "webhook": {"file": str(tmp_path / "webhook")}}
        return small_config(
            tmp_path / "output",
            data={"input": f"{tmp_path}/spans/{{SPAN}}"},
            **{"train": {"epochs": 2}, "gate": {"regression": 1}, "notify": notify, **keys},
        )

    return make, tmp_path


def take_turn(config):
    lines = []
    return retrain(config, Console(quiet=True), lines.append)


def add_span(folder, number, change=lambda feature: None):
    """A span of the train and test examples of the first, each with something changed and a name of its own."""
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


def test_a_turn_trains_for_a_reason_alone_and_tells(schedule, segpipe):
    make, folder = schedule
    first = take_turn(make())
    assert (first.outcome, first.run.state, first.drift) == ("ran", "pushed", None)
    again = take_turn(make())
    assert (again.outcome, again.run.run_id) == ("nothing new", first.run.run_id)

    # Other code, packages and settings of no consequence are told apart from those that count.
    told = make(beam={"options": {"workers": 2}}, retrain={"max_drift": 0.2})
    assert take_turn(told).outcome == "nothing new"

    add_span(folder, 2)
    unmoved = take_turn(make(retrain={"trigger": "drift"}))
    assert unmoved.outcome == "no drift"
    assert max(unmoved.drift.values()) < 0.1
    assert len(load_runs(database_of(make()))) == 1

    add_span(folder, 3, all_of_one_class)
    moved = take_turn(make(retrain={"trigger": "drift"}))
    assert (moved.outcome, moved.run.state) == ("ran", "pushed")
    assert moved.drift["classes"] > 0.3
    assert moved.run.newest_span == 3
    assert [pathlib.Path(path).name for path in moved.run.inputs["train"]] == ["1", "2", "3"]

    # A broken span fails the turn, and that is told, too.
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
    assert "notify.webhook: Connection refused" in broken.stderr + broken.stdout
    written = [path for path in [folder / "told.jsonl", *(folder / "output").rglob("*")] if path.is_file()]
    assert len(written) > 50
    assert not [path for path in written if KEY.encode() in path.read_bytes()]
    assert KEY not in broken.stderr + broken.stdout
    lines = [json.loads(line) for line in (folder / "told.jsonl").read_text().splitlines()]
    assert [line["state"] for line in lines] == ["pushed", "pushed", "failed"]
    assert lines[1]["drift"] == moved.drift
    assert any("spans/4/" in reason for reason in lines[2]["reasons"])
    assert servable_versions(make().push_destination).keys() == {first.run.pushed_version, moved.run.pushed_version}


def test_versions_are_told_traced_rolled_back_and_cleaned(schedule, segpipe):
    make, folder = schedule
    runs = [run_locally(make(train={"epochs": epochs}), Console(quiet=True)) for epochs in (1, 2, 3)]
    first, second, third = (run.pushed_version for run in runs)
    config = make(train={"epochs": 3})
    path = folder / "run.yaml"
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
    assert history[0].data == [str(folder / "spans" / "1")]

    # A run of the same brings it not back, and the next candidate has to stand up to what is deployed now.
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
    assert rows["Data: train"] == str(folder / "spans" / "1")
    assert "train 75, eval 10, test 20; set aside 0" in rows["Data: conversion"]
    assert "epochs: 2" in rows["Configuration: train"]
    assert rows["Packages: tensorflow"] == tf.__version__
    assert rows["Metrics on the test split: mean_iou"] == f"{runs[1].mean_iou:.4f}"
    assert f"version {first}" in rows["Version: compared with"]
    assert runs[1].run_id in rows["Steps: Trainer"]
    assert runs[0].run_id in rows["Steps: Transform"]
    page = folder / "lineage.html"
    assert segpipe("lineage", "--config", str(path), str(second), "--html", str(page)).returncode == 0
    assert f"small, version {second}" in page.read_text()
    unknown = segpipe("lineage", "--config", str(path), "7")
    assert unknown.returncode == 1
    assert "knows of no push to" in unknown.stderr

    def files():
        return {file for file in (folder / "output").rglob("*") if file.is_file()}

    before = files()
    planned = clean(config, 2, is_dry_run=True)
    assert files() == before
    assert clean(config, 2, is_dry_run=False) == planned
    assert not any(os.path.exists(item.path) for item in planned)
    assert list(servable_versions(config.push_destination)) == [second, fourth.pushed_version]
    assert rolled_back(config.push_destination) == [third]
    store = database_of(config).open()
    live = [artifact for artifact in store.get_artifacts() if artifact.state == 2]
    assert live
    assert all(os.path.exists(artifact.uri) for artifact in live)
    # What is kept can be traced to files that are there, and is found in the cache.
    for version in (second, fourth.pushed_version):
        texts = [row.texts[0] for rows in trace(config, version).sections.values() for row in rows]
        assert not [text for text in texts if "not there any more" in text]
    assert load_history(config)[0].state == "removed"
    assert run_locally(better, Console(quiet=True)).state == "unchanged"
    assert [item.reason for item in clean(config, 2, is_dry_run=True) if "artifacts" in item.path] == []
    # What was cleaned away is computed again.
    oldest = run_locally(make(train={"epochs": 1}), Console(quiet=True))
    assert {component.name: component.state for component in oldest.components}["Trainer"] == "done"


def test_a_push_destination_that_vanished_is_filled_again(schedule):
    make, _ = schedule
    config = make()
    first = take_turn(config)
    shutil.rmtree(config.push_destination)
    second = take_turn(config)
    assert (second.outcome, second.run.state) == ("ran", "pushed")
    assert versions(config.push_destination) == [second.run.pushed_version]
    states = {component.name: component.state for component in second.run.components}
    assert (states["Trainer"], states["Pusher"]) == ("cached", "done")
    assert first.run.pushed_path != second.run.pushed_path or os.path.isdir(first.run.pushed_path)
    with pytest.raises(UserError, match="no version before"):
        roll_back(config.push_destination)
