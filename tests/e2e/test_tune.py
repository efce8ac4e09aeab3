"""A search for hyperparameters on the offline sample: killed, gone on with, and used by the next run."""

import time

import pytest
import yaml
from rich.console import Console

from models.serving.signatures import read_facts
from pipeline.records.metadata import database_of
from pipeline.records.runs import load_runs, load_trials
from pipeline.runners.local import run_locally

pytestmark = [pytest.mark.one_line, pytest.mark.nightly]
TUNE = {
    "trials": 3,
    "epochs": 2,
    "space": {
        "train.learning_rate": {"low": 0.001, "high": 0.02, "scale": "log"},
        "train.loss": ["cross_entropy", {"cross_entropy": 1, "dice": 1}],
        "model.filters": {"low": 4, "high": 8, "step": 4},
    },
}


def started(log_folder, trial):
    """How often a trial's training began, by all logs."""
    return sum(log.read_text().count(f"trial {trial} of 3: model.") for log in log_folder.glob("*.log"))


def test_a_search_goes_on_after_a_kill_and_the_next_run_takes_its_best_values(small_config, segpipe, tmp_path):
    config = small_config(tmp_path / "output", tune=TUNE, train={"epochs": 3, "checkpoint_steps": 5})
    path = tmp_path / "tune.yaml"
    path.write_text(yaml.safe_dump(config.model_dump(mode="json")))
    logs = tmp_path / "output" / "logs"
    process = segpipe.start("tune", "--config", str(path))
    while not started(logs, 2):
        assert process.poll() is None
        time.sleep(0.1)
    segpipe.kill(process)
    assert load_runs(database_of(config))[-1].state == "interrupted"

    finished = segpipe("tune", "--config", str(path))
    assert finished.returncode == 0, finished.stderr
    assert [started(logs, trial) for trial in (1, 2, 3)] == [1, 2, 1]
    tuned = load_runs(database_of(config))[-1]
    assert tuned.state == "tuned"
    assert tuned.components[-1].name == "Tuner"
    trials = load_trials(database_of(config), tuned.run_id)
    assert len(trials) == 3
    assert [trial.mean_iou for trial in trials] == sorted((trial.mean_iou for trial in trials), reverse=True)
    table, _, best = finished.stdout.partition("The best values, for the configuration file:")
    assert sorted(trial.number for trial in trials) == [1, 2, 3]
    assert [line.split()[:2] for line in table.splitlines()[-4:-1]] == [
        [str(trial.number), f"{trial.mean_iou:.4f}"] for trial in trials
    ]
    values = trials[0].values
    assert yaml.safe_load(best) == {
        "train": {"learning_rate": values["train.learning_rate"], "loss": values["train.loss"]},
        "model": {"filters": values["model.filters"]},
    }

    result = run_locally(config, Console(quiet=True))
    assert result.state == "pushed"
    states = {component.name: component.state for component in result.components}
    assert (states["Tuner"], states["Trainer"]) == ("cached", "done")
    facts = read_facts(result.pushed_path)
    assert facts["train"]["learning_rate"] == pytest.approx(values["train.learning_rate"])
    assert facts["train"]["loss"] == values["train.loss"]
    assert facts["train"]["epochs"] == 3
    assert facts["model"]["filters"] == values["model.filters"]
    assert [listed.state for listed in load_runs(database_of(config))] == ["interrupted", "tuned", "pushed"]
