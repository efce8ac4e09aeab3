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
