"""What MLflow's real server has of a run."""

import logging
import os
import pathlib
import socket
import subprocess
import time

import pytest
import tensorflow as tf

from data.base.errors import UserError
from pipeline.config import Config
from pipeline.config.loading import load_config
from pipeline.records.metadata import database_of
from pipeline.records.runs import load_runs
from pipeline.tracking import settings
from pipeline.tracking.mlflow_server import allowed_names
from pipeline.tracking.tracking import track
from tests.conftest import ROOT, unavailable
from tests.pipeline.records.recorded import Recorded

MLFLOW = ROOT / ".tools" / "mlflow" / "bin" / "mlflow"
KEY = "T0PSECRET"


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """MLflow's server, on SQLite."""
    if not MLFLOW.exists():
        unavailable("MLflow's server, which tools/mlflow.sh installs")
    folder, port = tmp_path_factory.mktemp("mlflow"), free_port()
    command = [MLFLOW, "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += [
        "--backend-store-uri",
        f"sqlite:///{folder}/mlflow.db",
        "--artifacts-destination",
        str(folder / "files"),
    ]
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    environment.pop("PYTHONPATH", None)
    with open(folder / "log", "w") as log:
        process = subprocess.Popen(command, env=environment, cwd=folder, stdout=log, stderr=log, start_new_session=True)
    while True:
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                break
        assert process.poll() is None, (folder / "log").read_text()
        time.sleep(0.1)
    yield f"http://127.0.0.1:{port}"
    os.killpg(process.pid, 15)
    process.wait()


@pytest.fixture
def make_config(tmp_path):
    (tmp_path / "webhook").write_text(KEY)

    def make(uri, **keys):
        values = {
            "name": "pets",
            "output": str(tmp_path / "output"),
            "data": {"input": "pets"},
            "train": {"folds": 2},
            "gate": {"min": {"iou": {"a+b": 0.1, "a?b": 0.2}}},
            "notify": {"webhook": {"file": str(tmp_path / "webhook")}},
            "track": {"mlflow": {"uri": uri, **keys}},
        }
        (tmp_path / "output").mkdir(exist_ok=True)
        return Config.model_validate(values)

    return make


def write_curves(folder):
    for fold, least in (("fold1", 0.2), ("fold2", 0.4)):
        for split in ("train", "validation"):
            with tf.summary.create_file_writer(str(folder / fold / split)).as_default():
                for epoch in range(3):
                    tf.summary.scalar("epoch_loss", least / (epoch + 1), step=epoch)


