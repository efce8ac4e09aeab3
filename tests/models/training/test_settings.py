import pydantic
import pytest

from models.inputs.settings import PreprocessingSettings
from models.losses.cross_entropy import CrossEntropy
from models.losses.dice import Dice
from models.losses.focal import Focal
from models.settings import ModelSettings
from models.training.settings import TrainerConfig, TrainSettings


def trainer_config(model=None, **preprocessing):
    return TrainerConfig(
        preprocessing=PreprocessingSettings(**preprocessing),
        model=ModelSettings(**{"encoder": "plain", **(model or {})}),
        train=TrainSettings(),
        label_map=[],
    )


def test_an_input_too_small_for_the_encoder_is_refused():
    with pytest.raises(pydantic.ValidationError, match=r"encoder vgg16 needs an input of at least 32 .* not 24"):
        trainer_config({"encoder": "vgg16", "decoder": "segnet"}, height=64, width=24)


def test_another_encoder_or_decoder_brings_its_own_defaults():
    config = trainer_config({"dropout": 0.1})
    changed = config.with_values({"model.encoder": "resnet50", "model.decoder": "deeplab_v3_plus"})
    assert changed.model == ModelSettings(encoder="resnet50", decoder="deeplab_v3_plus", dropout=0.1)
    deeper = config.with_values({"model.depth": 3})
    with pytest.raises(pydantic.ValidationError, match="depth is not an option of encoder resnet50"):
        deeper.with_values({"model.encoder": "resnet50"})


def test_pretrained_weights_may_learn_as_fast_as_the_others():
    assert TrainSettings(pretrained_learning_rate=1).pretrained_learning_rate == 1
    with pytest.raises(pydantic.ValidationError, match="less than or equal to 1"):
        TrainSettings(pretrained_learning_rate=1.5)


def test_a_loss_is_a_name_or_a_sum_by_weights_or_options():
    assert TrainSettings().loss == {"cross_entropy": CrossEntropy()}
    assert TrainSettings(loss="focal").loss == {"focal": Focal(weight=1, gamma=2)}
    settings = TrainSettings(loss={"cross_entropy": 1, "dice": 0.5, "focal": {"gamma": 3}})
    assert settings.loss == {"cross_entropy": CrossEntropy(), "dice": Dice(weight=0.5), "focal": Focal(gamma=3)}
    assert settings.model_dump(mode="json")["loss"] == {
        "cross_entropy": {"weight": 1.0},
        "dice": {"weight": 0.5},
        "focal": {"weight": 1.0, "gamma": 3.0},
    }
    assert TrainSettings.model_validate_json(settings.model_dump_json()) == settings


def test_several_workers_do_not_train_by_the_clock():
    assert TrainSettings(minutes=1.5).minutes == 1.5
    with pytest.raises(pydantic.ValidationError, match=r"minutes: workers .* set epochs instead"):
        TrainSettings(minutes=30, strategy="multi_worker")


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        ("hinge", "there is no loss 'hinge'; there are cross_entropy, focal, dice, lovasz_softmax, and your own"),
        ({}, r"loss\n  .*at least 1 item"),
        (["dice"], "takes a name, or weights or options by names"),
        ({"dice": 0}, r"loss\.dice\.weight\n  Input should be greater than 0"),
        ({"dice": -1}, r"loss\.dice\.weight\n  Input should be greater than 0"),
        ({"dice": None}, r"loss\.dice\.weight\n  Input should be a valid number"),
        ({"dice": {"gamma": 2}}, "gamma is not an option of loss dice; its options are weight"),
        ({"focal": {"gamma": 0.5}}, r"loss\.focal\.gamma\n  Input should be greater than or equal to 1"),
    ],
)
def test_a_loss_that_there_is_not_is_refused(loss, message):
    with pytest.raises(pydantic.ValidationError, match=message):
        TrainSettings(loss=loss)
