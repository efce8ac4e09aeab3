"""The part of a network that tells objects apart: maps of their centers and of the ways to them.

Cheng et al., "Panoptic-DeepLab", 2020, section 3.3: a convolution of its own, and a 1×1 convolution to the maps. They
are made at half of the image's resolution where the decoder has it, and enlarged; docs/instances.md compares this with
one 1×1 convolution for logits and all maps, at full resolution.
"""

from __future__ import annotations

import keras

from models.instances.scale import OBJECT_MAPS
from models.layers.blocks import convolve
from models.layers.sizes import UpsampleBilinear


def with_object_maps(model: keras.Model, features: keras.KerasTensor, dtype: str) -> keras.Model:
    """A model that gives the maps of objects, too.

    Args:
      model: from images [batch, height, width, any] to logits [batch, height, width, C].
      features: maps of it, from which those of objects are made; each pixel of theirs stands for a square of the image.
      dtype: Keras' dtype policy.

    Returns:
      A model to [batch, height, width, C + 3] float32: logits, peaks at centers, and ways to the center in rows and
      columns.
    """
    (image,), (logits,) = model.inputs, model.outputs
    height, width = image.shape[1:3]
    maps = convolve(features, features.shape[-1], 3, name="object_head", dtype=dtype)
    maps = keras.layers.Conv2D(OBJECT_MAPS, 1, dtype="float32", name="object_maps")(maps)
    if (stride := round(height / maps.shape[1])) > 1:
        upsample = UpsampleBilinear(
            height, width, stride, (stride - 1) / 2, dtype="float32", name="object_maps_enlarged"
        )
        maps = upsample(maps)
    both = keras.layers.Concatenate(name="logits_and_object_maps", dtype="float32")([logits, maps])
    return keras.Model(image, both, name=model.name)
