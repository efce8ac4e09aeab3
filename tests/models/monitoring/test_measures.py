"""What is measured of images, by pictures of which it is known."""

import io

import numpy as np
import pytest
from PIL import Image, ImageFilter

from data.decoding.arrays import encode_array
from data.decoding.images import encode_png
from models.monitoring.comparison import compare
from models.monitoring.measures import CONFIDENCE, Measurer, _looks


@pytest.fixture(scope="module")
def measurer(tmp_path_factory, push):
    folder = tmp_path_factory.mktemp("pushed") / "serving"
    push(folder, 1, 1)
    return Measurer(str(folder / "1"))


def picture(seed=0, size=(60, 80)):
    blocks = np.random.default_rng(seed).integers(0, 200, [size[0] // 10, size[1] // 10, 3])
    return blocks.repeat(10, axis=0).repeat(10, axis=1).astype(np.uint8)


def looks(pixels):
    return _looks(pixels, pixels.reshape(*pixels.shape[:2], -1))


def test_each_number_follows_what_it_is_named_after():
    usual = picture()
    changes = {
        "brightness": usual + 40,
        "contrast": (usual // 2 + 50).astype(np.uint8),
        "warmth": np.stack([usual[..., 0] + 40, usual[..., 1], usual[..., 2]], axis=-1),
        "saturation": np.repeat(usual[..., 1:2], 3, axis=-1),
        "sharpness": np.asarray(Image.fromarray(usual).filter(ImageFilter.GaussianBlur(2))),
        "size": usual.repeat(2, axis=0),
    }
    before = looks(usual)
    assert set(before) == set(changes)
    after = {name: looks(pixels)[name] for name, pixels in changes.items()}
    assert after["brightness"] == pytest.approx(before["brightness"] + 40 / 255)
    assert after["contrast"] == pytest.approx(before["contrast"] / 2, rel=0.02)
    assert after["warmth"] == pytest.approx(before["warmth"] + 40 / 255)
    assert after["saturation"] == 0
    assert after["sharpness"] < before["sharpness"] - 0.5
    assert after["size"] == pytest.approx(before["size"] * 2**0.5)


def test_gray_plain_and_deep_images_are_measured():
    assert set(looks(picture()[..., 0])) == {"brightness", "contrast", "sharpness", "size"}
    plain = looks(np.full([20, 20, 3], 255, np.uint8))
    assert (plain["brightness"], plain["contrast"], plain["sharpness"]) == (1, 0, 0)
    deep = _looks(np.full([20, 20, 5], 2**15, np.uint16), np.zeros([20, 20, 3], np.uint8))
    assert deep["brightness"] == pytest.approx(0.5, abs=1e-4)


@pytest.mark.parametrize("order", [1, -1])
def test_gray_images_among_others_count_where_they_can(measurer, order):
    gray, color = encode_png(scene(3)[..., 0]), [encode_png(scene(index)) for index in range(2)]
    found = measurer.measure([gray, *color][::order])
    assert np.isfinite(found.statistics["brightness"]).sum() == 3
    assert np.isfinite(found.statistics["saturation"]).sum() == 2
    tests = {test.name: test for test in compare(found, found, measurer.class_names)}
    assert tests["saturation"].p == tests["brightness"].p == 1
    assert np.isfinite(tests["saturation"].before)


def test_the_model_says_what_it_sees(measurer):
    bright, dark = (encode_png(np.full([20, 30, 3], value, np.uint8)) for value in (200, 20))
    found = measurer.measure([bright, dark, encode_png(picture())])
    assert len(found) == 3
    np.testing.assert_array_equal(found.class_shares[:2], [[0, 1, 0], [1, 0, 0]])
    assert found.statistics[CONFIDENCE][:2] == pytest.approx(1)
    assert found.embeddings.shape == (3, 0)
    assert "embeddings are not compared" in measurer.remark


def scene(seed):
    """Smooth, as photographs are, of which copies in JPEG look alike."""
    few = np.random.default_rng(seed).integers(0, 256, [24, 32, 3]).astype(np.uint8)
    return np.asarray(Image.fromarray(few).resize((320, 240), Image.Resampling.BICUBIC))


def test_copies_and_what_is_no_image_are_left_out(measurer):
    buffer = io.BytesIO()
    Image.fromarray(scene(1)).save(buffer, "JPEG", quality=90)
    images = [encode_png(scene(1)), buffer.getvalue(), encode_png(scene(1)), b"no image", encode_png(scene(2))]
    # An array of bands that the model does not take.
    found = measurer.measure([*images, encode_array(np.zeros([20, 30, 5], np.uint16))])
    assert len(found) == 2
    assert all(len(values) == 2 for values in found.statistics.values())
    assert len(measurer.measure([])) == 0
