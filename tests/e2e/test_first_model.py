"""From a folder of photographs and masks to a pushed model, with no file written by hand."""

import pathlib
import shlex

import pytest

from pipeline.config import load_config
from pipeline.records.metadata import database_of
from pipeline.records.runs import load_runs

COUNT = 60


@pytest.mark.one_line
def test_init_convert_and_run_push_a_model_of_sixty_photographs(pets, segpipe, tmp_path, monkeypatch):
    for name, folder in (("Photos", pets / "images"), ("Trimaps", pets / "annotations" / "trimaps")):
        (tmp_path / "My pets" / name).mkdir(parents=True)
        files = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
        for index in range(COUNT):
            path = files[index * len(files) // COUNT]
            (tmp_path / "My pets" / name / path.name).symlink_to(path)
    started = segpipe("init", "My pets", folder=tmp_path)
    assert started.returncode == 0, started.stderr
    commands = [shlex.split(line)[1:] for line in started.stdout.partition("Next:")[2].strip().splitlines()]
    assert [command[0] for command in commands] == ["convert", "run"]
    converted = segpipe(*commands[0], folder=tmp_path)
    assert converted.returncode == 0, converted.stderr
    # As it is proposed, training takes minutes, for a mean IoU of 0.6.
    ran = segpipe(*commands[1], "--set", "train.epochs=40", folder=tmp_path)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    monkeypatch.chdir(tmp_path)
    config = load_config("my_run.yaml")
    (run,) = load_runs(database_of(config))
    assert (run.state, list(run.class_iou)) == ("pushed", ["class_1", "class_2", "class_3"])
    assert run.mean_iou > config.gate.min["mean_iou"]
    assert pathlib.Path(run.pushed_path).is_dir()
