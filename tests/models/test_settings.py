import pydantic
import pytest

from models.settings import ModelSettings

_UNET = {"normalization": "batch", "dropout": 0.0, "deep_supervision": True}
_PRETRAINED = {"encoder_weights": "auto", "enlargement": "auto"}


@pytest.mark.parametrize(
    ("chosen", "options"),
    [
        ({}, {**_UNET, **_PRETRAINED, "filters": 16}),
        ({"encoder": "plain"}, {**_UNET, "filters": 32, "depth": 4}),
        ({"encoder": "resnet50"}, {**_UNET, **_PRETRAINED, "filters": 16}),
        ({"encoder": "vgg16", "decoder": "segnet"}, {"filters": 64, "dropout": 0.0, "encoder_weights": "auto"}),
        (
            {"encoder": "resnet50", "decoder": "deeplab_v3_plus"},
            {"filters": 256, "dropout": 0.0, **_PRETRAINED},
        ),
        # What both have is the encoder's by default.
        (
            {"encoder": "plain", "decoder": "deeplab_v3_plus"},
            {"filters": 32, "normalization": "batch", "dropout": 0.0, "depth": 4},
        ),
    ],
)
def test_each_encoder_and_decoder_has_its_own_options_and_defaults(chosen, options):
    settings = ModelSettings(**chosen)
    assert settings.model_dump() == {"encoder": "efficientnet_lite0", "decoder": "unet", **chosen, **options}
    assert settings.without_defaults() == {"encoder": "efficientnet_lite0", "decoder": "unet", **chosen}
    # What travels to the trainer and with the model names all of them.
    assert ModelSettings.model_validate(settings.model_dump(mode="json")) == settings
    assert ModelSettings(**chosen, filters=8) != settings


def test_an_option_that_both_have_goes_to_both():
    settings = ModelSettings(encoder="plain", filters=8, depth=2, dropout=0.1)
    assert (settings.chosen_encoder.filters, settings.chosen_decoder.filters) == (8, 8)
    assert (settings.chosen_encoder.dropout, settings.chosen_decoder.dropout) == (0.1, 0.1)
    assert settings.without_defaults() == {
        "encoder": "plain",
        "decoder": "unet",
        "filters": 8,
        "depth": 2,
        "dropout": 0.1,
    }


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"encoder": "resnet50", "depth": 4},
            "depth is not an option of encoder resnet50 or decoder unet; "
            "its options are encoder_weights, enlargement, filters, normalization, dropout",
        ),
        ({"filters": 8, "depth": 3}, "depth is an option of encoder plain; write encoder: plain"),
        (
            {"encoder": "plain", "encoder_weights": "resnet50.h5"},
            "encoder_weights is not an option of encoder plain or decoder unet",
        ),
        (
            {"encoder": "vgg16", "decoder": "segnet", "normalization": "group"},
            "normalization is not an option of encoder vgg16 or decoder segnet",
        ),
        ({"encoder": "vgg16", "encoder_weights": "vgg16.h5", "filters": 32}, "fit 64 filters only"),
        ({"encoder": "resnet50", "encoder_weights": ""}, r"encoder_weights\n  String should have at least 1 character"),
        ({"decoder": "segnet"}, "decoder segnet takes an encoder .* such as vgg16; add encoder: vgg16"),
        ({"encoder": "vnet"}, "there is no encoder 'vnet'; there are efficientnet_lite0, .*plain, .*, and your own"),
        (
            {"decoder": "vnet"},
            r"there is no decoder 'vnet' \(did you mean unet\?\); there are unet, segnet, deeplab_v3_plus, and your",
        ),
        ({"encoder": ["plain"]}, r"encoder\n  Input should be a valid string"),
        ({"filters": 0}, r"filters\n  Input should be greater than or equal to 1"),
        ({"architecture": "unet"}, "the key architecture was removed; leave it out"),
        ({"architecture": "unet_resnet"}, "architecture was removed; write encoder: resnet50"),
        ({"architecture": ["unet"]}, "architecture was removed; write encoder and decoder"),
    ],
)
def test_what_means_nothing_is_refused(settings, message):
    with pytest.raises(pydantic.ValidationError, match=message):
        ModelSettings(**settings)


def test_nothing_is_a_problem_but_too_small_an_input():
    assert ModelSettings(encoder="plain", depth=5).size_problem(32) == ""
    assert ModelSettings(encoder="plain", depth=6).size_problem(32) == (
        "encoder plain needs an input of at least 64 pixels each way, not 32; a depth of at most 5 would do"
    )
    assert ModelSettings(encoder="resnet50").size_problem(24).endswith("at least 32 pixels each way, not 24")
