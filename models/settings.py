"""What can be configured about preprocessing, model and training: the sections of the configuration file."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pydantic

Share = Annotated[float, pydantic.Field(ge=0, lt=1)]


class Section(pydantic.BaseModel):
    """A section of the configuration: unknown keys are errors, values do not change once read."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


class PreprocessingSettings(Section):
    """The model's input.

    Attributes:
      height: pixels.
      width: pixels.
      channels: 3 for RGB, 1 for grey.
      resize: `stretch` to the input's size, or keep the aspect ratio and `pad`.
    """

    height: Annotated[int, pydantic.Field(ge=16, le=4096)] = 128
    width: Annotated[int, pydantic.Field(ge=16, le=4096)] = 128
    channels: Literal[1, 3] = 3
    resize: Literal["stretch", "pad"] = "stretch"


class ModelSettings(Section):
    """The U-Net.

    Attributes:
      filters: of the first level; each level below has twice as many.
      depth: how often the encoder halves the resolution.
      normalization: layer after each convolution.
      dropout: share of channels dropped at the two deepest levels.
    """

    filters: Annotated[int, pydantic.Field(ge=1, le=512)] = 32
    depth: Annotated[int, pydantic.Field(ge=1, le=7)] = 4
    normalization: Literal["batch", "group", "none"] = "batch"
    dropout: Share = 0.0


class AugmentationSettings(Section):
    """Random changes to the training images, the same for image and mask.

    Attributes:
      flip_horizontal: mirror left and right.
      flip_vertical: mirror top and bottom.
      rotation_degrees: largest rotation either way.
      scale: largest zoom in or out; 1 is none.
    """

    flip_horizontal: bool = True
    flip_vertical: bool = False
    rotation_degrees: Annotated[float, pydantic.Field(ge=0, le=180)] = 15.0
    scale: Annotated[float, pydantic.Field(ge=1, le=4)] = 1.25


class TrainSettings(Section):
    """The training run.

    Attributes:
      epochs: passes over the train split.
      batch_size: images a step, over all replicas together.
      learning_rate: at the end of the warm-up; it then falls to zero along a cosine.
      warmup_epochs: epochs of linear warm-up.
      weight_decay: of AdamW.
      class_weights: `median_frequency` weights each class's pixels by median frequency / frequency,
        `root_median_frequency` by the square root of that.
      augmentation: random changes to the training images.
      cache: where decoded images are kept from the first epoch on, in 8 bits: `memory`, a temporary file on `disk`
        (in TMPDIR), or `none`, to decode anew in each epoch. `auto` is memory if they take up at most a quarter of it,
        else none.
      precision: `auto` is mixed_bfloat16 where the hardware computes in it, else float32.
      strategy: one device, all local devices (`mirrored`), or the workers of TF_CONFIG (`multi_worker`).
      seed: of weights, order and augmentation.
    """

    epochs: Annotated[int, pydantic.Field(ge=1)] = 60
    batch_size: Annotated[int, pydantic.Field(ge=1)] = 16
    learning_rate: Annotated[float, pydantic.Field(gt=0, le=10)] = 1e-3
    warmup_epochs: Annotated[int, pydantic.Field(ge=0)] = 2
    weight_decay: Annotated[float, pydantic.Field(ge=0, le=1)] = 1e-4
    class_weights: Literal["none", "median_frequency", "root_median_frequency"] = "none"
    augmentation: AugmentationSettings = AugmentationSettings()
    cache: Literal["auto", "memory", "disk", "none"] = "auto"
    precision: Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"] = "auto"
    strategy: Literal["one", "mirrored", "multi_worker"] = "one"
    seed: int = 0


class TrainerConfig(Section):
    """Everything that the trainer's `run_fn` gets as TFX `custom_config`.

    Attributes:
      preprocessing: the model's input.
      model: the architecture.
      train: the training run.
      label_map: entries of the label map, as in `labels.yaml`.
      statistics: the data gate's statistics of the data set; put in by the Trainer component.
    """

    preprocessing: PreprocessingSettings
    model: ModelSettings
    train: TrainSettings
    label_map: list[dict[str, Any]]
    statistics: dict[str, Any] = {}

    @pydantic.model_validator(mode="after")
    def _check_depth(self) -> TrainerConfig:
        smallest = min(self.preprocessing.height, self.preprocessing.width)
        if smallest < 2**self.model.depth:
            raise ValueError(
                f"model.depth {self.model.depth} halves an input of {smallest} pixels too often; "
                f"it takes at most {smallest.bit_length() - 1}"
            )
        return self
