"""What can be configured about retraining by a schedule."""

from __future__ import annotations

from typing import Annotated, Literal

import pydantic

from data.base.secret import Secret
from data.base.section import Section


class RetrainSettings(Section):
    """When `segpipe retrain` trains.

    Attributes:
      trigger: `change`: if data, code, packages or configuration are not those of the last finished run; `drift`: if
        moreover the newest data is far from what the deployed model was trained on; `always`: each time.
      max_drift: distance from 0 to 1 above which data has drifted: of class shares and image sizes (total variation),
        and of features by TFDV's drift comparators.
    """

    trigger: Literal["change", "drift", "always"] = "change"
    max_drift: Annotated[float, pydantic.Field(ge=0, le=1)] = 0.1


class NotifySettings(Section):
    """Who is told how a `segpipe retrain` ended; what goes wrong there fails no run.

    Attributes:
      command: program and arguments, which get the summary as JSON on standard input; by default none.
      webhook: URL that the summary is posted to as JSON; it is a secret, as most hold a key.
      states: of which runs.
      timeout_seconds: for each of the two.
    """

    command: list[str] = []
    webhook: Secret | None = None
    states: list[Literal["pushed", "refused", "failed", "unchanged"]] = ["pushed", "refused", "failed"]
    timeout_seconds: Annotated[float, pydantic.Field(gt=0)] = 30.0
