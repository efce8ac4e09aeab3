import json
import threading

import pytest

from data.base.errors import UserError
from data.base.packages import package_versions
from models.training import multi_worker


def test_a_worker_with_other_packages_does_not_join(tmp_path, monkeypatch):
    cluster = {"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "worker", "index": 1}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(cluster))
    monkeypatch.setattr(multi_worker, "_BEAT_SECONDS", 0.01)
    packages = {**package_versions(), "tensorflow": "1.15.0"}
    ended = threading.Event()

    def beat():
        number = 0
        while not ended.wait(0.001):
            number += 1
            (tmp_path / "new").write_text(json.dumps({"beat": number, "job": {"packages": packages}}))
            (tmp_path / "new").rename(tmp_path / "multi_worker.json")

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        with pytest.raises(UserError, match=r"worker 0 has tensorflow 1\.15\.0, here .*; all workers need the same"):
            multi_worker.join(str(tmp_path))
    finally:
        ended.set()
        thread.join()
