import pathlib

import h5py
import keras
import numpy as np
import pytest

from data.base.errors import UserError
from models.decoders.deep_supervision import without_supervision
from models.encoders.applications.resnet50 import ResNet50
from models.encoders.weights.channels import over_channels
from models.inputs.settings import PreprocessingSettings
from models.network import build_model
from models.settings import ModelSettings
from models.training.settings import TrainerConfig, TrainSettings
from models.training.trainer import compiled_model

_SHAPE = (32, 32, 3)


@pytest.fixture(scope="module")
def resnet50():
    return keras.applications.ResNet50(include_top=False, weights=None, input_shape=_SHAPE)


@pytest.fixture(scope="module")
def vgg16():
    return keras.applications.VGG16(include_top=False, weights=None, input_shape=_SHAPE)


def save(model, path):
    """Writes weights; to `.h5` in the old format, without the model around them, as the published files are."""
    if path.name.endswith(".weights.h5"):
        model.save_weights(path)
    else:
        whole = path.with_name("whole.h5")
        model.save(whole)
        with h5py.File(whole) as source, h5py.File(path, "w") as target:
            weights = source["model_weights"]
            target.attrs.update(weights.attrs)
            for name in weights:
                weights.copy(name, target)
    return str(path)


def loaded(settings):
    """The built model with the encoder's pretrained weights, under another dtype policy than theirs."""
    model = build_model(settings, _SHAPE, 2, "mixed_bfloat16")
    settings.chosen_encoder.load_weights(model)
    return model


@pytest.mark.parametrize(
    ("name", "decoder"), [("resnet50_notop.h5", "unet"), ("resnet50.weights.h5", "deeplab_v3_plus")]
)
def test_weights_of_resnet50_reach_the_encoder(resnet50, name, decoder, tmp_path):
    path = save(resnet50, tmp_path / name)
    model = loaded(ModelSettings(encoder="resnet50", decoder=decoder, filters=4, encoder_weights=path))
    encoder = model.get_layer("resnet50")
    for layer in (layer for layer in resnet50.layers if layer.weights):
        for value, expected in zip(encoder.get_layer(layer.name).get_weights(), layer.get_weights(), strict=True):
            np.testing.assert_array_equal(value, expected)


@pytest.mark.parametrize(("name", "decoder"), [("vgg16_notop.h5", "unet"), ("vgg16.weights.h5", "segnet")])
def test_weights_of_vgg16_reach_the_encoder(vgg16, name, decoder, tmp_path):
    path = save(vgg16, tmp_path / name)
    model = loaded(ModelSettings(encoder="vgg16", decoder=decoder, encoder_weights=path))
    for layer in vgg16.layers:
        if layer.weights:
            np.testing.assert_array_equal(model.get_layer(layer.name).kernel, layer.kernel)


def test_a_file_that_cannot_be_used_is_named(vgg16, tmp_path):
    model = build_model(ModelSettings(encoder="resnet50", filters=4), _SHAPE, 2, "float32")
    before = model.get_weights()
    for name in ("text.h5", "text.ckpt"):
        (tmp_path / name).write_text("no weights")
    others = [save(vgg16, tmp_path / name) for name in ("vgg16_notop.h5", "vgg16.weights.h5")]
    for path in (*others, *(str(tmp_path / name) for name in ("text.h5", "text.ckpt", "missing.h5"))):
        problem = f"there is no file {path}" if "missing" in path else f"{path} does not hold the weights of Keras' R"
        with pytest.raises(UserError) as raised:
            ResNet50(encoder_weights=path).load_weights(model)
        assert str(raised.value).startswith(f"model.encoder_weights: {problem}")
        remedy = (
            "correct the path" if "missing" in path else "take resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5"
        )
        assert remedy in str(raised.value)
    for value, expected in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(value, expected)


def test_training_starts_from_them_and_serving_does_without(resnet50, tmp_path):
    path = save(resnet50, tmp_path / "resnet50_notop.h5")
    config = TrainerConfig(
        preprocessing=PreprocessingSettings(height=32, width=32, channels=1),
        model=ModelSettings(encoder="resnet50", filters=4, encoder_weights=path),
        train=TrainSettings(),
        label_map=[],
    )
    model = compiled_model(config, 2, "float32")
    kernel = model.get_layer("resnet50").get_layer("conv1_conv").kernel
    filters = over_channels(resnet50.get_layer("conv1_conv").kernel.numpy(), 1)
    np.testing.assert_array_equal(kernel, filters)
    pathlib.Path(path).unlink()
    assert (
        build_model(config.model, (32, 32, 1), 2, "float32").count_params() == without_supervision(model).count_params()
    )
    with pytest.raises(UserError, match="there is no file"):
        compiled_model(config, 2, "float32")
