"""A model in memory answers `predict` as it answers clients."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from data.base.errors import UserError
from data.decoding.images import BadImageError, encode_png
from models.exports import SAVED_MODEL
from models.serving import loaded_model
from models.serving.loaded_model import LoadedModel, load_model
from models.serving.server.follower import Follower

BRIGHT = encode_png(np.full([20, 30], 200, np.uint8))


def noise(*size):
    return np.random.default_rng(size[0]).integers(0, 256, [*size, 3]).astype(np.uint8)


def test_the_newest_model_is_loaded_whatever_folders_are_beside_it(tmp_path, push):
    destination = tmp_path / "serving"
    push(destination, 1, 1)
    push(destination, 2, 2)
    push(destination, 3, 1)
    (destination / "3" / "saved_model.pb").unlink()
    (destination / "4").mkdir()
    for model, expected in ((destination, 2), (destination / "1", 1)):
        found = load_model(str(model)).segment_whole(BRIGHT, 20, 30)
        assert np.array_equal(found.class_ids, np.full([20, 30], expected))
        assert found.confidence == pytest.approx(1)
        assert found.objects is None
    (destination / "2" / "assets.extra" / "segpipe.json").unlink()
    with pytest.raises(UserError, match=r"serving/2 is not a segpipe model: it has no assets.extra/segpipe.json"):
        load_model(str(destination))
    with pytest.raises(UserError, match="holds no model"):
        load_model(str(tmp_path))
    (destination / "1" / "saved_model.pb").write_bytes(b"no model")
    with pytest.raises(UserError, match=r"serving/1 cannot be used: \w+: "):
        load_model(str(destination / "1"))


@pytest.mark.parametrize("name", ["[1] a*? ü 'b'", '-d "c" #% e\\f'])
def test_a_model_may_be_in_a_folder_of_any_name(tmp_path, push, name):
    push(tmp_path / name, 1, 2)
    for model in (tmp_path / name, tmp_path / name / "1"):
        class_ids = load_model(str(model)).segment_whole(BRIGHT, 20, 30).class_ids
        assert np.array_equal(class_ids, np.full([20, 30], 2))
    follower = Follower(str(tmp_path / name), poll_seconds=3600)
    assert follower.model.version == 1
    follower.stop()


@pytest.mark.parametrize("size", [(16, 12), (5, 3), (7, 90), (90, 7), (100, 131), (311, 64)])
def test_an_image_by_bands_equals_the_signature(tiled, size):
    model, shares = LoadedModel(str(tiled)), []
    encoded = encode_png(noise(*size))
    found = model.segment_whole(encoded, *size, shares.append)
    outputs = model.signatures["serving_default"](tf.constant([encoded]))
    assert np.array_equal(found.class_ids, outputs["class_ids"][0])
    assert len(np.unique(found.class_ids)) == 3
    assert found.confidence == pytest.approx(float(tf.reduce_mean(outputs["confidence"])), rel=1e-5)
    assert shares == sorted(set(shares))
    assert shares[-1] == 1
    # A band is as high as what its tiles do not share with the next.
    assert len(shares) == max(1, 1 + -(-(size[0] - 16) // 12))


def test_a_model_of_an_earlier_release_has_the_steps_of_its_pixels(tmp_path, push):
    push(tmp_path / "serving", 1, 2)
    model = LoadedModel(str(tmp_path / "serving" / "1"))
    image = np.zeros([48, 32, 3], np.uint8)
    image[:15, 10:] = 255
    encoded = encode_png(image)
    smooth = model.segment_whole(encoded, 48, 32)
    model.signatures = {name: found for name, found in model.signatures.items() if "serving_at" not in name}
    model._model = None
    stepped = model.segment_whole(encoded, 48, 32)
    (small,) = model.segment([encoded], [(48, 32)])
    np.testing.assert_array_equal(stepped.class_ids, small.class_ids.repeat(3, 0).repeat(2, 1))
    assert stepped.confidence == pytest.approx(smooth.confidence, abs=0.1)


def test_tiles_and_objects_run_in_tensorflow_and_say_so_if_asked(tiled, of_objects):
    for folder in (tiled, of_objects):
        found = LoadedModel(str(folder), runtime="onnx").runtime
        assert found.name == SAVED_MODEL
        assert found.lines() == ["a model that has objects or tiles runs in TensorFlow, not as onnx"]


def test_a_damaged_image_is_told_by_bands(tiled):
    with pytest.raises(BadImageError, match="cannot be decoded"):
        LoadedModel(str(tiled)).segment_whole(BRIGHT[:-20], 20, 30)


def test_a_model_of_an_earlier_release_refuses_16_bits_in_the_same_words():
    refusal = "the image has 16 bits per channel, and the model knows no range to scale them by"
    error = tf.errors.InvalidArgumentError(None, None, f"assertion failed: [{refusal}] [[node Assert]]")
    assert str(loaded_model.cannot_be_decoded(error)).endswith("learned from images of 8; send it in 8 bits")


@pytest.mark.parametrize("size", [(20, 30), (3, 500), (7, 7), (33, 17), (101, 211)])
def test_class_ids_are_enlarged_as_tensorflow_and_pillow_do_it(size, monkeypatch):
    monkeypatch.setattr(loaded_model, "_STRIP_PIXELS", 600)
    small = np.random.default_rng(0).integers(0, 9, [11, 13]).astype(np.uint8)
    found = loaded_model._enlarge(small, *size)
    by_tensorflow = tf.image.resize(small[..., np.newaxis], size, method="nearest")[..., 0]
    assert np.array_equal(found, by_tensorflow)
    assert np.array_equal(found, Image.fromarray(small).resize(size[::-1], Image.Resampling.NEAREST))