def found(uri, experiment="pets"):
    """The runs of an experiment, newest first."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    (known,) = [one for one in client.search_experiments() if one.name == experiment]
    return client, client.search_runs([known.experiment_id], order_by=["start_time DESC"])


@pytest.mark.other_tools
@pytest.mark.nightly  # The server alone takes 20 s to start.
def test_it_has_what_was_configured_measured_and_made(server, make_config, tmp_path):
    config = make_config(server)
    recorded, database = Recorded(config), database_of(config)
    write_curves(tmp_path / "curves")
    recorded("2026-11-02T03:00:00.500000", 0.71, 101, curves=str(tmp_path / "curves"))
    recorded("2026-11-09T03:00:00.500000", failure=f"Trainer: no {KEY}")
    for run in load_runs(database):
        track(config, database, run.run_id)
    client, (failed, pushed) = found(server)
    assert (pushed.info.status, failed.info.status) == ("FINISHED", "FAILED")
    assert pushed.info.run_name == "2026-11-02T03:00:00.500000"
    assert pushed.info.start_time < failed.info.start_time < pushed.info.end_time
    params = pushed.data.params
    assert (params["train.folds"], params["model.decoder"]) == ("2", config.model.decoder)
    assert (params["gate.min.iou.a_b"], params["gate.min.iou.a_b_2"]) == ("0.1", "0.2")
    assert not [key for key in params if key.startswith(("notify", "track", "kubeflow"))]
    assert pushed.data.metrics["test/mean_iou"] == 0.71
    assert pushed.data.metrics["test/mean_iou_lower"] == pytest.approx(0.68)
    for split in ("train", "eval"):
        history = client.get_metric_history(pushed.info.run_id, f"{split}/loss")
        assert [(point.step, round(point.value, 4)) for point in history] == [(1, 0.3), (2, 0.15), (3, 0.1)]
    tags = pushed.data.tags
    assert (tags["segpipe.state"], tags["segpipe.version"], tags["segpipe.pipeline"]) == ("pushed", "101", "pets")
    assert (tags["mlflow.source.git.commit"], tags["segpipe.code"]) == ("1a2b3c", "0123456789abcdef")
    assert failed.data.tags["mlflow.note.content"] == "Trainer: no ********"
    files = [item.path for item in client.list_artifacts(pushed.info.run_id)]
    assert files == ["configuration.yaml", "model", "report.html"]
    report = client.download_artifacts(pushed.info.run_id, "report.html", str(tmp_path))
    assert "report of 2026-11-02" in pathlib.Path(report).read_text()
    names = {pathlib.Path(item.path).name for item in client.list_artifacts(pushed.info.run_id, "model")}
    assert names == {"fingerprint.pb", "saved_model.pb", "variables"}


@pytest.mark.other_tools
@pytest.mark.nightly
def test_a_model_over_the_limit_stays_here_and_is_told(server, make_config, caplog):
    config = make_config(server, experiment="limited", model_megabytes=0.001)
    recorded = Recorded(config)
    recorded("2026-11-02T03:00:00.500000", 0.71, 101)
    with caplog.at_level(logging.WARNING):
        track(config, database_of(config), "2026-11-02T03:00:00.500000")
    client, (run,) = found(server, "limited")
    assert [item.path for item in client.list_artifacts(run.info.run_id)] == ["configuration.yaml", "report.html"]
    assert "is not uploaded to MLflow, which is more than track.mlflow.model_megabytes: 0.001" in caplog.text


def test_a_server_that_is_down_is_a_warning_at_once(make_config, caplog):
    uri = f"http://127.0.0.1:{free_port()}"
    config = make_config(uri)
    recorded = Recorded(config)
    recorded("2026-11-02T03:00:00.500000", 0.71, 101)
    with caplog.at_level(logging.WARNING):
        track(config, database_of(config), "2026-11-02T03:00:00.500000")
    # By MLflow's own settings, it is seven times, ever longer apart: minutes.
    assert len([record for record in caplog.records if record.message.startswith("Retrying")]) == 1
    (message,) = [record.message for record in caplog.records if record.name == "segpipe.track"]
    assert message.startswith(f"the run is not, or not all, in MLflow at {uri}: MlflowException: ")
    assert "\n" not in message


def test_without_a_tracker_none_is_loaded(make_config):
    config = make_config("http://127.0.0.1:1").model_copy(update={"track": settings.TrackSettings()})
    track(config, database_of(config), "there is no such run")


def test_names_are_as_mlflow_takes_them_and_none_is_lost():
    from mlflow.utils.validation import _validate_metric_name

    values = [
        ("iou_a/b", 1),
        ("iou_a?b", 2),
        ("iou_ä ö", 3),
        ("iou_" + "x" * 300, 4),
        ("iou_" + "x" * 299, 5),
    ]
    allowed = allowed_names(values)
    assert [value for _, value in allowed] == [1, 2, 3, 4, 5]
    assert [name for name, _ in allowed[:3]] == ["iou_a_b", "iou_a_b_2", "iou_ä ö"]
    for name, _ in allowed:
        _validate_metric_name(f"test/{name}")


def test_a_password_in_the_configuration_is_refused(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("name: pets\noutput: o\ndata: {input: i}\ntrack: {mlflow: {uri: 'http://me:T0PSECRET@host'}}\n")
    with pytest.raises(
        UserError, match=r"run.yaml is not valid:\n  track.mlflow: uri must not hold .* MLFLOW_TRACKING_PASS"
    ) as caught:
        load_config(path)
    assert KEY not in str(caught.value)


def test_a_missing_package_is_told_before_anything_runs(make_config, monkeypatch):
    monkeypatch.setattr(settings.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'segpipe\[mlflow\]'"):
        make_config("http://127.0.0.1:1").track.require_packages()
