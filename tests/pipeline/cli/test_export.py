"""`segpipe export`: what it makes, and what it says to what it cannot use."""

import pytest
from click.testing import CliRunner

from models.exports.network import Network
from pipeline.cli import cli
from tests.models.exports import small


@pytest.fixture
def export(tmp_path, monkeypatch):
    """The command in this process: exit code and what it prints, its error included."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        result = CliRunner().invoke(cli, ["export", *map(str, arguments)], terminal_width=200)
        return result.exit_code, result.output + str(result.exception or "")

    return run


@pytest.fixture(scope="session")
def model(once_for_all):
    """A version at a push destination."""
    return once_for_all("to_export", lambda folder: (folder.mkdir(), small.make_model(folder / "1")))


def test_forms_are_made_measured_and_written_whole(export, model, tmp_path):
    small.write_records(tmp_path / "data")
    arguments = ("--model", model, "--to", "tflite_int8", "--to", "onnx", "--data", tmp_path / "data")
    code, printed = export(*arguments, "--output", "out")
    assert code == 0, printed
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "config.pbtxt",
        "exports.json",
        "model.onnx",
        "model_int8.tflite",
    ]
    table = {line.split()[0]: line.split()[1:] for line in printed.splitlines() if line.startswith(" ")}
    assert table["onnx"][1:3] == [table["saved_model"][0], "100.00%"]
    assert float(table["tflite_int8"][2].rstrip("%")) > 90
    code, printed = export(*arguments, "--output", "out")
    assert (code, "--output out exists" in printed) == (1, True)
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".segpipe")]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "say which forms with --to"),
        (("--to", "onnx"), "where they go with --output"),
        (("--to", "tflite_int8", "--output", "out"), "takes training images"),
        (("--to", "onnx", "--output", "out", "--data", "nowhere"), "nowhere is not a folder"),
        (("--check", "--to", "onnx"), "--check makes nothing"),
        (("--check",), "holds no exports"),
        (("--to", "coreml"), "'coreml' is not one of"),
    ],
)
def test_what_is_wrong_is_said(export, model, arguments, message):
    code, printed = export("--model", model, *arguments)
    assert (code != 0, message in printed) == (True, True), printed


def test_a_form_that_loses_too_much_is_not_written(export, model, tmp_path):
    """With the SavedModel's own classes for labels, nothing can be as good as it."""
    small.write_records(tmp_path / "data", relabel=Network(str(model / "1")))
    arguments = ("--model", model, "--to", "tflite_int8", "--data", tmp_path / "data", "--output", "other")
    code, printed = export(*arguments, "--max-loss", "0")
    assert code == 1
    assert "below the SavedModel's 1.0000; export.max_loss_int8 is 0; nothing was written" in printed
    assert not (tmp_path / "other").exists()
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".segpipe")]


def test_a_folder_without_a_model_is_named(export, tmp_path):
    assert "nowhere is not a folder" in export("--model", "nowhere", "--check")[1]
    assert "holds no model" in export("--model", tmp_path, "--check")[1]
