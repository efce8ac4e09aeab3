"""ResNet50 (He et al., "Deep Residual Learning for Image Recognition", 2015, table 1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from models.encoders.applications.application import KerasEncoder
from models.encoders.weights.files import KerasFile

if TYPE_CHECKING:
    import keras

# The last layer at each of the strides 2, 4, 8, 16 and 32, with 64, 256, 512, 1024 and 2048 channels.
_FEATURES = ("conv1_relu", "conv2_block3_out", "conv3_block4_out", "conv4_block6_out", "conv5_block3_out")


class ResNet50(KerasEncoder):
    """Keras' ResNet50 without the top; for an output stride of 16 its last stage is dilated.

    Attributes:
      encoder_weights: `auto`, `imagenet`, `none` or a file, as in `PretrainedEncoder`.
      enlargement: of the image, `auto`, 1 or 2, as in `EnlargingEncoder`.
    """

    application: ClassVar[str] = "ResNet50"
    arguments: ClassVar[dict[str, Any]] = {}
    # Levels less ImageNet's mean, not divided by anything.
    imagenet_input: ClassVar[dict[str, Any]] = {"deviation": 1.0, "bgr": True}
    padding: ClassVar[Literal["same", "symmetric", "none"]] = "symmetric"
    published: ClassVar[KerasFile | None] = KerasFile(
        "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5", "resnet/", "4d473c1dd8becc155b73f8504c6f6626"
    )

    def outputs(self, network: keras.Model) -> list[keras.KerasTensor]:
        return [network.get_layer(name).output for name in _FEATURES]

    def dilated(self, layer: keras.layers.Layer) -> dict[str, Any]:
        # The stage's 3×3 convolutions come after its stride.
        if not layer.name.startswith("conv5_") or not hasattr(layer, "kernel_size"):
            return {}
        return {"strides": 1, "dilation_rate": 2 if layer.kernel_size == (3, 3) else 1}
