"""Runs and schedules, as a Kubeflow Pipelines server describes them."""

from __future__ import annotations

import dataclasses
import datetime
from typing import Any

from pipeline.runners.kubeflow.compiler import VERDICT

_OVER = {"SUCCEEDED", "FAILED", "CANCELED", "SKIPPED"}


@dataclasses.dataclass(frozen=True)
class ServerRun:
    """A run on a server.

    Attributes:
      run_id: the server's ID.
      name: the name that people see.
      state: `running`, `pushed`, `refused`, `failed`, `canceled`, or another of the server's final states.
      created: the time of its creation.
      seconds: from its creation to its end; None while it runs.
      reason: why it failed.
      steps: the state of each step, by name.
    """

    run_id: str
    name: str
    state: str
    created: datetime.datetime | None
    seconds: float | None
    reason: str
    steps: dict[str, str]

    @classmethod
    def from_api(cls, run: Any) -> ServerRun:
        """What the API says of a run."""
        details = run.run_details.task_details if run.run_details and run.run_details.task_details else []
        names = {task.display_name: task for task in details if _is_step(task.display_name)}
        steps = {name: str(task.state or "PENDING").lower() for name, task in names.items()}
        over = run.state in _OVER
        state = {"SUCCEEDED": "pushed", "FAILED": "failed"}.get(
            run.state, str(run.state).lower() if over else "running"
        )
        # That the model was refused, the last step says by failing; all others went well.
        failed = [name for name, step in steps.items() if step == "failed"]
        if failed == [VERDICT]:
            state = "refused"
        messages = [run.error.message if run.error else ""]
        messages += [task.error.message for task in names.values() if task.error and task.error.message]
        reason = next(filter(None, reversed(messages)), "") or (f"failed: {', '.join(failed)}" if failed else "")
        seconds = (
            (run.finished_at - run.created_at).total_seconds() if over and run.finished_at and run.created_at else None
        )
        return cls(run.run_id, run.display_name, state, run.created_at, seconds, reason, steps)


@dataclasses.dataclass(frozen=True)
class Schedule:
    """A recurring run.

    Attributes:
      schedule_id: the server's ID.
      name: the name that people see.
      trigger: a cron expression, or `every N s`.
      is_enabled: whether it starts runs.
      pipeline_id: ID of the pipeline that it runs.
    """

    schedule_id: str
    name: str
    trigger: str
    is_enabled: bool
    pipeline_id: str

    @classmethod
    def from_api(cls, item: Any) -> Schedule:
        """What the API says of a recurring run."""
        trigger = ""
        if item.trigger and item.trigger.cron_schedule:
            trigger = item.trigger.cron_schedule.cron
        elif item.trigger and item.trigger.periodic_schedule:
            trigger = f"every {item.trigger.periodic_schedule.interval_second} s"
        reference = item.pipeline_version_reference
        return cls(
            item.recurring_run_id,
            item.display_name,
            trigger,
            item.status == "ENABLED",
            reference.pipeline_id if reference else "",
        )


def _is_step(name: str | None) -> bool:
    """Whether a task is a step: Kubeflow also lists its own drivers, the containers of steps, and the whole graph."""
    return bool(name) and name not in ("root", "executor") and not str(name).endswith("-driver")
