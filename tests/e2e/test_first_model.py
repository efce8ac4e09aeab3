"""From photographs and the JSON of an annotation tool to a pushed model: two commands, and no file written by hand."""

import pathlib
import shlex

import pytest
import tensorflow as tf

from data import contract
from pipeline.config import load_config
from pipeline.records.metadata import database_of
from pipeline.records.runs import load_runs


@pytest.mark.nightly
@pytest.mark.one_line
def test_init_and_run_push_a_model_of_eighteen_annotated_photographs(fruits, segpipe, tmp_path, monkeypatch):
    started = segpipe("init", "--convert", "--minutes", "0.8", str(fruits), folder=tmp_path)
    assert started.returncode == 0, started.stderr
    (run,) = [shlex.split(line)[1:] for line in started.stdout.partition("Next:")[2].strip().splitlines()]
    # How much is learned in a minute depends on the machine.
    planned = tmp_path / "my_run.yaml"
    text = planned.read_text()
    assert ("task: instance" in text, "minutes: 0.8" in text) == (True, True)
    planned.write_text(text.replace("task: instance", "task: semantic").replace("minutes: 0.8", "epochs: 40"))
    ran = segpipe(*run, folder=tmp_path)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    monkeypatch.chdir(tmp_path)
    config = load_config("my_run.yaml")
    (result,) = load_runs(database_of(config))
    assert (result.state, list(result.class_iou)) == ("pushed", ["background", "date", "fig", "hazelnut"])
    assert result.mean_iou > config.gate.min["mean_iou"]
    assert pathlib.Path(result.pushed_path).is_dir()
    assert pathlib.Path(result.report).is_file()
    # The objects came along, and nothing on the way minds them.
    files = sorted(map(str, pathlib.Path(config.data.input).glob("*.tfrecord")))
    examples = [tf.train.Example.FromString(record.numpy()) for record in tf.data.TFRecordDataset(files)]
    assert [contract.INSTANCES in example.features.feature for example in examples] == [True] * 18
