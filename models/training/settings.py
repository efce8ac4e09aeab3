"""What can be configured about training, and what the trainer gets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import pydantic

from data.base.section import Section, Share, set_value
from data.base.variants import check_options, find_variant
from data.label_map import LabelMap
from models.inputs.settings import AugmentationSettings, PreprocessingSettings
from models.instances.scale import ObjectScale
from models.losses import LOSSES, Loss, PixelLoss, RegionLoss
from models.losses.cross_entropy import CrossEntropy
from models.settings import ModelSettings, Task

# `small_sizes: auto` of a training that is long enough.
_SMALL_SIZES = 0.2


class TrainSettings(Section):
    """The training run.

    Attributes:
      epochs: passes over the train split; does not count if `minutes` is set.
      minutes: how long to train, on whatever machine: the whole schedule, with its warm-up, its small sizes and its end
        at a learning rate of zero, fits into this time, with the evaluations on the eval split and what TensorFlow
        prepares, but without reading the data before and exporting the model after. 0 trains for `epochs`.
      folds: trains as many models and exports them as one that averages their probabilities, which takes as many times
        as long to train (`minutes` are for all together) and to serve. The train and eval splits together are divided
        into as many folds by a hash of the examples' names or groups; each model learns from all folds but one, and
        that one takes the place of the eval split. 0 or 1 trains one model, on the splits as they are, and so does each
        trial of the tuner.
      test_time_flips: the exported model also looks at each image mirrored, and averages: `horizontal` takes twice as
        long to serve, `both` (vertically, too) four times. Evaluation, gate and exports have that model; training and
        the choice of its best weights do not.
      batch_size: images per step, on all replicas together.
      loss: a name in `models.losses.LOSSES` or the import path of your own; or a sum of several, each name with its
        weight or its options.
      class_weights: `median_frequency` weights each class's pixels, in losses that are reduced over pixels, by median
        frequency / frequency; `root_median_frequency` by the square root of that.
      sampling: `class_balanced` shows images with rare classes more often.
      small_sizes: share of the epochs (by `minutes`: of the steps), the first ones, in which images and labels have a
        quarter of the height and width, then half; these are many times as fast (progressive resizing: Tan and Le,
        "EfficientNetV2", 2021, section 4). Sizes at which the model's coarsest maps would have a single row or column
        are left out. `auto` is 0.2, and by `minutes` more if few images of the full size fit into them.
      optimizer: one of Keras' optimizers; `sgd` has a Nesterov momentum of 0.9.
      schedule: how the learning rate falls after the warm-up and the epochs at small sizes: along a `cosine` or a
        `polynomial` of degree 0.9 to zero, `exponential` to a hundredth, or not at all (`constant`).
      learning_rate: its value at the end of the warm-up.
      pretrained_learning_rate: what the learning rate is multiplied by for weights that were trained before, those of
        `model.encoder_weights`; 1 makes no difference, and 0 leaves them as they are.
      warmup_epochs: epochs in which the learning rate rises from zero; by `minutes` at most a tenth of the training.
      weight_decay: share of the weights, times the learning rate, that each step subtracts; biases and normalization do
        not decay.
      gradient_clip_norm: largest norm of all gradients together; 0 for no limit.
      ema_momentum: largest momentum of the moving average of the weights, which is what is evaluated and exported; at
        step n it is at most (1 + n) / (10 + n). 0 for no average.
      early_stopping_epochs: ends the training after so many epochs (by `minutes`: evaluations at the full size) without
        a better mean IoU on the eval split; 0 for never.
      augmentation: random changes to the training images.
      augment_on: where they are made: by the `host` while it prepares batches, or in the training step on the `device`,
        for GPUs that wait for the processor.
      warm_start: `deployed` begins with those weights of the newest model at the push destination that fit, by name and
        shape, and with random ones or `model.encoder_weights` where there are none. Classes are matched by name.
      cache: where decoded images are kept, in 8 bits: in `memory`, in a temporary file on `disk` (in TMPDIR), or
        nowhere (`none`), which means decoding them anew in each epoch. `auto` is memory if they fill at most a quarter
        of it, else none.
      checkpoint_minutes: least time between checkpoints. A run that is killed loses only what it did since the last
        one; the same command resumes it there.
      checkpoint_steps: also write a checkpoint every so many steps; 0 for by the clock alone.
      precision: `auto` is mixed_bfloat16 where the hardware computes in it, else float32.
      devices: `auto` is GPUs where there are any, else the CPU.
      strategy: `one` device, all local ones (`mirrored`), or those of all workers in TF_CONFIG (`multi_worker`, where
        checkpoints are written at the end of each epoch and by `checkpoint_steps`, not by the clock). `auto` is
        mirrored on several GPUs, else one.
      xla: whether XLA compiles the training step; `auto` is yes on GPUs and TPUs, if Keras can.
      deterministic: the same weights, bit for bit, from each run on one kind of device; slower. By `minutes`, runs
        still differ in how many steps fit.
      seed: decides the initial weights, the order of examples and their augmentation.
    """

    epochs: Annotated[int, pydantic.Field(ge=1)] = 60
    minutes: Annotated[float, pydantic.Field(ge=0, allow_inf_nan=False)] = 0.0
    folds: Annotated[int, pydantic.Field(ge=0, le=20)] = 0
    test_time_flips: Literal["none", "horizontal", "both"] = "none"
    batch_size: Annotated[int, pydantic.Field(ge=1)] = 8
    loss: Annotated[dict[str, pydantic.SerializeAsAny[Loss]], pydantic.Field(min_length=1)] = {
        "cross_entropy": CrossEntropy()
    }
    class_weights: Literal["none", "median_frequency", "root_median_frequency"] = "root_median_frequency"
    sampling: Literal["uniform", "class_balanced"] = "uniform"
    small_sizes: Literal["auto"] | Share = "auto"
    optimizer: Literal["adamw", "adam", "sgd", "lion"] = "adamw"
    schedule: Literal["cosine", "polynomial", "exponential", "constant"] = "cosine"
    learning_rate: Annotated[float, pydantic.Field(gt=0, le=10)] = 4e-3
    pretrained_learning_rate: Annotated[float, pydantic.Field(ge=0, le=1)] = 0.15
    warmup_epochs: Annotated[int, pydantic.Field(ge=0)] = 2
    weight_decay: Annotated[float, pydantic.Field(ge=0, le=1)] = 1e-4
    gradient_clip_norm: Annotated[float, pydantic.Field(ge=0)] = 0.0
    ema_momentum: Share = 0.0
    early_stopping_epochs: Annotated[int, pydantic.Field(ge=0)] = 0
    augmentation: AugmentationSettings = AugmentationSettings()
    augment_on: Literal["host", "device"] = "host"
    warm_start: Literal["none", "deployed"] = "none"
    cache: Literal["auto", "memory", "disk", "none"] = "auto"
    checkpoint_minutes: Annotated[float, pydantic.Field(ge=0)] = 10.0
    checkpoint_steps: Annotated[int, pydantic.Field(ge=0)] = 0
    precision: Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"] = "auto"
    devices: Literal["auto", "cpu", "gpu", "tpu"] = "auto"
    strategy: Literal["auto", "one", "mirrored", "multi_worker"] = "auto"
    xla: Literal["auto", "on", "off"] = "auto"
    deterministic: bool = False
    seed: int = 0

    @pydantic.field_validator("loss", mode="before")
    @classmethod
    def _read_losses(cls, value: Any) -> Any:
        terms = {value: {}} if isinstance(value, str) else value
        if not isinstance(terms, dict):
            raise ValueError("takes a name, or weights or options by names, such as {cross_entropy: 1, dice: 0.5}")
        return {name: _read_loss(name, term) for name, term in terms.items()}

    @pydantic.model_validator(mode="after")
    def _check_minutes(self) -> TrainSettings:
        if self.minutes and self.strategy == "multi_worker":
            raise ValueError("minutes: workers with clocks of their own cannot agree on a step; set epochs instead")
        return self


def _read_loss(name: Any, term: Any) -> Loss:
    """A loss from its options, or from its weight alone."""
    if isinstance(term, Loss):
        return term
    kind = find_variant(str(name), LOSSES, Loss, "loss")  # type: ignore[type-abstract]
    if not issubclass(kind, PixelLoss | RegionLoss):
        raise ValueError(f"{name} must derive from PixelLoss or RegionLoss of models.losses, not from Loss itself")
    options = term if isinstance(term, dict) else {"weight": term}
    check_options(options, list(kind.model_fields), f"loss {name}")
    # As an entry of a dictionary, so that errors name the loss.
    losses = pydantic.TypeAdapter(dict[str, kind])  # type: ignore[valid-type]
    return losses.validate_python({str(name): options})[str(name)]


class TrainerConfig(Section):
    """What the trainer's `run_fn` gets as TFX's `custom_config`.

    Attributes:
      preprocessing: the model's input.
      model: encoder and decoder.
      train: the training run.
      label_map: entries of the label map, as in `labels.yaml`.
      checkpoints: folder for checkpoints that outlive the process; by default the folder of the component's run, which
        does not outlive a failure.
      code: a digest of the code and of the pretrained weights; a checkpoint made with others is not resumed.
      push_destination: where to look for the model of a warm start.
      deployed_model: folder of that model, "" for none; filled in by the Trainer component.
      statistics: the data gate's statistics of the data set; filled in by the Trainer component.
      member: of several models by `train.folds`, which one this is, from 0 on; filled in by the trainer.
      task: what is predicted.
    """

    preprocessing: PreprocessingSettings
    model: ModelSettings
    train: TrainSettings
    label_map: list[dict[str, Any]]
    checkpoints: str = ""
    code: str = ""
    push_destination: str = ""
    deployed_model: str = ""
    statistics: dict[str, Any] = {}
    member: int = 0
    task: Task = "semantic"

    @property
    def objects(self) -> ObjectScale | None:
        """What the data says about objects, where the task has any.

        Raises:
          UserError: if the data has none.
        """
        if not self.has_objects:
            return None
        statistics = self.statistics["splits"]["train"]
        return ObjectScale.of(LabelMap.model_validate(self.label_map), statistics, self.preprocessing)

    @property
    def has_objects(self) -> bool:
        """Whether the network tells objects apart."""
        return self.task != "semantic"

    @property
    def stages(self) -> list[tuple[int, float]]:
        """Stages of training: how often images are halved, and up to which share of all steps; the last is (0, 1.0).

        By epochs, each has whole ones.
        """
        half = _SMALL_SIZES if self.train.small_sizes == "auto" else self.train.small_sizes
        quarter = half / 2
        if not self.train.minutes:
            epochs = int(half * self.train.epochs)
            half, quarter = epochs / self.train.epochs, epochs // 2 / self.train.epochs
        # Where the coarsest map is a single pixel, nothing is left to learn of what surrounds what.
        least = 2 * self.model.smallest_input
        small = [(halvings, end) for halvings, end in ((2, quarter), (1, half)) if end]
        return [*(stage for stage in small if min(self._size(stage[0])) >= least), (0, 1.0)]

    def _size(self, halvings: int) -> tuple[int, int]:
        """Height and width after so many halvings, rounded up."""
        shape = self.preprocessing
        return -(-shape.height // 2**halvings), -(-shape.width // 2**halvings)

    def halved(self, halvings: int) -> TrainerConfig:
        """The same configuration for images whose height and width are halved so many times."""
        model = self.model.for_input(*self._size(0))
        height, width = self._size(halvings)
        shape = self.preprocessing.model_copy(update={"height": height, "width": width})
        return self.model_copy(update={"preprocessing": shape, "model": model})

    def with_values(self, values: Mapping[str, Any]) -> TrainerConfig:
        """The same configuration with other values at dotted keys, such as `train.learning_rate`.

        Raises:
          ValidationError: if there is no such key, or it does not take the value.
        """
        # Another encoder or decoder may have other defaults and other options.
        changed = {**self.model_dump(), "model": self.model.without_defaults()}
        for key, value in values.items():
            set_value(changed, key.split("."), value)
        return type(self).model_validate(changed)

    @pydantic.model_validator(mode="after")
    def _check_size(self) -> TrainerConfig:
        if problem := self.model.size_problem(min(self.preprocessing.height, self.preprocessing.width)):
            raise ValueError(problem)
        return self
