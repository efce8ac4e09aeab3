"""Sections of the configuration: limits on serving, and where models are pushed."""

from __future__ import annotations

from typing import Annotated

import pydantic

from data.base.section import Section


class ServingSettings(Section):
    """Limits that a model must keep when it serves.

    Attributes:
      max_latency_seconds: time for a request with one image, once the model is warm.
      max_memory_megabytes: peak resident memory of the serving process.
    """

    max_latency_seconds: Annotated[float, pydantic.Field(gt=0)] = 5.0
    max_memory_megabytes: Annotated[int, pydantic.Field(gt=0)] = 4096


class PushSettings(Section):
    """Where models that pass the gate go.

    Attributes:
      destination: folder of numbered versions; by default `serving` in the output folder.
    """

    destination: str = ""
