import keras
import numpy as np

from models.network import build_model
from models.settings import ModelSettings


def test_parameters_are_those_of_vgg16_and_of_the_paper():
    model = build_model(ModelSettings(encoder="vgg16", decoder="segnet"), (64, 64, 3), 12, "float32")
    kernels = {layer.name: layer.kernel.shape for layer in model.layers if isinstance(layer, keras.layers.Conv2D)}
    assert len(kernels) == 26
    encoder = [shape for name, shape in kernels.items() if name.startswith("block")]
    # Keras' VGG16 without the top has 14,714,688 parameters, of which 4,224 are biases.
    assert sum(np.prod(shape) for shape in encoder) == 14_714_688 - 4_224
    # The paper's model has 29.4 million parameters for the 11 classes of CamVid and the background.
    assert round(model.count_params() / 1e6, 2) == 29.46


def test_dropout_is_at_the_two_deepest_levels_of_encoder_and_decoder():
    model = build_model(
        ModelSettings(encoder="vgg16", decoder="segnet", filters=4, dropout=0.5), (64, 64, 3), 2, "float32"
    )
    names = {layer.name for layer in model.layers if isinstance(layer, keras.layers.SpatialDropout2D)}
    assert names == {"block4_dropout", "block5_dropout", "decoder4_dropout", "decoder5_dropout"}
