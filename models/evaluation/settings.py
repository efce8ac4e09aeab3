"""What can be configured about the evaluation and the gate."""

from __future__ import annotations

from typing import Annotated, Literal

import pydantic

from data.base.section import Section

Iou = Annotated[float, pydantic.Field(ge=0, le=1)]


class GateSettings(Section):
    """What a model must reach on the test split to be pushed.

    Attributes:
      min_mean_iou: least mean IoU.
      min_class_iou: least IoU of classes, by name.
      min_slice_mean_iou: least mean IoU of slices (`image/slice`), by name; `"*"` stands for each of them.
      regression: how much lower than the deployed model's the mean IoU may be; or `not_significantly_worse`: as much as
        these images cannot tell from chance, by the 95 % confidence interval of the difference on each of them.
    """

    min_mean_iou: Iou = 0.5
    min_class_iou: dict[str, Iou] = {}
    min_slice_mean_iou: dict[str, Iou] = {}
    regression: Iou | Literal["not_significantly_worse"] = 0.01


class EvaluationSettings(Section):
    """How predictions are compared with labels.

    Attributes:
      resolution: at the size that the model sees (`model`), or at each image's own with its mask as it is (`original`).
    """

    resolution: Literal["model", "original"] = "model"
