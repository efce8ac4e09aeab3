"""MobileNetV3 (Howard et al., "Searching for MobileNetV3", 2019, table 1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from models.encoders.applications.application import KerasEncoder
from models.encoders.weights.files import KerasFile

if TYPE_CHECKING:
    import keras

# The layers that end the blocks before each stride, at the strides 2, 4, 8, 16 and 32.
_FEATURES = (
    "expanded_conv_add",
    "expanded_conv_2_add",
    "expanded_conv_5_add",
    "expanded_conv_11_add",
    "expanded_conv_14_add",
)
_LAST_STAGE = ("expanded_conv_12_", "expanded_conv_13_", "expanded_conv_14_")


class MobileNetV3Large(KerasEncoder):
    """Keras' MobileNetV3-Large, up to its last block; for an output stride of 16 its last stage is dilated.

    Attributes:
      encoder_weights: `auto`, `imagenet`, `none` or a file, as in `PretrainedEncoder`.
      enlargement: of the image, `auto`, 1 or 2, as in `EnlargingEncoder`.
    """

    application: ClassVar[str] = "MobileNetV3Large"
    # Levels / 127.5 - 1.
    imagenet_input: ClassVar[dict[str, Any]] = {"mean": 127.5, "deviation": 127.5}
    published: ClassVar[KerasFile | None] = KerasFile(
        "weights_mobilenet_v3_large_224_1.0_float_no_top_v2.h5", "mobilenet_v3/", "07fb09a5933dd0c8eaafa16978110389"
    )

    def outputs(self, network: keras.Model) -> list[keras.KerasTensor]:
        return [network.get_layer(name).output for name in _FEATURES]

    def dilated(self, layer: keras.layers.Layer) -> dict[str, Any]:
        first, *others = (f"{block}depthwise" for block in _LAST_STAGE)
        if layer.name == f"{first}_pad":
            return {"padding": 2}  # Half of the 5×5 kernel, as without a stride.
        if layer.name == first:
            return {"strides": 1}
        return {"dilation_rate": 2} if layer.name in others else {}
