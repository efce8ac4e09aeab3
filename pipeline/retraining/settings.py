"""What can be configured about scheduled retraining."""

from __future__ import annotations

from typing import Annotated, Literal

import pydantic

from data.base.secret import Secret
from data.base.section import Section

State = Literal["pushed", "refused", "failed", "unchanged", "drift"]


class RetrainSettings(Section):
    """When `segpipe retrain` trains.

    Attributes:
      trigger: `change`: if data, code, packages or configuration differ from those of the last finished run; `drift`:
        if, in addition, the newest data is far from what the deployed model was trained on, or, with `monitor.kept`,
        served traffic is; `always`: each time.
      max_drift: distance from 0 to 1 above which data counts as drifted: the total variation of class shares and of
        image sizes, and what TFDV's drift comparators measure for features.
    """

    trigger: Literal["change", "drift", "always"] = "change"
    max_drift: Annotated[float, pydantic.Field(ge=0, le=1)] = 0.1


class NotifySettings(Section):
    """Who learns how a `segpipe retrain` ended; a notification that fails does not fail the run.

    Attributes:
      command: program and arguments; it gets the summary as JSON on standard input.
      webhook: URL to which the summary is posted as JSON; it is a secret, because most such URLs contain a key.
      states: how a run must have ended; `pushed` includes a run that failed after it had pushed its model;
        `drift`: served traffic has changed, as `segpipe monitor` found.
      timeout_seconds: for the command and for the webhook, each.
    """

    command: list[str] = []
    webhook: Secret | None = None
    states: list[Literal["pushed", "refused", "failed", "unchanged", "drift"]] = [
        "pushed",
        "refused",
        "failed",
        "drift",
    ]
    timeout_seconds: Annotated[float, pydantic.Field(gt=0)] = 30.0
