"""What can be configured about the model's input."""

from __future__ import annotations

from typing import Annotated, Literal

import pydantic

from data.base.section import Section, Share
from data.decoding.intensity import IntensityRange


class PreprocessingSettings(Section):
    """The model's input.

    Attributes:
      height: pixels.
      width: pixels.
      channels: 3 for RGB, 1 for grayscale.
      resize: `stretch` images to the input's size, or keep their aspect ratio and `pad`. With `none` images keep their
        own size: training takes random patches of the input's size, and the served model segments images in
        overlapping tiles of that size.
      intensity_range: the values of 16-bit images that become black and white, such as [0, 4095]; by default those of
        the conversion that made the data. Other TFRecords with 16-bit PNGs need it.
    """

    height: Annotated[int, pydantic.Field(ge=16, le=4096)] = 128
    width: Annotated[int, pydantic.Field(ge=16, le=4096)] = 128
    channels: Literal[1, 3] = 3
    resize: Literal["stretch", "pad", "none"] = "stretch"
    intensity_range: IntensityRange | None = None


class AugmentationSettings(Section):
    """Random changes to the training images; where pixels move, image and mask move together.

    Attributes:
      flip_horizontal: mirror left and right.
      flip_vertical: mirror top and bottom.
      rotation_degrees: largest rotation either way.
      scale: largest zoom, in or out, followed by a random crop; 1 means no zoom.
      brightness: largest shift, in standard deviations of the data set's pixels.
      contrast: largest relative change of the distance to the image's mean.
      saturation: largest relative change of the distance to gray.
    """

    flip_horizontal: bool = True
    flip_vertical: bool = False
    rotation_degrees: Annotated[float, pydantic.Field(ge=0, le=180)] = 20.0
    scale: Annotated[float, pydantic.Field(ge=1, le=4)] = 1.5
    brightness: Annotated[float, pydantic.Field(ge=0, le=2)] = 0.3
    contrast: Share = 0.3
    saturation: Share = 0.3
