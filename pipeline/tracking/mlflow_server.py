"""A run in MLflow: what was configured, what was measured, and what was made."""

from __future__ import annotations

import contextlib
import datetime
import logging
import os
import re
import time
from collections.abc import Iterable
from typing import Any

from data.base.files import exists, is_folder, is_remote
from models.ensemble.folds import member_names
from pipeline.config import Config
from pipeline.records.comparison import flat
from pipeline.records.runs import WITHOUT_EFFECT, Run
from pipeline.tracking.settings import MlflowSettings

_LOG = logging.getLogger("segpipe.track")
# For those of MLflow's settings that nobody has set: its own wait minutes for a server that is down, and tell MLflow's
# makers about its use.
_DEFAULTS = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
# MLflow's limit is 250; what was measured also gets the name of its split.
_LONGEST_NAME = 240


def log_run(config: Config, settings: MlflowSettings, run: Run) -> str:
    """Makes a run in MLflow.

    Args:
      config: of the pipeline.
      settings: which server, and what it gets.
      run: that ended.

    Returns:
      MLflow's id of the run.

    Raises:
      Exception: MLflow's, if the server cannot be reached or refuses.
    """
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient
    from mlflow.entities import Param, RunStatus, RunTag

    client = MlflowClient(tracking_uri=settings.uri)
    name = settings.experiment or config.name
    experiment = client.get_experiment_by_name(name)
    experiment_id = experiment.experiment_id if experiment else client.create_experiment(name)
    started = round(datetime.datetime.fromisoformat(run.run_id).timestamp() * 1000)
    run_id = client.create_run(experiment_id, started, run_name=run.run_id).info.run_id
    status = RunStatus.FAILED
    try:
        configuration = {key: value for key, value in run.configuration.items() if key not in WITHOUT_EFFECT}
        client.log_batch(
            run_id,
            metrics=_metrics(run),
            params=[Param(key, value) for key, value in allowed_names(flat(configuration).items())],
            tags=[RunTag(key, value) for key, value in _tags(config, run).items() if value],
        )
        client.log_dict(run_id, configuration, "configuration.yaml")
        if run.report and not is_remote(run.report) and exists(run.report):
            client.log_artifact(run_id, run.report)
        if (model := _model(settings, run)) is not None:
            client.log_artifacts(run_id, model, "model")
        status = RunStatus.FAILED if run.state == "failed" else RunStatus.FINISHED
    finally:
        # If it is the server that fails, the first error is the one to tell of.
        with contextlib.suppress(Exception):
            client.set_terminated(run_id, RunStatus.to_string(status))
    return run_id


def allowed_names(values: Iterable[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """The values under names that MLflow takes: names of classes may hold any letters, and be of any length.

    Of names that would be the same then, the later ones get a number.
    """
    found: dict[str, Any] = {}
    for key, value in values:
        name = re.sub(r"[^\w .:-]", "_", key)[:_LONGEST_NAME]
        number = 1
        while name in found:
            number += 1
            end = f"_{number}"
            name = re.sub(r"[^\w .:-]", "_", key)[: _LONGEST_NAME - len(end)] + end
        found[name] = value
    return list(found.items())


def _metrics(run: Run) -> list[Any]:
    """The evaluation, and the curves by epoch, counted from 1, or by evaluation where a time limits the training."""
    from mlflow.entities import Metric

    now = round(time.time() * 1000)
    measured = {key: value for key, value in run.metrics.items() if value is not None}
    metrics = [Metric(f"test/{key}", value, now, 0) for key, value in allowed_names(measured.items())]
    folder = run.folders.get("model_run")
    if folder and is_folder(folder):
        # TFX takes seconds to load; the run that ended has loaded it.
        from components.report.content import read_curves

        members = member_names(run.configuration["train"]["folds"])
        for split, curves in read_curves([os.path.join(folder, member) for member in members]).items():
            split = {"validation": "eval"}.get(split, split)
            for key, points in allowed_names(curves.items()):
                metrics += [Metric(f"{split}/{key}", value, now, epoch + 1) for epoch, value in points]
    return metrics


def _tags(config: Config, run: Run) -> dict[str, str]:
    from mlflow.utils.mlflow_tags import MLFLOW_GIT_COMMIT, MLFLOW_RUN_NOTE

    *commit, digest = run.code.split() or [""]
    return {
        MLFLOW_GIT_COMMIT: " ".join(commit),
        MLFLOW_RUN_NOTE: "\n".join(map(config.without_secrets, run.reasons)),
        "segpipe.code": digest,
        "segpipe.pipeline": run.pipeline,
        "segpipe.state": run.state,
        "segpipe.version": "" if run.pushed_version is None else str(run.pushed_version),
        "segpipe.host": run.host,
    }


def _model(settings: MlflowSettings, run: Run) -> str | None:
    """The folder of the model that a run pushed, if it is to be uploaded."""
    path = run.pushed_path
    if not run.has_pushed or not settings.model_megabytes or path is None or is_remote(path) or not is_folder(path):
        return None
    size = sum(os.path.getsize(os.path.join(root, name)) for root, _, names in os.walk(path) for name in names)
    if size > settings.model_megabytes * 1e6:
        _LOG.warning(
            "the model of %.0f MB is not uploaded to MLflow, which is more than track.mlflow.model_megabytes: %g",
            size / 1e6,
            settings.model_megabytes,
        )
        return None
    return path
