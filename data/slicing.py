"""How volumes become images; what is predicted on is cut as what was trained on."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pydantic

from data.base.section import Section


def _read_spacing(value: Any) -> Any:
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        return value
    try:
        numbers = [float(part) for part in str(value).split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 3):
        raise ValueError(
            "takes millimeters, one number or three (left to right, back to front, up), such as 1 or 1,1,3"
        )
    return numbers * (3 if len(numbers) == 1 else 1)


def _check_odd(value: int) -> int:
    if value % 2 == 0:
        raise ValueError("takes an odd number: the slice itself, and as many on either side")
    return value


Millimeters = Annotated[float, pydantic.Field(gt=0, le=1000)]
Spacing = Annotated[tuple[Millimeters, Millimeters, Millimeters], pydantic.BeforeValidator(_read_spacing)]
Slices = Annotated[int, pydantic.AfterValidator(_check_odd), pydantic.Field(ge=1, le=63)]


class Slicing(Section):
    """How volumes become images.

    Attributes:
      axis: which slices are taken: axial ones (feet to head), coronal ones (back to front) or sagittal ones (left to
        right), with the head, or the front in axial ones, at the top. Pages of a TIFF are its axial slices.
      spacing: millimeters between voxels to which volumes are resampled first, by linear interpolation and labels by
        nearest neighbor: one number, or three, for left to right, back to front and upwards; by default as they are.
      slices: neighboring slices, an odd number, that are the bands of an image; the one in the middle is labeled, and
        at the ends of a volume the last slice is repeated.
    """

    axis: Literal["axial", "coronal", "sagittal"] = "axial"
    spacing: Spacing | None = pydantic.Field(default=None, title="MM[,MM,MM]")
    slices: Slices = pydantic.Field(default=1, title="N")

    def __str__(self) -> str:
        spacing = f" at {'x'.join(f'{size:g}' for size in self.spacing)} mm" if self.spacing else ""
        return f"{self.axis} slices{spacing}" + (f", {self.slices} at a time" if self.slices > 1 else "")
