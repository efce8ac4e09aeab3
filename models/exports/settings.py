"""A section of the configuration: the forms in which a model leaves beside the SavedModel."""

from __future__ import annotations

from typing import Annotated, Any

import pydantic

from data.base.errors import did_you_mean
from data.base.section import Section
from models.exports import FORMATS

Loss = Annotated[float, pydantic.Field(ge=0, le=1)]


class ExportSettings(Section):
    """The forms: a version holds all of them, or is not pushed. `export: [onnx]` is short for `formats` alone.

    Attributes:
      formats: any of `tflite`, `tflite_float16`, `tflite_int8` and `onnx`.
      max_loss: how much mean IoU on the test split an export may have less than the SavedModel.
      max_loss_int8: the same of one that computes in integers.
    """

    formats: list[str] = []
    max_loss: Loss = 0.01
    max_loss_int8: Loss = 0.03

    @pydantic.model_validator(mode="before")
    @classmethod
    def _read_list(cls, values: Any) -> Any:
        return {"formats": values} if isinstance(values, list) else values

    @pydantic.field_validator("formats")
    @classmethod
    def _check_formats(cls, formats: list[str]) -> list[str]:
        for name in formats:
            if name not in FORMATS:
                raise ValueError(
                    f"there is no format {name!r}{did_you_mean(str(name), FORMATS)}; there are {', '.join(FORMATS)}"
                )
        if len(set(formats)) < len(formats):
            raise ValueError("names a format twice")
        return formats

    @property
    def max_losses(self) -> dict[str, float]:
        """By format."""
        return {name: self.max_loss_int8 if FORMATS[name].is_quantized else self.max_loss for name in self.formats}
