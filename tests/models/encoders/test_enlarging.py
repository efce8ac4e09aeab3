"""Images enlarged for an encoder: where the maps lie then, and when that is done."""

import keras
import numpy as np
import pytest

from models.encoders.efficientnet_lite import EfficientNetLite0
from models.encoders.encoder import FeatureMaps
from models.encoders.enlarging import EnlargingEncoder
from models.network import build_model
from models.settings import ModelSettings
from models.training.settings import TrainerConfig


class Pooling(EnlargingEncoder):
    """Averages over windows, which keeps a ramp a ramp."""

    def network_maps(self, image, output_stride, dtype):
        return [
            FeatureMaps(keras.layers.AveragePooling2D(stride)(image), stride, (stride - 1) / 2)
            for stride in (2, 4, 8, 16)
            if stride <= output_stride
        ]

    def load_file(self, model, path):
        return []


@pytest.mark.parametrize("enlargement", [1, 2])
def test_maps_lie_where_their_strides_and_offsets_say(enlargement):
    image = keras.Input((48, 64, 1))
    features = Pooling(enlargement=enlargement).build(image, 32, "float32")
    assert [level.stride for level in features] == [stride // enlargement for stride in (2, 4, 8, 16)]
    model = keras.Model(image, [level.maps for level in features])
    columns = np.broadcast_to(np.arange(64, dtype=np.float32)[:, None], (1, 48, 64, 1))
    for level, maps in zip(features, model(columns), strict=True):
        expected = level.offset + level.stride * np.arange(maps.shape[2])
        # Beyond the first and last column bilinear resizing repeats them.
        np.testing.assert_allclose(maps[0, 0, 1:-1, 0], expected[1:-1], atol=1e-4)


def test_the_decoder_gets_the_output_stride_that_it_asks_for():
    image = keras.Input((64, 96, 3))
    for output_stride in (16, 32):
        features = EfficientNetLite0(enlargement=2).build(image, output_stride, "float32")
        assert [level.stride for level in features] == [1, 2, 4, 8, 16]
        assert [level.maps.shape[1:3] for level in features] == [(64 // s, 96 // s) for s in (1, 2, 4, 8, 16)]
    dilated = EfficientNetLite0(enlargement=1).build(image, 16, "float32")
    assert [level.stride for level in dilated] == [2, 4, 8, 16, 16]


@pytest.mark.parametrize(("size", "times"), [((128, 128), 2), ((512, 158), 2), ((159, 159), 1), ((224, 224), 1)])
def test_images_smaller_than_those_of_imagenet_are_enlarged(size, times):
    encoder = ModelSettings().for_input(*size).chosen_encoder
    assert encoder.enlargement == times
    model = build_model(ModelSettings(encoder_weights="none", filters=2), (*size, 3), 2, "float32")
    height, width = model.get_layer("efficientnet_lite").input_shape[1:3]
    assert (height, width) == (times * size[0], times * size[1])


def test_an_enlargement_that_is_given_is_kept():
    for times in (1, 2):
        assert ModelSettings(enlargement=times).for_input(128, 256).chosen_encoder.enlargement == times
    with pytest.raises(ValueError, match="enlargement"):
        ModelSettings(enlargement=3)
    assert ModelSettings(encoder="plain").for_input(64, 64) == ModelSettings(encoder="plain")


def test_training_at_small_sizes_is_that_of_the_same_network():
    config = TrainerConfig.model_validate(
        {
            "preprocessing": {"height": 256, "width": 256},
            "model": {"encoder_weights": "none", "filters": 2},
            "train": {"small_sizes": 0.5},
            "label_map": [],
        }
    )
    assert [halvings for halvings, _ in config.stages] == [2, 1, 0]
    shapes = []
    for halvings, _ in config.stages:
        halved = config.halved(halvings)
        size = (halved.preprocessing.height, halved.preprocessing.width, 3)
        shapes.append([weight.shape for weight in build_model(halved.model, size, 2, "float32").weights])
    assert shapes[0] == shapes[1] == shapes[2]
