"""What a schedule starts: looks for a reason to train, then trains, gates, pushes and notifies."""

from __future__ import annotations

import contextlib
import dataclasses
import glob
import logging
from collections.abc import Callable
from typing import Any, Literal

from rich.console import Console

from data.base.errors import UserError
from data.base.files import find, join
from data.base.links import plain_path
from data.input_files import find_input_files
from models.serving.versions import is_model, numbers, version_path
from pipeline.config import Config
from pipeline.records.pages.overview import write_overview
from pipeline.records.recording import inputs_digest
from pipeline.records.runs import DECIDED, Run, own_runs
from pipeline.retraining.notifications import notify


@dataclasses.dataclass(frozen=True)
class Result:
    """What one `segpipe retrain` did.

    Attributes:
      outcome: after `nothing new` and `no drift`, nothing was trained.
      run: the new run; where nothing is new, the last run that ended; None if there is none.
      drift: distances of the newest data from what the deployed model was trained on; None if there is no such model.
      problems: what went wrong with the notification.
    """

    outcome: Literal["nothing new", "no drift", "ran"]
    run: Run | None
    drift: dict[str, float] | None
    problems: list[str]


def retrain(config: Config, console: Console, log: Callable[[str], None]) -> Result:
    """Runs the pipeline if there is a reason to.

    Args:
      config: the run's configuration.
      console: where the live view of the run goes.
      log: takes lines about the progress.

    Raises:
      UserError: if the run failed; whoever wants to know was notified.
    """
    drift: dict[str, float] | None = None
    before: list[Run] = []
    try:
        before = own_runs(config)
        last = last_decisive(before)
        failed_late = last is not None and last.state not in DECIDED  # It pushed, but has no report.
        if config.retrain.trigger != "always" and last and not failed_late and _is_settled(config, last):
            write_overview(config)
            return Result("nothing new", last, None, [])
        log("Loading TFX …")
        try:
            drift = measure_drift(config)
        except Exception as error:
            # The data is probably broken; the run will say where, and in better words.
            log(f"The drift of the newest data cannot be measured ({type(error).__name__}).")
        if config.retrain.trigger == "drift" and not failed_late and drift:
            has_drifted = max(drift.values()) > config.retrain.max_drift
            if not (has_drifted or served_traffic_has_changed(config, log)):
                write_overview(config)
                return Result("no drift", last, drift, [])
        from pipeline.runners.local import RunFailedError, run_locally

        for notice in config.data.notices():
            log(notice)
        try:
            run = run_locally(config, console)
        except RunFailedError as error:
            raise UserError(str(error)) from error
    except Exception as error:
        reasons = (str(error) or type(error).__name__).splitlines()
        failed = {**_begun(config, before), "pipeline": config.name, "state": "failed", "drift": drift}
        for problem in notify(config.notify, {**failed, "reasons": reasons}):
            log(f"Notification failed: {problem}")
        raise
    return Result("ran", run, drift, notify(config.notify, summary(config, run, drift)))


def served_traffic_has_changed(config: Config, log: Callable[[str], None]) -> bool:
    """Whether `segpipe monitor` alerts, where it is configured; writes and tells what it does."""
    if not config.monitor.kept:
        return False
    from pipeline.monitoring.monitor import watch
    from pipeline.monitoring.reporting import report

    try:
        found = watch(config, config.monitor.kept, log)
        for problem in report(config, found):
            log(f"Notification failed: {problem}")
    except Exception as error:  # The watching must not keep anybody from training.
        log(f"Served traffic cannot be compared: {str(error) or type(error).__name__}")
        return False
    if found.is_alert:
        log("Served traffic has changed; see `segpipe monitor`.")
    return found.is_alert


def last_decisive(runs: list[Run]) -> Run | None:
    """The newest run that pushed a model, whatever failed after, or that ended without a failure."""
    return next((run for run in reversed(runs) if run.has_pushed or run.state in DECIDED), None)


def _begun(config: Config, before: list[Run]) -> dict[str, Any]:
    """The summary of the run that has begun since, if any."""
    with contextlib.suppress(Exception):  # The metadata may be what failed; that is in the notification.
        runs = own_runs(config)
        if len(runs) > len(before):
            return summary(config, runs[-1], None)
    return {}


def _is_settled(config: Config, run: Run) -> bool:
    """Whether another run would come to the same as this one, and the push destination has what it should have."""
    if run.inputs_digest != inputs_digest(config):
        return False
    destination = config.push_destination
    return run.state == "refused" or any(is_model(version_path(destination, number)) for number in numbers(destination))


def measure_drift(config: Config) -> dict[str, float] | None:
    """Distances of the newest data from what the deployed model was trained on; None without such a model.

    Raises:
      Exception: Beam's or the data gate's, if the newest data is broken.
    """
    from components.drift import measure
    from models.serving.signatures import read_facts
    from models.serving.versions import deployed_version
    from pipeline.records.lineage import statistics_of

    newest = config.data.newest_input()
    label_map = config.load_label_map()
    deployed = deployed_version(config.push_destination)
    if deployed is None:
        return None
    facts = read_facts(version_path(config.push_destination, deployed)) or {}
    trained_on = facts.get("statistics", {}).get("splits", {}).get("train")
    if not trained_on:
        return None
    statistics = statistics_of(config, deployed)
    logging.disable(logging.WARNING)  # Beam and TFDV log much that is of no use to users.
    try:
        with plain_path(newest) as folder:
            return measure(_patterns(folder), label_map, trained_on, statistics, config.retrain.max_drift)
    finally:
        logging.disable(logging.NOTSET)


def _patterns(folder: str) -> list[str]:
    """Patterns of the TFRecords of all splits: few, as Beam makes steps of its own for each."""
    patterns = []
    for split, files in find_input_files(folder).of_split.items():
        pattern = join(folder, f"{split}*")
        paths = [file.path for file in files]
        if paths and paths == [file.path for file in find(pattern)]:
            patterns.append(pattern)
        else:
            patterns += [glob.escape(path) for path in paths]
    return patterns


def summary(config: Config, run: Run, drift: dict[str, float] | None) -> dict[str, Any]:
    """A run for programs: everything that is known about it, without its configuration, and what is deployed now."""
    from models.serving.versions import deployed_version

    values = {key: value for key, value in dataclasses.asdict(run).items() if key != "configuration"}
    return {**values, "drift": drift, "deployed_version": deployed_version(config.push_destination)}
