"""EfficientNetV2 (Tan and Le, "EfficientNetV2: Smaller Models and Faster Training", 2021, table 4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from models.encoders.applications.application import KerasEncoder
from models.encoders.weights.files import KerasFile

if TYPE_CHECKING:
    import keras

# The blocks that end at the strides 2, 4, 8, 16 and 32.
_BLOCKS = ("block1", "block2", "block3", "block5", "block6")


def _file(variant: str, md5: str) -> KerasFile:
    return KerasFile(f"efficientnetv2-{variant}_notop.h5", "efficientnet_v2/", md5)


class EfficientNetV2(KerasEncoder):
    """Keras' EfficientNetV2, up to its last block: the convolution after it, to 1280 channels, is for classification.

    For an output stride of 16 the last block is dilated.
    """

    def outputs(self, network: keras.Model) -> list[keras.KerasTensor]:
        names = [layer.name for layer in network.layers]
        ends = ([name for name in names if name.startswith(block)][-1] for block in _BLOCKS)
        return [network.get_layer(name).output for name in ends]

    def dilated(self, layer: keras.layers.Layer) -> dict[str, Any]:
        if not layer.name.startswith("block6") or not layer.name.endswith("dwconv2"):
            return {}
        # The first one is what strides.
        return {"strides": 1, "dilation_rate": 1 if layer.name.startswith("block6a") else 2}


class EfficientNetV2B0(EfficientNetV2):
    """EfficientNetV2-B0, 5.7 million parameters.

    Attributes:
      encoder_weights: `auto`, `imagenet`, `none` or a file, as in `PretrainedEncoder`.
      enlargement: of the image, `auto`, 1 or 2, as in `EnlargingEncoder`.
    """

    application: ClassVar[str] = "EfficientNetV2B0"
    published: ClassVar[KerasFile | None] = _file("b0", "893217f2bb855e2983157299931e43ff")


class EfficientNetV2B1(EfficientNetV2):
    """EfficientNetV2-B1, 6.7 million parameters.

    Attributes:
      encoder_weights: `auto`, `imagenet`, `none` or a file, as in `PretrainedEncoder`.
      enlargement: of the image, `auto`, 1 or 2, as in `EnlargingEncoder`.
    """

    application: ClassVar[str] = "EfficientNetV2B1"
    published: ClassVar[KerasFile | None] = _file("b1", "0e80663031ca32d657f9caa404b6ec37")


class EfficientNetV2B2(EfficientNetV2):
    """EfficientNetV2-B2, 8.5 million parameters.

    Attributes:
      encoder_weights: `auto`, `imagenet`, `none` or a file, as in `PretrainedEncoder`.
      enlargement: of the image, `auto`, 1 or 2, as in `EnlargingEncoder`.
    """

    application: ClassVar[str] = "EfficientNetV2B2"
    published: ClassVar[KerasFile | None] = _file("b2", "1dfe2e7a5d45b6632553a8961ea609eb")


class EfficientNetV2B3(EfficientNetV2):
    """EfficientNetV2-B3, 12.6 million parameters.

    Attributes:
      encoder_weights: `auto`, `imagenet`, `none` or a file, as in `PretrainedEncoder`.
      enlargement: of the image, `auto`, 1 or 2, as in `EnlargingEncoder`.
    """

    application: ClassVar[str] = "EfficientNetV2B3"
    published: ClassVar[KerasFile | None] = _file("b3", "f6abf7b5849ac99a89b50dd3fd532856")


class EfficientNetV2S(EfficientNetV2):
    """EfficientNetV2-S, 20.0 million parameters.

    Attributes:
      encoder_weights: `auto`, `imagenet`, `none` or a file, as in `PretrainedEncoder`.
      enlargement: of the image, `auto`, 1 or 2, as in `EnlargingEncoder`.
    """

    application: ClassVar[str] = "EfficientNetV2S"
    # Levels / 128 - 1.
    imagenet_input: ClassVar[dict[str, Any]] = {"mean": 128.0, "deviation": 128.0}
    published: ClassVar[KerasFile | None] = _file("s", "af0682fb74e8c54910f2d4393339c070")
