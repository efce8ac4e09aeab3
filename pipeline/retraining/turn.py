"""One turn of a schedule: is there anything new, has it drifted; then train, gate, push and tell."""

from __future__ import annotations

import dataclasses
import glob
import logging
import os
from collections.abc import Callable
from typing import Any, Literal

from rich.console import Console

from data.base.errors import UserError
from data.base.files import find, find_folders
from data.contract import SPLITS
from pipeline.config import Config
from pipeline.records.metadata import database_of
from pipeline.records.runs import NoRunError, Run, cause_of, load_runs
from pipeline.retraining.notifications import notify

# States of runs that came to an end with an answer.
_ENDED = ("pushed", "refused", "unchanged")


@dataclasses.dataclass(frozen=True)
class Turn:
    """What a turn came to.

    Attributes:
      outcome: `nothing new` and `no drift` mean that nothing was trained.
      run: of this turn; where nothing is new, the last one that ended; None if there is none.
      drift: distances of the newest data from what the deployed model was trained on; None if there is no such model.
      problems: of the notification.
    """

    outcome: Literal["nothing new", "no drift", "ran"]
    run: Run | None
    drift: dict[str, float] | None
    problems: list[str]


def retrain(config: Config, console: Console, say: Callable[[str], None]) -> Turn:
    """Takes one turn.

    Args:
      config: of the runs.
      console: for the live view of the run.
      say: takes lines about what is going on.

    Raises:
      UserError: if the turn failed; this was notified.
    """
    last: Run | None = None
    drift: dict[str, float] | None = None
    try:
        last = last_ended(config)
        if config.retrain.trigger != "always" and last and last.cause == cause_of(config) and _is_served(config, last):
            return Turn("nothing new", last, None, [])
        say("Loading TFX …")
        try:
            drift = measure_drift(config)
        except Exception as error:
            # Most likely the data is broken; the run says where, in its own words.
            say(f"The drift of the newest data cannot be measured ({type(error).__name__}).")
        if config.retrain.trigger == "drift" and drift and max(drift.values()) <= config.retrain.max_drift:
            return Turn("no drift", last, drift, [])
        from pipeline.runners.local import RunFailedError, run_locally

        try:
            run = run_locally(config, console)
        except RunFailedError as error:
            raise UserError(str(error)) from error
    except Exception as error:
        reasons = (str(error) or type(error).__name__).splitlines()
        failed = {"pipeline": config.name, "state": "failed", "reasons": reasons, "drift": drift}
        for problem in notify(config.notify, failed):
            say(f"Not told: {problem}")
        raise
    return Turn("ran", run, drift, notify(config.notify, summary(run, drift)))


def last_ended(config: Config) -> Run | None:
    """The newest run in the output folder that ended with an answer."""
    database = database_of(config)
    if not database.exists:
        return None
    try:
        runs = load_runs(database, config.name)
    except NoRunError:
        return None
    ended = [run for run in runs if run.output == os.path.abspath(config.output) and run.state in _ENDED]
    return ended[-1] if ended else None


def _is_served(config: Config, run: Run) -> bool:
    """Whether there is a model at the push destination; a run that was refused is no reason for one."""
    folders = find_folders(os.path.join(glob.escape(config.push_destination), "*"))
    return run.state == "refused" or any(os.path.basename(folder).isdigit() for folder in folders)


def measure_drift(config: Config) -> dict[str, float] | None:
    """Distances of the newest data from what the deployed model was trained on; None without such a model.

    Raises:
      Exception: of Beam's or the data gate's, if the newest data is broken.
    """
    from components.drift import measure
    from models.serving.signatures import read_facts
    from models.serving.versions import deployed_version, version_path
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
    patterns = [os.path.join(glob.escape(newest), f"{split}*") for split in SPLITS]
    patterns = [pattern for pattern in patterns if find(pattern)]
    statistics = statistics_of(config, deployed)
    logging.disable(logging.WARNING)  # Beam and TFDV have much to say that is not for users.
    try:
        return measure(patterns, label_map, trained_on, statistics, config.retrain.max_drift)
    finally:
        logging.disable(logging.NOTSET)


def summary(run: Run, drift: dict[str, float] | None) -> dict[str, Any]:
    """A run for programs: what came of it, without its configuration."""
    values = dataclasses.asdict(run)
    return {**{key: value for key, value in values.items() if key != "configuration"}, "drift": drift}
