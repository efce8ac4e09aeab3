"""Keras' ResNet50 as an encoder (He et al., "Deep Residual Learning for Image Recognition", 2015, table 1)."""

from __future__ import annotations

from typing import Any

import keras

from models.architectures.blocks import BATCH_NORMALIZATION

# The last layer at each of the strides 2, 4, 8, 16 and 32, with 64, 256, 512, 1024 and 2048 channels.
FEATURES = ("conv1_relu", "conv2_block3_out", "conv3_block4_out", "conv4_block6_out", "conv5_block3_out")


def resnet50_encoder(input_shape: tuple[int, int, int], dtype: str, *, dilate: bool = False) -> keras.Model:
    """Builds `keras.applications.ResNet50` without the top, with random weights.

    Its layers have Keras' names, so Keras' weights fit whatever the dtype policy and the dilation.

    Args:
      input_shape: height and width, each at least 32, and channels, which must be 3.
      dtype: Keras' dtype policy.
      dilate: keeps the last stage at stride 16. The stage's 3×3 convolutions, which would have come after the stride,
        are dilated by 2, so that each sees the same pixels as before.

    Returns:
      A model `resnet50` from [batch, height, width, 3] images as `ImageNetInput` gives them to the maps of `FEATURES`:
      [batch, ⌈height / stride⌉, ⌈width / stride⌉, channels]. Column i of a map lies at column stride · i of the image.
    """

    def clone(layer: keras.layers.Layer) -> keras.layers.Layer:
        config = {**layer.get_config(), "dtype": dtype}
        if isinstance(layer, keras.layers.BatchNormalization):
            config |= BATCH_NORMALIZATION
        if dilate and layer.name.startswith("conv5_") and isinstance(layer, keras.layers.Conv2D):
            config |= {"strides": 1, "dilation_rate": 2 if layer.kernel_size == (3, 3) else 1}
        return layer.__class__.from_config(config)

    original = keras.applications.ResNet50(include_top=False, weights=None, input_shape=input_shape)
    encoder = keras.models.clone_model(original, clone_function=clone)
    features: list[Any] = [encoder.get_layer(name).output for name in FEATURES]
    return keras.Model(encoder.inputs, features, name="resnet50")
