"""Pretrained weights of an encoder, from a file that is already there."""

from __future__ import annotations

import os

import keras

from data.base.errors import UserError


def load_encoder_weights(model: keras.Model, path: str) -> None:
    """Loads weights of Keras' ResNet50 or VGG16 without the top into the encoder of a model.

    Args:
      model: a `unet_resnet`, `deeplab_v3_plus` or `segnet`.
      path: a local file, `.h5` as `keras.applications` publishes it, or `.weights.h5` as `save_weights` writes it.

    Raises:
      UserError: if there is no such file, it cannot be read, or it holds other weights.
    """
    vgg = model.name == "segnet"
    application = keras.applications.VGG16 if vgg else keras.applications.ResNet50
    name = application.__name__
    remedy = (
        f"take {name.lower()}_weights_tf_dim_ordering_tf_kernels_notop.h5 as keras.applications publishes it, "
        "or leave model.encoder_weights out to start from random weights"
    )
    if not os.path.isfile(path):
        raise UserError(f"model.encoder_weights: there is no file {path}; {remedy}")
    # Not straight into our layers: their order, which is what the old format goes by, need not be Keras'.
    original = application(include_top=False, weights=None, input_shape=(None, None, 3))
    try:
        original.load_weights(path)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise UserError(
            f"model.encoder_weights: {path} does not hold the weights of Keras' {name} without the top ({reason}); "
            f"{remedy}"
        ) from error
    encoder = model if vgg else model.get_layer("resnet50")
    for layer in original.layers:
        if layer.weights:
            ours = encoder.get_layer(layer.name)
            # VGG16 has biases; ours, which the batch normalization takes out again, are left away.
            ours.set_weights(layer.get_weights()[: len(ours.weights)])
