"""A run whose data, output and push destination are in folders that other programs would take for patterns."""

import os
import shutil

import numpy as np
import pytest
import tensorflow as tf
from rich.console import Console

from data.decoding.images import encode_png
from models.serving.loaded_model import load_model
from models.serving.versions import numbers
from pipeline.retraining.retrain import retrain
from pipeline.runners.local import run_locally

pytestmark = [pytest.mark.one_line, pytest.mark.nightly]


def states(run):
    return {component.name: component.state for component in run.components}


@pytest.fixture(scope="module")
def config(small_config, brain_mri, tmp_path_factory):
    folder = tmp_path_factory.mktemp("any") / "ü 'b' [1]*?"
    data = folder / "in [2]#%"
    shutil.copytree(brain_mri, data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(folder.parent / "state"))
        yield small_config(
            folder / "out [3]",
            data={"input": str(data)},
            train={"epochs": 1},
            gate={"min": {"mean_iou": 0}, "regression": 1},
            push={"destination": str(folder / "push [4]")},
        )


@pytest.fixture(scope="module")
def first(config):
    return run_locally(config, Console(quiet=True))


def test_everything_is_where_it_was_asked_for(config, first):
    assert first.state == "pushed"
    assert numbers(config.push_destination) == [first.pushed_version]
    assert {"artifacts", "checkpoints", "logs", "metadata.sqlite"} <= set(os.listdir(config.output))
    assert os.path.isfile(first.report)
    assert os.path.realpath(first.report).startswith(config.output)
    found = load_model(config.push_destination).segment_whole(encode_png(np.zeros([30, 20], np.uint8)), 30, 20)
    assert found.class_ids.shape == (30, 20)


def test_nothing_new_is_found_again_whatever_the_times(config, first):
    for entry in os.scandir(config.data.input):
        os.utime(entry.path, (1, 1))
    assert retrain(config, Console(quiet=True), lambda _: None).outcome == "nothing new"
    again = run_locally(config, Console(quiet=True))
    assert (again.state, set(states(again).values())) == ("unchanged", {"cached"})


def test_other_contents_are_new_though_size_and_time_are_the_same(config, first):
    path = next(entry.path for entry in os.scandir(config.data.input) if entry.name.startswith("train"))
    before = os.stat(path)
    records = [record.numpy() for record in tf.data.TFRecordDataset(path)]
    with tf.io.TFRecordWriter(path) as writer:
        for record in reversed(records):
            writer.write(record)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert os.stat(path).st_size == before.st_size
    assert states(run_locally(config, Console(quiet=True), last="ImportExampleGen"))["ImportExampleGen"] == "done"
