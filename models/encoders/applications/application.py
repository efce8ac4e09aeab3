"""What the encoders from `keras.applications` have in common."""

from __future__ import annotations

import abc
import warnings
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from models.encoders.encoder import FeatureMaps
from models.encoders.enlarging import EnlargingEncoder

if TYPE_CHECKING:
    import keras


class KerasEncoder(EnlargingEncoder):
    """One of Keras' networks without its top, as a model within the whole one, in which layers have Keras' names.

    Attributes:
      application: name of the network in `keras.applications`; in small letters, that of the model within.
      arguments: what the network takes beside the usual arguments.
      imagenet_input: arguments of `ImageNetInput`: how images were normalized for the published weights.
      first_stride: of the finest maps; further ones have twice the stride of those before.
      dilates: whether the last stage can stay at stride 16, by what `dilated` changes.
      padding: how the network pads where it strides: `same` as TensorFlow does, `symmetric`, or `none` because windows
        do not overlap.
    """

    application: ClassVar[str]
    arguments: ClassVar[dict[str, Any]] = {"include_preprocessing": False}
    imagenet_input: ClassVar[dict[str, Any]] = {}
    first_stride: ClassVar[int] = 2
    dilates: ClassVar[bool] = True
    padding: ClassVar[Literal["same", "symmetric", "none"]] = "same"

    @abc.abstractmethod
    def outputs(self, network: keras.Model) -> list[keras.KerasTensor]:
        """The last maps at each stride, from the finest to the coarsest."""

    def dilated(self, layer: keras.layers.Layer) -> dict[str, Any]:
        """What changes in a layer's configuration so that the last stage is dilated instead of striding."""
        return {}

    def network_maps(self, image: keras.KerasTensor, output_stride: int, dtype: str) -> list[FeatureMaps]:
        from models.layers.imagenet import ImageNetInput
        from models.layers.sizes import same_padding_offset

        dilate = self.dilates and output_stride == 16
        network = self.network(image.shape[1:], dtype, dilate=dilate)
        features = network(ImageNetInput(**self.imagenet_input, name="imagenet_input", dtype="float32")(image))
        levels = []
        for level, maps in enumerate(features):
            stride = min(self.first_stride * 2**level, 16 if dilate else 32)
            offset = 0.0 if self.padding == "symmetric" else (stride - 1) / 2
            if self.padding == "same":
                offset = same_padding_offset(image.shape[1:3], stride)
            levels.append(FeatureMaps(maps, stride, offset))
        return levels

    def network(self, shape: tuple[int, int, int], dtype: str, *, dilate: bool = False) -> keras.Model:
        """Builds Keras' network without the top, with random weights.

        Args:
          shape: height and width, each at least 32, and channels.
          dtype: Keras' dtype policy.
          dilate: keeps the last stage at stride 16: what would have come after the stride is dilated by 2, so that each
            point sees the same pixels as before.

        Returns:
          A model from [batch, height, width, channels], as `ImageNetInput` gives it, to the maps of `outputs`:
          [batch, ⌈height / stride⌉, ⌈width / stride⌉, any], rounded down where `padding` is `none`.
        """
        import keras

        from models.layers.normalization import BatchNormalization

        def clone(layer: keras.layers.Layer) -> keras.layers.Layer:
            config = layer.get_config()
            if isinstance(layer, keras.layers.Layer):  # Others are additions and the like.
                config |= {"dtype": dtype, **(self.dilated(layer) if dilate else {})}
            if isinstance(layer, keras.layers.BatchNormalization):
                ours = ("momentum", "synchronized")
                return BatchNormalization(**{key: value for key, value in config.items() if key not in ours})
            if isinstance(layer, keras.layers.Conv2D) and layer.groups == layer.filters > 1:
                # The same convolution; of groups TensorFlow has no kernel for CPUs, and Keras would let XLA compile it.
                kept = ("kernel_size", "padding", "use_bias", "name", "dtype")
                return keras.layers.DepthwiseConv2D(**{key: config[key] for key in kept})
            return layer.__class__.from_config(config)

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # It expects one or three channels.
            original = getattr(keras.applications, self.application)(
                include_top=False, weights=None, input_shape=shape, **self.arguments
            )
        network = keras.models.clone_model(original, clone_function=clone, recursive=True)
        return keras.Model(network.inputs, self.outputs(network), name=self.application.lower())

    def load_file(self, model: keras.Model, path: str) -> list[keras.layers.Layer]:
        from models.encoders.weights.keras_file import load_keras_weights

        assert self.published is not None
        network = model.get_layer(self.application.lower())
        return load_keras_weights(network, self.application, path, self.published.name)
