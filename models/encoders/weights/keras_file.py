"""Pretrained weights of `keras.applications`, from a file that is already there."""

from __future__ import annotations

import os

import keras

from data.base.errors import UserError


def load_keras_weights(encoder: keras.Model, application: str, path: str) -> None:
    """Loads weights of one of Keras' networks, without the top, into layers of the same names.

    Args:
      encoder: holds those layers.
      application: name of the network in `keras.applications`, such as `ResNet50`.
      path: a local file, `.h5` as `keras.applications` publishes it, or `.weights.h5` as `save_weights` writes it.

    Raises:
      UserError: if there is no such file, it cannot be read, or it holds other weights.
    """
    remedy = (
        f"take {application.lower()}_weights_tf_dim_ordering_tf_kernels_notop.h5 as keras.applications publishes it, "
        "or leave model.encoder_weights out to start from random weights"
    )
    if not os.path.isfile(path):
        raise UserError(f"model.encoder_weights: there is no file {path}; {remedy}")
    # Not straight into our layers: the old format goes by their order, which need not be Keras'.
    original = getattr(keras.applications, application)(include_top=False, weights=None, input_shape=(None, None, 3))
    try:
        original.load_weights(path)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise UserError(
            f"model.encoder_weights: {path} does not hold the weights of Keras' {application} without the top "
            f"({reason}); {remedy}"
        ) from error
    for layer in original.layers:
        if layer.weights:
            ours = encoder.get_layer(layer.name)
            # Ours may have no biases, where a batch normalization would take them out again.
            ours.set_weights(layer.get_weights()[: len(ours.weights)])
