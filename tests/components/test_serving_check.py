import dataclasses
import json
import re

import pytest
from tfx.types import artifact_utils, standard_artifacts

from components.serving_check import EXPORTS_PROPERTY, Executor, refusal, serve_in_fresh_process
from models.exports.exports import FOLDER, SAVED_MODEL, MeasuredExport


@pytest.mark.parametrize(
    ("measured", "reason"),
    [
        ({"latency_seconds": 0.5, "memory_megabytes": 900}, ""),
        ({"latency_seconds": 2.5, "memory_megabytes": 900}, "serving.max_latency_seconds is 1, measured 2.5"),
        ({"latency_seconds": 0.5, "memory_megabytes": 2000}, "serving.max_memory_megabytes is 1000, measured 2000"),
        ({"error": "the model does not serve: exit status 1: no"}, "the model does not serve: exit status 1: no"),
    ],
)
def test_limits(measured, reason):
    assert refusal(measured, max_latency_seconds=1.0, max_memory_megabytes=1000) == reason


@pytest.fixture
def examples(tmp_path, brain_mri):
    """The eval split, whose first file is empty, as Beam leaves it when a split has fewer images than files."""
    folder = tmp_path / "examples"
    folder.mkdir()
    (records,) = brain_mri.glob("eval-*")
    (folder / "eval-00001-of-00002").symlink_to(records)
    (folder / "eval-00000-of-00002").touch()
    return folder


def test_a_folder_without_model_does_not_serve(tmp_path, examples):
    measured = serve_in_fresh_process(str(tmp_path), str(examples))
    assert "segpipe.json is missing" in measured["error"]


def test_an_export_that_loses_too_much_is_a_reason_too(tmp_path, examples):
    folder = tmp_path / "model" / "Format-Serving"
    (folder / FOLDER).mkdir(parents=True)
    measured = {SAVED_MODEL: MeasuredExport(0.8, 1.0, 5.0), "tflite_int8": MeasuredExport(0.7, 0.9, 2.0)}
    content = {name: dataclasses.asdict(item) for name, item in measured.items()}
    (folder / FOLDER / "exports.json").write_text(json.dumps(content))
    model, data, blessing = (
        standard_artifacts.Model(),
        standard_artifacts.Examples(),
        standard_artifacts.InfraBlessing(),
    )
    model.uri, data.uri, blessing.uri = (str(tmp_path / name) for name in ("model", "data", "blessing"))
    data.split_names = artifact_utils.encode_split_names(["eval"])
    (tmp_path / "data").mkdir()
    examples.rename(tmp_path / "data" / "Split-eval")
    properties = {
        "max_latency_seconds": 5.0,
        "max_memory_megabytes": 4096,
        "max_export_losses": '{"tflite_int8": 0.03, "onnx": 0.01}',
    }
    Executor().Do({"model": [model], "examples": [data]}, {"blessing": [blessing]}, properties)
    assert (tmp_path / "blessing" / "INFRA_NOT_BLESSED").read_text() == (
        "the model does not serve: assets.extra/segpipe.json is missing; the export tflite_int8 has a mean IoU of "
        "0.7000, 0.1000 below the SavedModel's 0.8000; export.max_loss_int8 is 0.03; the export onnx is missing"
    )
    assert json.loads(blessing.get_string_custom_property(EXPORTS_PROPERTY)) == content


def test_without_images_nothing_can_be_said(tmp_path, examples):
    (examples / "eval-00001-of-00002").unlink()
    measured = serve_in_fresh_process(str(tmp_path), str(examples))
    assert measured["error"] == f"the model cannot be tried, because there are no images in {examples}"


def test_clients_must_get_what_the_evaluator_measured(tmp_path, push, examples):
    push(tmp_path / "serving", 1, 1)
    measured = serve_in_fresh_process(str(tmp_path / "serving" / "1"), str(examples))
    assert refusal(measured, max_latency_seconds=60, max_memory_megabytes=10_000) == ""
    assert measured["memory_megabytes"] > 100
    push(tmp_path / "serving", 2, 1, evaluated_as=lambda images: 255 - images)
    error = serve_in_fresh_process(str(tmp_path / "serving" / "2"), str(examples))["error"]
    assert re.search(r"clients get \[\d+, \d+, 0\] pixels by class, the evaluator \[.*\], from one image$", error)


def test_a_model_that_does_not_load_is_not_pushed(tmp_path, push, examples):
    push(tmp_path / "serving", 1, 1)
    (tmp_path / "serving" / "1" / "saved_model.pb").write_bytes(b"no model")
    measured = serve_in_fresh_process(str(tmp_path / "serving" / "1"), str(examples))
    assert measured["error"].startswith("the model does not serve: exit status 1: ")
