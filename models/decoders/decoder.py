"""What every decoder is: a section of options that turns an encoder's maps into logits."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, ClassVar

from data.base.section import Section

if TYPE_CHECKING:
    import keras

    from models.encoders.encoder import Encoder, FeatureMaps


class Decoder(Section):
    """A decoder; its fields are its options in the section `model` of the configuration.

    Attributes:
      output_stride: the largest stride that it asks of the encoder, 32 or 16.
      not_exported: why its networks cannot be brought into other forms than the SavedModel; "" if they can.
    """

    output_stride: ClassVar[int] = 32
    not_exported: ClassVar[str] = ""

    def check_encoder(self, encoder: Encoder) -> None:
        """Raises a ValueError if it cannot work on an encoder's maps."""

    @abc.abstractmethod
    def build(
        self, image: keras.KerasTensor, features: list[FeatureMaps], num_classes: int, dtype: str
    ) -> keras.KerasTensor:
        """Adds the decoder, with random weights, to a functional model.

        Args:
          image: what the encoder saw, [batch, height, width, 3 (RGB) or 1 (gray)], normalized.
          features: from the finest to the coarsest, as `Encoder.build` returns them.
          num_classes: C.
          dtype: Keras' dtype policy, such as `mixed_bfloat16`; weights and logits must be float32 under any of them.

        Returns:
          Logits, [batch, height, width, C] float32.
        """

    def object_features(self, model: keras.Model) -> keras.KerasTensor:
        """Its maps in a whole model of which those of objects are made; by default what the logits are made of."""
        return [layer for layer in model.layers if layer.weights][-1].input

    def supervised_maps(self, model: keras.Model) -> list[keras.KerasTensor]:
        """Its maps in a whole model at strides 2, 4, 8, … on which training supervises logits too; none by default."""
        return []
