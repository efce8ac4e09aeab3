import json
import threading

import pytest

from data.base.errors import UserError
from data.base.packages import package_versions
from models.training import multi_worker

CONFIG = {"preprocessing": {}, "model": {"encoder": "plain"}, "train": {}, "label_map": []}


@pytest.mark.parametrize(
    ("job", "message"),
    [
        (
            {"packages": {**package_versions(), "tensorflow": "1.15.0"}},
            r"worker 0 has tensorflow 1\.15\.0, here .*; all workers need the same",
        ),
        (
            {"packages": package_versions(), "weights": "ImageNet's weights (a)", "custom_config": CONFIG},
            r"worker 0 starts from ImageNet's weights \(a\), this one from random weights; install the same",
        ),
    ],
    ids=["packages", "weights"],
)
def test_a_worker_with_other_packages_or_weights_does_not_join(job, message, tmp_path, monkeypatch):
    cluster = {"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "worker", "index": 1}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(cluster))
    monkeypatch.setattr(multi_worker, "_BEAT_SECONDS", 0.01)
    ended = threading.Event()

    def beat():
        number = 0
        while not ended.wait(0.001):
            number += 1
            (tmp_path / "new").write_text(json.dumps({"beat": number, "job": job}))
            (tmp_path / "new").rename(tmp_path / "multi_worker.json")

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        with pytest.raises(UserError, match=message):
            multi_worker.join(str(tmp_path))
    finally:
        ended.set()
        thread.join()
