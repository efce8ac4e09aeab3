import keras

from models.network import build_model
from models.settings import ModelSettings


def test_parts_are_those_of_the_paper():
    settings = ModelSettings(encoder="resnet50", decoder="deeplab_v3_plus", enlargement=1)
    model = build_model(settings, (128, 96, 3), 5, "float32")
    rates = {
        layer.name: layer.dilation_rate
        for layer in model.layers
        if layer.name.startswith("pyramid_rate") and layer.weights and isinstance(layer, keras.layers.Conv2D)
    }
    assert rates == {f"pyramid_rate_{rate}": (rate, rate) for rate in (6, 12, 18)}
    assert model.get_layer("pyramid").output.shape == (None, 8, 6, 5 * 256)
    assert model.get_layer("decoder").output.shape == (None, 32, 24, 256 + 48)
    wide, low = 4 * 256, 4 * 48  # Weights of batch normalization.
    pyramid = 2 * 2048 * 256 + 3 * 9 * 2048 * 256 + 5 * 256 * 256 + 6 * wide
    decoder = 256 * 48 + low + 9 * 304 * 256 + 9 * 256 * 256 + 2 * wide + 256 * 5 + 5
    assert model.count_params() == 23_587_712 + pyramid + decoder


def test_maps_of_any_encoder_are_brought_back_to_where_they_came_from():
    def places(**model):
        built = build_model(ModelSettings(decoder="deeplab_v3_plus", filters=4, **model), (64, 96, 1), 2, "float32")
        layers = [built.get_layer(name) for name in ("decoder_upsample", "logits")]
        return [(layer.height, layer.width, layer.stride, layer.offset) for layer in layers]

    assert places(encoder="resnet50", enlargement=1) == [(16, 24, 4, 0), (64, 96, 4, 0)]
    # Of an image that is enlarged, the first column lies a quarter of a pixel before that of the image itself.
    assert places(encoder="resnet50", enlargement=2) == [(16, 24, 4, 0), (64, 96, 4, -0.25)]
    # After pooling, maps at stride 4 begin 1.5 pixels into the image, those at stride 16 begin 7.5 pixels into it.
    assert places(encoder="plain") == [(16, 24, 4, 1.5), (64, 96, 4, 1.5)]
    assert places(encoder="vgg16") == [(16, 24, 8, 3.5), (64, 96, 4, 1.5)]
    assert places(encoder="plain", depth=1) == [(32, 48, 1, 0), (64, 96, 2, 0.5)]
