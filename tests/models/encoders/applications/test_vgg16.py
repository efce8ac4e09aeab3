import itertools

import keras
import pydantic
import pytest

from models.encoders.applications.vgg16 import VGG16


def test_maps_are_those_before_each_pooling_and_after_the_last():
    features = VGG16(filters=4).build(keras.Input((65, 96, 1)), 32, "float32")
    shapes = [(65, 96, 4), (32, 48, 8), (16, 24, 16), (8, 12, 32), (4, 6, 32), (2, 3, 32)]
    assert [level.maps.shape for level in features] == [(None, *shape) for shape in shapes]
    assert [level.stride for level in features] == [1, 2, 4, 8, 16, 32]
    assert [level.offset for level in features] == [0, 0.5, 1.5, 3.5, 7.5, 15.5]
    # The places of a level are those in its windows, of which the next level has one value each.
    assert [level.places.shape for level in features[:-1]] == [
        (None, *below[:2], shape[2]) for shape, below in itertools.pairwise(shapes)
    ]
    assert features[-1].places is None


def test_pretrained_weights_need_64_filters():
    for weights in ("vgg16.h5", "imagenet"):
        with pytest.raises(pydantic.ValidationError, match="weights: pretrained weights fit 64 filters only; leave"):
            VGG16(filters=32, encoder_weights=weights)
    assert VGG16(filters=32).starting_weights().words == "random weights (pretrained weights fit 64 filters only)"
