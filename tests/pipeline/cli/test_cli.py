import pathlib
import subprocess
import sys

import pytest

pytestmark = pytest.mark.one_line
ROOT = pathlib.Path(__file__).parents[3]


def test_help_loads_nothing_heavy(segpipe):
    finished = segpipe("--help")
    assert finished.returncode == 0
    assert all(command in finished.stdout for command in ("convert", "run", "tune", "runs", "predict", "compile"))
    script = "import sys, pipeline.cli; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert "click" in modules.stdout.split()
    assert not {"tensorflow", "tfx", "apache_beam", "numpy", "pydantic", "rich", "keras_tuner"} & set(
        modules.stdout.split()
    )


def test_records_are_read_and_shown_without_the_formats_of_data_sets():
    names = ("runs", "lineage", "comparison", "pages.overview")
    script = f"import sys, {', '.join(f'pipeline.records.{name}' for name in names)}; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert not {"data.formats", "tensorflow", "tfx", "apache_beam"} & set(modules.stdout.split())


COMMANDS = [
    "inspect", "convert", "run", "tune", "retrain", "runs", "open", "history", "rollback", "lineage", "clean",
    "predict", "serve", "compile", "submit", "schedule",
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(segpipe, command):
    finished = segpipe(command, "--help")
    assert finished.returncode == 0
    assert len(finished.stdout.splitlines()) > 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run"], "Usage"),
        (["run", "--config", "nowhere.yaml"], "cannot read the configuration nowhere.yaml"),
        (["run", "--confg", "x"], "No such option"),
        (["run", "--config", "configs/brain_mri.yaml", "--set", "data.input=nowhere"], "nowhere is not a folder"),
        (["tune", "--config", "configs/brain_mri.yaml"], "has no section tune"),
        (["runs", "--config", "configs/brain_mri.yaml", "--set", "output=nowhere"], "no run yet"),
        (
            ["open", "--config", "configs/brain_mri.yaml", "--set", "output=nowhere"],
            "there is no overview nowhere/index.html, as there is no run yet",
        ),
        (["convert", "--format", "oxford-pets", "only_one"], "Missing argument 'DEST'"),
        (["convert", "--format", "mask-folder", "--classes", "x", "a", "b"], "two classes"),
        (["convert", "--format", "mask-folder", "--intensity-range", "0,9", "a", "b"], "images keep their values, so"),
        (["predict", "--model", "nowhere", "--output", "x", "a.jpg"], "nowhere is not a folder"),
    ],
)
def test_mistakes_end_with_one_message_and_exit_code_1(segpipe, arguments, message):
    finished = segpipe(*arguments)
    assert "Traceback" not in finished.stderr
    assert message in finished.stderr + finished.stdout
    assert finished.returncode == 1


def test_an_output_folder_elsewhere_is_refused_before_tfx_is_loaded(segpipe):
    finished = segpipe("run", "--config", "configs/brain_mri.yaml", "--set", "output=gs://bucket/runs")
    assert finished.returncode == 1
    assert "output: gs://bucket/runs must be a folder on this machine" in finished.stderr
    assert "Loading" not in finished.stderr
