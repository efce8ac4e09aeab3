"""U-Net with a ResNet50 for its encoder."""

from __future__ import annotations

import keras

from models.architectures.blocks import ImageNetInput, UpsampleBlock
from models.architectures.resnet50 import resnet50_encoder


def build_unet_resnet(
    input_shape: tuple[int, int, int], num_classes: int, *, filters: int = 32, dropout: float = 0.0, dtype: str
) -> keras.Model:
    """Builds the decoder of a U-Net (Ronneberger, Fischer and Brox, 2015, section 2) on Keras' ResNet50.

    The skip connections are `conv1_relu` (stride 2), `conv2_block3_out` (4), `conv3_block4_out` (8) and
    `conv4_block6_out` (16); `conv5_block3_out` (32) is the bottom. ResNet50 has nothing at full resolution: there the
    image itself takes the skip connection's place.

    Args:
      input_shape: height and width, each at least 32, and channels, 3 (RGB) or 1 (grey).
      num_classes: C.
      filters: of the decoder at full resolution; each level below has twice as many.
      dropout: share of the channels dropped at the decoder's two deepest levels.
      dtype: Keras' dtype policy; weights and logits are float32 under any of them.

    Returns:
      A model from [batch, height, width, channels] normalized images to [batch, height, width, C] float32 logits.
    """
    image = keras.Input(input_shape, name="image")
    encoder = resnet50_encoder((*input_shape[:2], 3), dtype)
    *skips, outputs = encoder(ImageNetInput(name="imagenet_input", dtype="float32")(image))
    skips = [image, *skips]
    for level in reversed(range(len(skips))):
        block = UpsampleBlock(
            filters * 2**level, dropout=dropout if level >= 3 else 0.0, name=f"decoder_{level}", dtype=dtype
        )
        outputs = block([outputs, skips[level]])
    logits = keras.layers.Conv2D(num_classes, 1, dtype="float32", name="logits")(outputs)
    return keras.Model(image, logits, name="unet_resnet")
