import re

import pytest

from components.serving_check import judge, serve_in_fresh_process


@pytest.mark.parametrize(
    ("measured", "reason"),
    [
        ({"latency_seconds": 0.5, "memory_megabytes": 900}, ""),
        ({"latency_seconds": 2.5, "memory_megabytes": 900}, "serving.max_latency_seconds is 1, measured 2.5"),
        ({"latency_seconds": 0.5, "memory_megabytes": 2000}, "serving.max_memory_megabytes is 1000, measured 2000"),
        ({"error": "exit status 1: no"}, "the model does not serve: exit status 1: no"),
    ],
)
def test_limits(measured, reason):
    assert judge(measured, max_latency_seconds=1.0, max_memory_megabytes=1000) == reason


def test_a_folder_without_model_does_not_serve(tmp_path):
    measured = serve_in_fresh_process(str(tmp_path), str(tmp_path))
    assert "segpipe.json is missing" in measured["error"]


def test_a_model_that_the_evaluator_saw_otherwise_is_found_out(tmp_path, push, brain_mri):
    examples = tmp_path / "examples"
    examples.mkdir()
    (records,) = brain_mri.glob("eval-*")
    (examples / records.name).symlink_to(records)
    push(tmp_path / "serving", 1, 1)
    measured = serve_in_fresh_process(str(tmp_path / "serving" / "1"), str(examples))
    assert judge(measured, max_latency_seconds=60, max_memory_megabytes=10_000) == ""
    assert measured["memory_megabytes"] > 100
    push(tmp_path / "serving", 2, 1, evaluated_as=lambda images: 255 - images)
    error = serve_in_fresh_process(str(tmp_path / "serving" / "2"), str(examples))["error"]
    assert re.fullmatch(r"of the same image clients get \[\d+, \d+, 0\] pixels by class, the evaluator \[.*\]", error)


def test_a_model_that_does_not_load_is_no_model_to_push(tmp_path, push, brain_mri):
    push(tmp_path / "serving", 1, 1)
    (tmp_path / "serving" / "1" / "saved_model.pb").write_bytes(b"no model")
    examples = str(next(brain_mri.glob("eval-*")).parent)
    measured = serve_in_fresh_process(str(tmp_path / "serving" / "1"), examples)
    assert measured["error"].startswith("exit status 1: ")
