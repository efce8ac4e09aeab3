"""A user's own encoder, decoder and loss: those of docs/extending.md."""

import pathlib
import re
import subprocess
import sys

import keras
import numpy as np
import pydantic
import pytest

from models.settings import ModelSettings
from models.training.settings import TrainerConfig, TrainSettings
from models.training.trainer import compiled_model

pytestmark = pytest.mark.one_line
ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture
def my_team(tmp_path, monkeypatch):
    """The documented package, where Python finds it; returns the file."""
    _, _, section = (ROOT / "docs" / "extending.md").read_text().partition("### An encoder")
    (tmp_path / "my_team").mkdir()
    path = tmp_path / "my_team" / "networks.py"
    path.write_text(re.search(r"```python\n(.*?)```", section, re.DOTALL).group(1))
    monkeypatch.syspath_prepend(tmp_path)
    yield path
    for name in ("my_team.networks", "my_team"):
        sys.modules.pop(name, None)


def trainer_config(model, loss):
    return TrainerConfig.model_validate(
        {
            "preprocessing": {"height": 33, "width": 40, "channels": 1},
            "model": model,
            "train": {"loss": loss, "learning_rate": 0.01, "warmup_epochs": 0},
            "label_map": [],
        }
    )


@pytest.mark.parametrize(
    "model",
    [
        {"encoder": "my_team.networks:Strided", "decoder": "my_team.networks:Nearest", "width": 2},
        {"encoder": "my_team.networks:Strided", "decoder": "unet", "width": 2, "filters": 4},
    ],
    ids=lambda model: f"{model['encoder']} {model['decoder']}",
)
def test_they_train(my_team, model):
    config = trainer_config(model, {"my_team.networks:Smoothed": {"smoothing": 0.05}, "dice": 0.5})
    # As it travels to the trainer.
    config = TrainerConfig.model_validate(config.model_dump(mode="json"))
    assert config.train.loss["my_team.networks:Smoothed"].smoothing == 0.05
    keras.utils.set_random_seed(0)
    trained = compiled_model(config, 2, "float32")
    images = np.random.default_rng(0).normal(size=(4, 33, 40, 1)).astype(np.float32)
    labels = np.repeat(np.repeat(images[:, ::8, ::8, 0] > 0, 8, axis=1), 8, axis=2)[:, :33, :40].astype(np.uint8)
    images += labels[..., np.newaxis]
    labels[:, :2] = 255
    losses = [float(trained.train_on_batch(images, labels)[0]) for _ in range(5)]
    assert losses[-1] < losses[0]


def test_a_loss_of_pixels_is_their_mean(my_team):
    from models.losses.segmentation_loss import SegmentationLoss

    labels = np.random.default_rng(0).integers(0, 3, (2, 4, 5))
    logits = np.random.default_rng(1).normal(size=(2, 4, 5, 3)).astype(np.float32)
    expected = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.2)(np.eye(3)[labels], logits)
    terms = TrainSettings(loss={"my_team.networks:Smoothed": {"smoothing": 0.2, "weight": 3}}).loss
    assert float(SegmentationLoss(terms.values())(labels, logits)) == pytest.approx(3 * float(expected), rel=1e-5)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"encoder": "my_team.network:Strided"}, "there is no module my_team.network; install it"),
        ({"encoder": "my_team.networks:Stride"}, "networks.py has no Stride"),
        ({"encoder": "my_team.networks:Nearest"}, "must be a class that derives from models.encoders.encoder.Encoder"),
        ({"decoder": "my_team.networks:Strided"}, "must be a class that derives from models.decoders.decoder.Decoder"),
        (
            {"encoder": "my_team.networks:Strided", "depth": 3},
            "depth is not an option of encoder my_team.networks:Strided or decoder unet; its options are width",
        ),
        ({"encoder": "my_team.networks:Strided", "width": 0}, r"width\n  Input should be greater than or equal to 1"),
        ({"encoder": "my_team.networks:Strided", "decoder": "segnet"}, "decoder segnet takes an encoder that keeps"),
    ],
)
def test_what_is_wrong_is_refused_when_the_configuration_is_read(my_team, model, message):
    with pytest.raises(pydantic.ValidationError, match=message):
        ModelSettings(**model)


def test_a_loss_says_how_it_is_reduced(my_team):
    with my_team.open("a") as file:
        file.write("\nfrom models.losses import Loss\nclass Neither(Loss):\n    def values(self, *_):\n        pass\n")
    with pytest.raises(pydantic.ValidationError, match=r"Neither must derive from PixelLoss or RegionLoss"):
        TrainSettings(loss="my_team.networks:Neither")
    with pytest.raises(pydantic.ValidationError, match=r"edge is not an option of loss my_team.networks:Smoothed"):
        TrainSettings(loss={"my_team.networks:Smoothed": {"edge": 1}})


def test_logits_of_another_shape_are_refused(my_team):
    from data.base.errors import UserError

    my_team.write_text(my_team.read_text().replace("UpSampling2D(4,", "UpSampling2D(2,").replace("fit_size(", "("))
    my_team.write_text(my_team.read_text().replace("(enlarged, image.shape[1], image.shape[2])", "enlarged"))
    config = trainer_config({"encoder": "my_team.networks:Strided", "decoder": "my_team.networks:Nearest"}, "dice")
    with pytest.raises(
        UserError, match=r"Nearest gives logits of shape \(None, 18, 20, 2\) in float32, not \(None, 33"
    ):
        compiled_model(config, 2, "float32")


_READ = """
import sys
from models.training.settings import TrainSettings
from models.settings import ModelSettings
ModelSettings(encoder="my_team.networks:Strided", decoder="my_team.networks:Nearest")
ModelSettings(encoder="vgg16", decoder="segnet")
TrainSettings(loss={"my_team.networks:Smoothed": 1, "lovasz_softmax": 1})
print([name for name in ("keras", "tensorflow", "numpy") if name in sys.modules])
"""


def test_reading_settings_imports_nothing_heavy(my_team):
    path = f"{ROOT}:{my_team.parents[1]}"
    finished = subprocess.run(
        [sys.executable, "-c", _READ], env={"PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    assert finished.stdout == "[]\n", finished.stderr
