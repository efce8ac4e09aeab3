"""ConvNeXt (Liu et al., "A ConvNet for the 2020s", 2022, section 3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from models.encoders.applications.application import KerasEncoder
from models.encoders.weights.files import KerasFile

if TYPE_CHECKING:
    import keras


class ConvNeXtTiny(KerasEncoder):
    """Keras' ConvNeXt-T without the top. It has nothing at stride 2, since it begins with windows of 4×4 pixels.

    Attributes:
      encoder_weights: `auto`, `imagenet`, `none` or a file, as in `PretrainedEncoder`.
      enlargement: of the image, `auto`, 1 or 2, as in `EnlargingEncoder`.
    """

    application: ClassVar[str] = "ConvNeXtTiny"
    first_stride: ClassVar[int] = 4
    dilates: ClassVar[bool] = False
    padding: ClassVar[Literal["same", "symmetric", "none"]] = "none"
    published: ClassVar[KerasFile | None] = KerasFile(
        "convnext_tiny_notop.h5",
        "convnext/",
        "d547c096cabd03329d7be5562c5e14798aa39ed24b474157cef5e85ab9e49ef1",
    )

    def outputs(self, network: keras.Model) -> list[keras.KerasTensor]:
        # Stages end in additions without a name, so this asks what comes after them.
        after = [network.get_layer(f"convnext_tiny_downsampling_block_{index}") for index in range(3)]
        return [layer.input for layer in (*after, network.layers[-1])]
