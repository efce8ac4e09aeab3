import numpy as np
import pytest
import tensorflow as tf
from tensorflow_transform.graph_context import TFGraphContext

from data.contract import IGNORE_LABEL
from models.inputs.preprocessing import _decode_to_scale, _deep_whole_images, fit_mask, normalize, placement
from models.inputs.settings import PreprocessingSettings


@pytest.mark.parametrize(
    ("size", "resize", "expected"),
    [
        ((100, 200), "stretch", (0, 0, 64, 64)),
        ((100, 200), "pad", (16, 0, 32, 64)),
        ((300, 100), "pad", (0, 21, 64, 21)),
        ((1, 5000), "pad", (31, 0, 1, 64)),
    ],
)
def test_placement(size, resize, expected):
    assert tuple(int(value) for value in placement(*size, 64, 64, resize)) == expected


def photographs(pets, count):
    return [path.read_bytes() for path in sorted((pets / "images").glob("*.jpg"))[:count]]


@pytest.fixture(scope="module")
def large_photograph(pets):
    """48 photographs side by side: a JPEG of 4000x3000 pixels with detail everywhere."""
    tiles = []
    for content in photographs(pets, 60):
        pixels = tf.io.decode_image(content, channels=3, expand_animations=False)
        tiles.append(tf.cast(tf.image.resize(pixels, [500, 500], antialias=True), tf.uint8).numpy())
    rows = [np.concatenate(tiles[8 * row : 8 * row + 8], axis=1) for row in range(6)]
    return tf.io.encode_jpeg(np.concatenate(rows), quality=92).numpy()


@pytest.mark.parametrize(
    ("height", "width", "decoded_size"),
    [
        (751, 100, (3000, 4000)),
        (750, 1000, (1500, 2000)),
        (512, 512, (1500, 2000)),
        (375, 500, (750, 1000)),
        (187, 250, (375, 500)),
        (64, 32, (375, 500)),
    ],
)
def test_a_jpeg_is_decoded_to_at_least_twice_the_input(large_photograph, height, width, decoded_size):
    pixels, size = _decode_to_scale(tf.constant(large_photograph), 3, height, width)
    assert tuple(size.numpy()) == (3000, 4000)
    assert pixels.shape[:2] == decoded_size


def difference(content, height, width):
    """Between resizing a JPEG decoded to scale and one decoded whole, in levels of 256."""

    def resized(pixels):
        return tf.image.resize(pixels, [height, width], antialias=True).numpy()

    scaled, _ = _decode_to_scale(tf.constant(content), 3, height, width)
    whole = tf.io.decode_image(content, channels=3, expand_animations=False)
    return np.abs(resized(scaled) - resized(whole)), scaled.shape != whole.shape


def test_the_error_of_decoding_to_scale(large_photograph):
    for height, width in ((1024, 1024), (512, 512), (256, 256), (128, 128)):
        error, is_scaled = difference(large_photograph, height, width)
        assert is_scaled == (height < 1024)
        assert error.mean() <= (1.5 if is_scaled else 0.0)
        assert np.quantile(error, 0.99) <= (6 if is_scaled else 0.0)


def test_the_error_of_decoding_photographs_to_scale(pets):
    errors = [difference(content, 64, 64) for content in photographs(pets, 40) if content[:2] == b"\xff\xd8"]
    scaled = [error for error, is_scaled in errors if is_scaled]
    assert len(scaled) > 20
    assert np.mean([error.mean() for error in scaled]) <= 1.5
    assert np.quantile(np.concatenate([error.ravel() for error in scaled]), 0.99) <= 10
    assert all(error.max() == 0 for error, is_scaled in errors if not is_scaled)


def test_normalize():
    pixels = np.array([[[[0, 10]], [[255, 20]]]], np.uint8)
    mean, scale = np.array([[5.0, 10.0]], np.float32), np.array([[0.5, 2.0]], np.float32)
    np.testing.assert_allclose(normalize(pixels, mean, scale), [[[[-2.5, 0]], [[125, 20]]]])


@pytest.mark.parametrize("resize", ["stretch", "pad"])
def test_objects_are_resized_as_the_mask_is(resize):
    """Where the numbers of objects are the class ids, they stay so."""
    class_ids = np.random.default_rng(0).integers(0, 4, [30, 50]).astype(np.uint8)
    mask = fit_mask(tf.constant(class_ids[..., np.newaxis]), 16, 24, resize, 255).numpy()
    numbers = class_ids.astype(np.uint16) * 20_000
    objects = fit_mask(tf.constant(numbers[..., np.newaxis]), 16, 24, resize, 0).numpy()
    padded = mask == IGNORE_LABEL
    assert padded.any() == (resize == "pad")
    np.testing.assert_array_equal(objects[~padded], mask[~padded].astype(np.uint16) * 20_000)
    assert not objects[padded].any()


def test_whole_images_of_many_bands_are_decoded_one_at_a_time(tmp_path):
    settings = PreprocessingSettings(type="uint16", bands=13, channels=13, resize="none")
    at_once = []

    def trace(images):
        _deep_whole_images(images, settings)
        loops = [found for found in images.graph.get_operations() if found.type in ("While", "StatelessWhile")]
        at_once.extend(loop.get_attr("parallel_iterations") for loop in loops)

    # Where tests before have transformed something, analyzers look for a folder in what these left behind.
    with TFGraphContext(tf.Module(), temp_dir=str(tmp_path), evaluated_replacements={}):
        tf.function(trace, autograph=False).get_concrete_function(tf.TensorSpec([None], tf.string))
    assert at_once == [1, 1, 1]
