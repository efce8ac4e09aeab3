"""What can be configured about the model."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pydantic

from data.base.section import Section, Share

# Of unet this project's, of the others their papers'.
_DEFAULTS = {
    "unet": {"filters": 32, "depth": 4},
    "unet_resnet": {"filters": 32, "depth": 5},
    "segnet": {"filters": 64, "depth": 5},
    "deeplab_v3_plus": {"filters": 256, "depth": 4},
}


class ModelSettings(Section):
    """The model.

    Attributes:
      architecture: the folder `models/architectures` has a file for each.
      filters: of the first level; each level below has twice as many. Of `unet_resnet` the decoder's; of
        `deeplab_v3_plus` those of pyramid and decoder. By default 32, of a segnet 64, of a deeplab_v3_plus 256.
      depth: how often the encoder halves the resolution; by default 4. Only a `unet` has a choice.
      normalization: layer after each convolution. Only a `unet` has a choice.
      dropout: share of channels dropped at the two deepest levels; of `deeplab_v3_plus` after the pyramid.
      encoder_weights: a local file with weights of Keras' ResNet50 (unet_resnet, deeplab_v3_plus) or VGG16 (segnet)
        without the top, from which training starts; nothing is ever downloaded. By default they are random.
    """

    architecture: Literal["unet", "unet_resnet", "segnet", "deeplab_v3_plus"] = "unet"
    filters: Annotated[int, pydantic.Field(ge=1, le=512)] = 32
    depth: Annotated[int, pydantic.Field(ge=1, le=7)] = 4
    normalization: Literal["batch", "group", "none"] = "batch"
    dropout: Share = 0.0
    encoder_weights: str = ""

    @property
    def smallest_input(self) -> int:
        """Pixels that height and width must have."""
        return 2**self.depth if self.architecture == "unet" else 32

    @pydantic.model_validator(mode="before")
    @classmethod
    def _fill_in(cls, values: Any) -> Any:
        return {**_DEFAULTS.get(str(values.get("architecture")), {}), **values} if isinstance(values, dict) else values

    @pydantic.model_validator(mode="after")
    def _check_choices(self) -> ModelSettings:
        name, default = self.architecture, _DEFAULTS[self.architecture]
        if name == "unet":
            if self.encoder_weights:
                raise ValueError("there are no encoder_weights for a unet; take unet_resnet, or leave them out")
            return self
        if self.depth != default["depth"]:
            raise ValueError(f"the depth of a {name} is {default['depth']}; leave depth out")
        if self.normalization != "batch":
            raise ValueError(f"a {name} has batch normalization; leave normalization out")
        if name == "segnet" and self.encoder_weights and self.filters != default["filters"]:
            raise ValueError(f"encoder_weights fit a segnet of {default['filters']} filters only; leave filters out")
        return self
