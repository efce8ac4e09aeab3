"""What can be configured about the report."""

from __future__ import annotations

from typing import Annotated

import pydantic

from data.base.section import Section


class ReportSettings(Section):
    """The run's report.

    Attributes:
      max_megabytes: of the file, 10⁶ bytes; its pictures shrink to keep it.
    """

    max_megabytes: Annotated[float, pydantic.Field(ge=0.1)] = 8.0
