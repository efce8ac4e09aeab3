"""Which model a prediction takes."""

import numpy as np
import pytest

from data.base.errors import UserError
from data.decoding.images import encode_png
from models.serving.predict import Predictor
from models.serving.server.loaded_model import Follower

BRIGHT = encode_png(np.full([20, 30], 200, np.uint8))


@pytest.mark.parametrize("name", ["[1] a*?", "ü 'b' \"c\" #%", "-d", "e\\f"])
def test_a_model_may_be_in_a_folder_of_any_name(tmp_path, push, name):
    push(tmp_path / name, 1, 2)
    for model in (tmp_path / name, tmp_path / name / "1"):
        class_ids, _ = Predictor(str(model))(BRIGHT, 20, 30)
        assert np.array_equal(class_ids, np.full([20, 30], 2))
    follower = Follower(str(tmp_path / name), poll_seconds=3600)
    assert follower.model.version == 1
    follower.stop()


def test_the_newest_model_predicts_whatever_folders_are_beside_it(tmp_path, push):
    destination = tmp_path / "serving"
    push(destination, 1, 1)
    push(destination, 2, 2)
    push(destination, 3, 1)
    (destination / "3" / "saved_model.pb").unlink()
    (destination / "4").mkdir()
    for model, expected in ((destination, 2), (destination / "1", 1)):
        class_ids, confidence = Predictor(str(model))(BRIGHT, 20, 30)
        assert np.array_equal(class_ids, np.full([20, 30], expected))
        assert confidence == pytest.approx(1)
    (destination / "2" / "assets.extra" / "segpipe.json").unlink()
    with pytest.raises(UserError, match=r"serving/2 is not a segpipe model: it has no assets.extra/segpipe.json"):
        Predictor(str(destination))
    with pytest.raises(UserError, match="holds no model"):
        Predictor(str(tmp_path))
