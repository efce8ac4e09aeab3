import pydantic
import pytest

from models.inputs.settings import PreprocessingSettings
from models.settings import ModelSettings
from models.training.settings import TrainerConfig, TrainSettings


@pytest.mark.parametrize(
    ("architecture", "filters", "depth"),
    [("unet", 32, 4), ("unet_resnet", 32, 5), ("segnet", 64, 5), ("deeplab_v3_plus", 256, 4)],
)
def test_each_architecture_has_its_own_defaults(architecture, filters, depth):
    settings = ModelSettings(architecture=architecture)
    assert (settings.filters, settings.depth) == (filters, depth)
    assert ModelSettings(architecture=architecture, filters=8).filters == 8
    # What travels to the trainer and with the model names all of them.
    assert ModelSettings.model_validate(settings.model_dump(mode="json")) == settings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"architecture": "segnet", "depth": 4}, "the depth of a segnet is 5; leave depth out"),
        ({"architecture": "unet_resnet", "normalization": "group"}, "a unet_resnet has batch normalization"),
        ({"architecture": "segnet", "encoder_weights": "vgg16.h5", "filters": 32}, "a segnet of 64 filters only"),
        ({"encoder_weights": "resnet50.h5"}, "there are no encoder_weights for a unet"),
        ({"architecture": "vnet"}, "should be 'unet', 'unet_resnet', 'segnet' or 'deeplab_v3_plus'"),
        ({"architecture": ["unet"]}, "should be 'unet'"),
    ],
)
def test_what_means_nothing_is_refused(settings, message):
    with pytest.raises(pydantic.ValidationError, match=message):
        ModelSettings(**settings)


@pytest.mark.parametrize("architecture", ["unet_resnet", "segnet", "deeplab_v3_plus"])
def test_an_input_too_small_for_the_encoder_is_refused(architecture):
    with pytest.raises(pydantic.ValidationError, match=rf"a {architecture} needs an input of at least 32 .* 24"):
        TrainerConfig(
            preprocessing=PreprocessingSettings(height=64, width=24),
            model=ModelSettings(architecture=architecture),
            train=TrainSettings(),
            label_map=[],
        )
