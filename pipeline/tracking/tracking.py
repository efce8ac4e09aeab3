"""Tells trackers about a run that ended."""

from __future__ import annotations

import logging

from data.base.errors import readable
from pipeline.config import Config
from pipeline.records.metadata import Database
from pipeline.records.runs import load_run

_LOG = logging.getLogger("segpipe.track")


def track(config: Config, database: Database, run_id: str) -> None:
    """Tells the trackers that the configuration names about a run, however it ended.

    A run must not fail because of them: what goes wrong is a warning.
    """
    settings = config.track.mlflow
    if settings is None:
        return
    try:
        from pipeline.tracking.mlflow_server import log_run

        log_run(config, settings, load_run(database, run_id))
    except Exception as error:
        (reason, *_) = config.without_secrets(readable(str(error))).splitlines() or [""]
        _LOG.warning("the run is not, or not all, in MLflow at %s: %s: %s", settings.uri, type(error).__name__, reason)
