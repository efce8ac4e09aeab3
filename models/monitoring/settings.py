"""What can be configured about watching served traffic."""

from __future__ import annotations

from typing import Annotated

import pydantic

from data.base.section import Section


class MonitorSettings(Section):
    """How `segpipe monitor` compares served traffic with what the deployed model was trained on.

    Attributes:
      kept: folder of `segpipe serve --keep`; with it, `retrain.trigger: drift` counts an alert on served traffic, too.
      level: probability of an alert on a day whose images are like the training data.
      min_images: days with fewer different images are not judged.
      max_images: so many images of a day, drawn at random, are looked at, and as many of the training data.
    """

    kept: str = ""
    level: Annotated[float, pydantic.Field(gt=0, lt=0.5)] = 0.01
    min_images: Annotated[int, pydantic.Field(ge=10)] = 30
    max_images: Annotated[int, pydantic.Field(ge=30)] = 500
