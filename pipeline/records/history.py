"""The versions at the push destination, with the runs that they came from."""

from __future__ import annotations

import dataclasses
import os
from typing import Any, Literal

from data.base.errors import UserError
from models.serving.versions import rollbacks, rolled_back, servable_versions
from pipeline.config import Config
from pipeline.records.metadata import database_of
from pipeline.records.runs import Run, load_runs

VersionState = Literal["deployed", "older", "rolled back", "removed"]


@dataclasses.dataclass(frozen=True)
class Version:
    """A version that is, or was, at the push destination.

    Attributes:
      version: its number.
      state: `removed` means that its folder is gone.
      run_id: of the run that pushed it, or None if the metadata knows of none.
      mean_iou: on the test split.
      replaced: the version that was deployed when the gate decided, or None.
      data: folders of the examples that it was trained on.
      rollbacks: when it was rolled back: `time`, `from`, `to`, `by`.
    """

    version: int
    state: VersionState
    run_id: str | None
    mean_iou: float | None
    replaced: int | None
    data: list[str]
    rollbacks: list[dict[str, Any]]


def load_history(config: Config) -> list[Version]:
    """All versions, oldest first.

    Raises:
      UserError: if nothing was pushed yet, or the metadata cannot be read.
    """
    destination = config.push_destination
    database = database_of(config)
    by_version = pushed_runs(load_runs(database), destination) if database.exists else {}
    present, aside, events = list(servable_versions(destination)), rolled_back(destination), rollbacks(destination)
    numbers = sorted({*by_version, *present, *aside})
    if not numbers:
        raise UserError(f"no version was pushed to {destination} yet")
    found = []
    for number in numbers:
        run = by_version.get(number)
        state: VersionState = "deployed" if present and number == present[-1] else "older"
        if number not in present:
            state = "rolled back" if number in aside else "removed"
        found.append(
            Version(
                version=number,
                state=state,
                run_id=run.run_id if run else None,
                mean_iou=run.mean_iou if run else None,
                replaced=(run.baseline_version or None) if run else None,
                data=run.inputs.get("train", []) if run else [],
                rollbacks=[event for event in events if event["to"] < number <= event["from"]],
            )
        )
    return found


def pushed_runs(runs: list[Run], destination: str) -> dict[int, Run]:
    """The runs that pushed to a destination, by version."""
    return {
        run.pushed_version: run
        for run in runs
        if run.state == "pushed" and run.pushed_version and os.path.dirname(str(run.pushed_path)) == destination
    }
