import keras
import numpy as np

from models.encoders.applications.resnet50 import ResNet50


def copy_weights(source, target):
    for layer in (layer for layer in source.layers if layer.weights):
        target.get_layer(layer.name).set_weights(layer.get_weights())


def test_parameters_are_those_of_keras():
    # https://keras.io/api/applications: 25,636,712 with the top, of 2048 · 1000 + 1000.
    assert ResNet50().network((64, 64, 3), "float32").count_params() == 25_636_712 - 2_049_000 == 23_587_712


def test_features_are_at_strides_2_to_32():
    image = keras.Input((65, 96, 1))
    features = ResNet50(enlargement=1).build(image, 32, "mixed_bfloat16")
    shapes = [(None, 33, 48, 64), (None, 17, 24, 256), (None, 9, 12, 512), (None, 5, 6, 1024), (None, 3, 3, 2048)]
    assert [level.maps.shape for level in features] == shapes
    assert [level.stride for level in features] == [2, 4, 8, 16, 32]
    assert features[-1].maps.dtype == "bfloat16"
    dilated = ResNet50(enlargement=1).build(image, 16, "float32")
    assert [level.stride for level in dilated] == [2, 4, 8, 16, 16]
    assert dilated[-1].maps.shape == (None, 5, 6, 2048)


def test_dilation_gives_the_same_maps_at_more_places():
    original = keras.applications.ResNet50(include_top=False, weights=None, input_shape=(96, 80, 3))
    image = np.random.default_rng(0).normal(0, 58, (1, 96, 80, 3)).astype(np.float32)
    for dilate in (False, True):
        encoder = ResNet50().network((96, 80, 3), "float32", dilate=dilate)
        copy_weights(original, encoder)
        maps = encoder(image)[-1]
        assert maps.shape == ((1, 6, 5, 2048) if dilate else (1, 3, 3, 2048))
        expected = original(image)
        np.testing.assert_allclose(maps[:, ::2, ::2] if dilate else maps, expected, rtol=1e-3, atol=1e-3)
