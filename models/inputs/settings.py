"""What can be configured about the model's input."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pydantic

from data.base.errors import UserError
from data.base.section import Section, Share
from data.decoding.image_type import ImageType
from data.slicing import Slicing

PixelType = Literal["uint8", "int8", "uint16", "int16", "uint32", "int32", "float32"]
BandCount = Annotated[int, pydantic.Field(ge=1, le=64)]
# Those that quantiles over a thousand buckets have.
Percentile = Annotated[float, pydantic.Field(ge=0.1, le=99.9, multiple_of=0.1)]


def _check_percentiles(value: tuple[float, float]) -> tuple[float, float]:
    if value[0] >= value[1]:
        raise ValueError("takes two percentiles, the lower one first, such as [0.5, 99.5]")
    return value


class PreprocessingSettings(Section):
    """The model's input.

    Attributes:
      height: pixels.
      width: pixels.
      channels: 3 for RGB, 1 for grayscale. Of images with other bands, how many there are, which is the default, or
        those that the network takes, in this order: names such as `[B04, B03, B02, B08]`, or numbers from 1 on.
      resize: `stretch` images to the input's size, or keep their aspect ratio and `pad`. With `none` images keep their
        own size: training takes random patches of the input's size, and the served model segments images in
        overlapping tiles of that size.
      percentiles: two percentiles of all pixels of the train split, such as [0.5, 99.5]; in each channel, values beyond
        them become these before the normalization.
      type: of the images' values, as NumPy calls it; by default that of the conversion that made the data. Other
        TFRecords with images of more than 8 bits need it, as they need the next two.
      bands: how many bands the images have, or their names; by default likewise, and 3 where there was no conversion.
      nodata: the value of pixels without data; by default likewise. NaN always means this.
      window: pixels in each direction of the windows into which scenes were cut, as which `segpipe predict` then reads
        them; by default those of the conversion, and of other data the size of the input.
      volume: how `predict` cuts volumes into images: axis, spacing and slices, as `segpipe convert --format volume` has
        them; by default likewise.
    """

    height: Annotated[int, pydantic.Field(ge=16, le=4096)] = 128
    width: Annotated[int, pydantic.Field(ge=16, le=4096)] = 128
    channels: BandCount | Annotated[list[BandCount | str], pydantic.Field(min_length=1, max_length=64)] = 3
    resize: Literal["stretch", "pad", "none"] = "stretch"
    percentiles: Annotated[tuple[Percentile, Percentile], pydantic.AfterValidator(_check_percentiles)] | None = None
    type: PixelType = "uint8"
    bands: BandCount | Annotated[list[str], pydantic.Field(min_length=1, max_length=64)] | None = None
    nodata: float | None = None
    window: Annotated[int, pydantic.Field(ge=8)] | None = None
    volume: Slicing | None = None

    @pydantic.model_validator(mode="before")
    @classmethod
    def _refuse_a_range(cls, values: Any) -> Any:
        if isinstance(values, dict) and "intensity_range" in values:
            raise ValueError(
                "images keep their values, so leave intensity_range out; preprocessing.percentiles clips extremes"
            )
        return values

    @classmethod
    def of_facts(cls, facts: dict[str, Any]) -> PreprocessingSettings:
        """The input of an exported model, as it was; what earlier releases had beside these settings does not count."""
        known = {name: value for name, value in facts.items() if name in cls.model_fields}
        volume = Slicing.model_validate(known["volume"]) if known.get("volume") else None
        return cls.model_construct(**{**known, "volume": volume})

    @property
    def num_channels(self) -> int:
        """How many channels the network takes."""
        return self.channels if isinstance(self.channels, int) else len(self.channels)

    @property
    def num_bands(self) -> int:
        """How many bands the images have; 3 where some may have 1, as in JPEG and PNG."""
        if self.bands is not None:
            return self.bands if isinstance(self.bands, int) else len(self.bands)
        return self.channels if isinstance(self.channels, int) else 3

    @property
    def band_names(self) -> list[str]:
        """Names of the bands, if they have any."""
        return self.bands if isinstance(self.bands, list) else []

    @property
    def image_type(self) -> ImageType:
        """What the images have to be."""
        nodata = None if self.nodata is None or self.type == "float32" else self.nodata
        volume = self.volume.model_dump(mode="json") if self.volume else None
        return ImageType(self.type, self.num_bands, tuple(self.band_names), nodata, volume)

    @property
    def has_pictures(self) -> bool:
        """Whether images are stored as JPEG or PNG, in which gray becomes RGB, and RGB gray, as the network needs."""
        return self.type in ("uint8", "uint16") and self.num_bands in (1, 3)

    @property
    def is_usual(self) -> bool:
        """Whether images are gray or RGB of 8 bits, and all their pixels count as they are."""
        return (
            self.type == "uint8"
            and self.has_pictures
            and self.nodata is None
            and self.percentiles is None
            and isinstance(self.channels, int)
        )

    @property
    def may_lack_data(self) -> bool:
        """Whether pixels without data can be told from others."""
        return self.type == "float32" or self.nodata is not None

    @property
    def stored_type(self) -> Literal["uint8", "uint16", "float32"]:
        """In which type decoded pixels are kept: that of the files, or a float."""
        return self.type if self.type in ("uint8", "uint16") else "float32"

    @property
    def exported_type(self) -> Literal["uint8", "float32"]:
        """In which type an exported network takes pixels."""
        return "uint8" if self.is_usual else "float32"

    def chosen_bands(self) -> list[int] | None:
        """Places, from 0 on, of the bands that are the channels; None if all are, in their order.

        Raises:
          UserError: if the images have no such bands, or it is not said which of several are meant.
        """
        bands, names = self.num_bands, self.band_names
        if isinstance(self.channels, int):
            if self.has_pictures and self.channels in (1, 3):
                return None
            if self.channels != bands or self.has_pictures:
                how_many = "are gray or RGB" if self.has_pictures else f"have {bands} bands"
                raise UserError(
                    f"preprocessing.channels is {self.channels}, but the images {how_many}; leave the key out, or list "
                    "the bands that the network takes, such as [1, 2]"
                )
            return None
        chosen = []
        for channel in self.channels:
            place = names.index(channel) if channel in names else channel - 1 if isinstance(channel, int) else bands
            if place >= bands:
                known = f"their names are {', '.join(names)}" if names else "they have no names"
                raise UserError(
                    f"preprocessing.channels: the images have no band {channel}; there are {bands}, and {known}"
                )
            chosen.append(place)
        return chosen

    def of_images(self, found: ImageType, folder: str) -> PreprocessingSettings:
        """The same for the images that a conversion made.

        Args:
          found: what they are.
          folder: where they are, for messages.

        Raises:
          UserError: if something else is configured, or the bands are not there.
        """
        bands = list(found.names) or (None if found.is_usual else found.bands)
        volume = Slicing(**found.volume) if found.volume else None
        known: dict[str, Any] = {"type": found.type, "bands": bands, "nodata": found.nodata, "volume": volume}
        for name, value in known.items():
            configured = getattr(self, name)
            if name in self.model_fields_set and configured not in (None, value, getattr(found, name)):
                raise UserError(f"preprocessing.{name} is {configured}, but images in {folder} have {found}")
        settings = self.model_copy(update=known)
        if "channels" not in self.model_fields_set and not settings.has_pictures:
            settings = settings.model_copy(update={"channels": found.bands})
        # Without `bands`, any number of channels would do for usual images, gray or RGB.
        settings.model_copy(update={"bands": bands or 3}).chosen_bands()
        return settings


class AugmentationSettings(Section):
    """Random changes to the training images; where pixels move, image and mask move together.

    Attributes:
      flip_horizontal: mirror left and right.
      flip_vertical: mirror top and bottom.
      rotation_degrees: largest rotation either way.
      scale: largest zoom, in or out, followed by a random crop; 1 means no zoom.
      brightness: largest shift, in standard deviations of the data set's pixels. By default 0.3; for images other than
        gray and RGB of 8 bits 0.1, and each channel has its own.
      contrast: largest relative change of the distance to the image's mean, by default likewise.
      saturation: largest relative change of the distance to gray, by default 0.3; without effect on other images than
        RGB.
    """

    flip_horizontal: bool = True
    flip_vertical: bool = False
    rotation_degrees: Annotated[float, pydantic.Field(ge=0, le=180)] = 20.0
    scale: Annotated[float, pydantic.Field(ge=1, le=4)] = 1.5
    brightness: Annotated[float, pydantic.Field(ge=0, le=2)] | None = None
    contrast: Share | None = None
    saturation: Share = 0.3

    def of_images(self, shape: PreprocessingSettings) -> dict[str, Any]:
        """The arguments of `augment` for the images of a model's input."""
        # Bands mean different things, and what they hold is often a measurement.
        are_pictures = shape.type == "uint8" and shape.num_channels in (1, 3) and shape.has_pictures
        amount = 0.3 if are_pictures else 0.1
        return {
            **self.model_dump(),
            "brightness": amount if self.brightness is None else self.brightness,
            "contrast": amount if self.contrast is None else self.contrast,
            "saturation": self.saturation if shape.has_pictures and shape.num_channels == 3 else 0.0,
            "by_channel": not are_pictures,
        }
