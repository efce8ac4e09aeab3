"""Architectures: one file each, all from normalized images to logits at the images' resolution."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras

    from models.settings import ModelSettings


def build_model(
    settings: ModelSettings, input_shape: tuple[int, int, int], num_classes: int, dtype: str
) -> keras.Model:
    """Builds the configured architecture, with random weights.

    Args:
      settings: of the model.
      input_shape: height and width, each at least `settings.smallest_input`, and channels, 3 (RGB) or 1 (grey).
      num_classes: C.
      dtype: Keras' dtype policy, such as `mixed_bfloat16`; weights and logits are float32 under any of them.

    Returns:
      A model from [batch, height, width, channels] normalized images to [batch, height, width, C] float32 logits.

    Raises:
      ValueError: if the input is too small.
    """
    if min(input_shape[:2]) < settings.smallest_input:
        raise ValueError(
            f"an input of {input_shape[0]}x{input_shape[1]} is too small: {settings.architecture} takes at least "
            f"{settings.smallest_input} pixels each way"
        )
    common: dict[str, Any] = {"filters": settings.filters, "dropout": settings.dropout, "dtype": dtype}
    # Imported only here, so that this package can be imported without Keras.
    if settings.architecture == "unet":
        from models.architectures.unet import build_unet

        return build_unet(
            input_shape, num_classes, depth=settings.depth, normalization=settings.normalization, **common
        )
    if settings.architecture == "unet_resnet":
        from models.architectures.unet_resnet import build_unet_resnet

        return build_unet_resnet(input_shape, num_classes, **common)
    if settings.architecture == "segnet":
        from models.architectures.segnet import build_segnet

        return build_segnet(input_shape, num_classes, **common)
    from models.architectures.deeplab_v3_plus import build_deeplab_v3_plus

    return build_deeplab_v3_plus(input_shape, num_classes, **common)
