"""Keras' ResNet50 (He et al., "Deep Residual Learning for Image Recognition", 2015, table 1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from models.encoders.encoder import Encoder, FeatureMaps

if TYPE_CHECKING:
    import keras

# The last layer at each of the strides 2, 4, 8, 16 and 32, with 64, 256, 512, 1024 and 2048 channels.
FEATURES = ("conv1_relu", "conv2_block3_out", "conv3_block4_out", "conv4_block6_out", "conv5_block3_out")


class ResNet50(Encoder):
    """Keras' ResNet50 without the top; for an output stride of 16 its last stage is dilated.

    Attributes:
      encoder_weights: a local file with weights of Keras' ResNet50 without the top, from which training starts; nothing
        is ever downloaded. By default they are random.
    """

    encoder_weights: str = ""

    def build(self, image: keras.KerasTensor, output_stride: int, dtype: str) -> list[FeatureMaps]:
        from models.layers.imagenet import ImageNetInput

        encoder = resnet50_model((*image.shape[1:3], 3), dtype, dilate=output_stride == 16)
        features = encoder(ImageNetInput(name="imagenet_input", dtype="float32")(image))
        strides = [2, 4, 8, 16, min(32, output_stride)]
        return [FeatureMaps(maps, stride) for maps, stride in zip(features, strides, strict=True)]

    def load_weights(self, model: keras.Model) -> None:
        from models.encoders.weights.keras_file import load_keras_weights

        if self.encoder_weights:
            load_keras_weights(model.get_layer("resnet50"), "ResNet50", self.encoder_weights)


def resnet50_model(input_shape: tuple[int, int, int], dtype: str, *, dilate: bool) -> keras.Model:
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
    import keras

    from models.layers.blocks import BATCH_NORMALIZATION

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
