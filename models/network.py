"""The network: an encoder and a decoder, from normalized images to logits at the images' resolution."""

from __future__ import annotations

import keras

from data.base.errors import UserError
from models.encoders.encoder import FeatureMaps
from models.instances.head import with_object_maps
from models.settings import ModelSettings


def build_model(
    settings: ModelSettings, input_shape: tuple[int, int, int], num_classes: int, dtype: str, has_objects: bool = False
) -> keras.Model:
    """Builds the configured network, with random weights.

    Args:
      settings: which encoder and decoder.
      input_shape: height and width, each at least `settings.smallest_input`, and channels, 3 (RGB) or 1 (gray).
      num_classes: C.
      dtype: Keras' dtype policy, such as `mixed_bfloat16`; weights and logits are float32 under any of them.
      has_objects: whether the network has `models.instances.head` beside the logits.

    Returns:
      A model from [batch, height, width, channels] normalized images to [batch, height, width, C] float32 logits, or
      with objects [batch, height, width, C + 3], logits and the maps of objects.

    Raises:
      ValueError: if the input is too small.
      UserError: if a user's own encoder or decoder does not give what it must.
    """
    return build_with_features(settings, input_shape, num_classes, dtype, has_objects)[0]


def build_with_features(
    settings: ModelSettings, input_shape: tuple[int, int, int], num_classes: int, dtype: str, has_objects: bool = False
) -> tuple[keras.Model, list[FeatureMaps]]:
    """As `build_model`, with the maps in the model that its encoder gives, from the finest to the coarsest."""
    if problem := settings.size_problem(min(input_shape[:2])):
        raise ValueError(problem)
    encoder, decoder = settings.chosen_encoder, settings.chosen_decoder
    image = keras.Input(input_shape, name="image")
    features = encoder.build(image, decoder.output_stride, dtype)
    logits = decoder.build(image, features, num_classes, dtype)
    expected = (None, *input_shape[:2], num_classes)
    if tuple(logits.shape) != expected or logits.dtype != "float32":
        raise UserError(
            f"model.decoder: {settings.decoder} gives logits of shape {tuple(logits.shape)} in {logits.dtype}, "
            f"not {expected} in float32"
        )
    model = keras.Model(image, logits, name="segmentation")
    if has_objects:
        model = with_object_maps(model, decoder.object_features(model), dtype)
    return model, features
