"""Weights of `keras.applications`, from a file on this machine."""

from __future__ import annotations

import math
from typing import Any

import keras

from data.base.errors import UserError
from models.encoders.weights.channels import over_channels
from models.encoders.weights.pretrained import require_file


def load_keras_weights(encoder: keras.Model, application: str, path: str, name: str) -> list[keras.layers.Layer]:
    """Loads weights of one of Keras' networks, without the top, into layers of the same names.

    Args:
      encoder: holds those layers; its first convolution may be over other channels than RGB.
      application: name of the network in `keras.applications`, such as `ResNet50`.
      path: a local file, `.h5` as `keras.applications` publishes it, or `.weights.h5` as `save_weights` writes it.
      name: of the published file.

    Returns:
      The layers that were found.

    Raises:
      UserError: if there is no such file, it cannot be read, or it holds other weights.
    """
    require_file(path)
    # Not straight into our layers: the old format goes by their order, which need not be Keras'.
    original = getattr(keras.applications, application)(include_top=False, weights=None, input_shape=(None, None, 3))
    try:
        original.load_weights(path)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise UserError(
            f"model.encoder_weights: {path} does not hold the weights of Keras' {application} without the top "
            f"({reason}); take {name} as keras.applications publishes it, or auto, imagenet or none"
        ) from error
    loaded = []
    for layer in original.layers:
        ours = _layer(encoder, layer.name)
        if ours is None or not ours.weights:
            continue
        # Ours may have no biases, where a batch normalization would take them out again.
        pairs = zip(ours.weights, layer.get_weights()[: len(ours.weights)], strict=True)
        ours.set_weights([_fitting(values, weight.shape) for weight, values in pairs])
        loaded.append(ours)
    return loaded


def _layer(encoder: keras.Model, name: str) -> keras.layers.Layer | None:
    """A layer by its name; None for those of the top, which the encoder does not have."""
    return next((layer for layer in encoder.layers if layer.name == name), None)


def _fitting(values: Any, shape: tuple[int, ...]) -> Any:
    """Values in the shape of ours; depthwise filters [height, width, 1, any] become [height, width, any, 1]."""
    if values.size == math.prod(shape):
        return values.reshape(shape)
    return over_channels(values, shape[2])
