import numpy as np
import pytest
import tensorflow as tf

from models.inputs.augmentation import augment
from models.inputs.settings import AugmentationSettings, PreprocessingSettings

NOTHING = {"flip_horizontal": False, "flip_vertical": False, "rotation_degrees": 0.0, "scale": 1.0}


def batch(size=24):
    """Images whose first channel is the label, in smooth patches."""
    generator = np.random.default_rng(0)
    label = np.kron(generator.integers(0, 4, (8, size // 8, size // 8)), np.ones((8, 8), int)).astype(np.uint8)
    image = np.stack([label, np.ones_like(label)], axis=-1).astype(np.float32)
    return tf.constant(image), tf.constant(label)


def test_nothing_configured_changes_nothing():
    image, label = batch()
    moved_image, moved_label = augment(image, label, tf.constant([1, 2]), **NOTHING)
    np.testing.assert_allclose(moved_image, image, atol=1e-5)
    np.testing.assert_array_equal(moved_label, label)


@pytest.mark.parametrize(("axis", "option"), [(2, "flip_horizontal"), (1, "flip_vertical")])
def test_flips_are_exact_and_happen_half_of_the_time(axis, option):
    image, label = batch()
    flipped = 0
    for seed in range(10):
        moved_image, moved_label = augment(image, label, tf.constant([seed, 0]), **{**NOTHING, option: True})
        for index in range(8):
            original, moved = label[index].numpy(), moved_label[index].numpy()
            is_flipped = not np.array_equal(moved, original)
            flipped += is_flipped
            np.testing.assert_array_equal(moved, np.flip(original, axis - 1) if is_flipped else original)
            np.testing.assert_allclose(moved_image[index, ..., 0], moved, atol=1e-4)
    assert 20 <= flipped <= 60


def test_image_and_mask_move_together():
    image, label = batch(48)
    for seed in range(5):
        moved_image, moved_label = augment(
            image,
            label,
            tf.constant([seed, 7]),
            flip_horizontal=True,
            flip_vertical=True,
            rotation_degrees=30,
            scale=1.5,
        )
        moved_image, moved_label = moved_image.numpy(), moved_label.numpy()
        outside = moved_label == 255
        assert 0 < outside.mean() < 0.6
        # Away from the borders of patches, the bilinear image shows exactly the nearest label.
        flat = np.abs(moved_image[..., 0] - np.round(moved_image[..., 0])) < 1e-3
        inner = flat & ~outside & (moved_image[..., 1] > 0.999)
        assert inner.mean() > 0.3
        assert (np.round(moved_image[inner][:, 0]) == moved_label[inner]).mean() > 0.99
        # What is outside of the image is the mean, 0, and is ignored.
        assert np.abs(moved_image[outside]).max() < 4
        assert (moved_image[..., 1][outside] < 0.999).all()


def test_a_seed_gives_one_result():
    image, label = batch()
    settings = {"flip_horizontal": True, "flip_vertical": False, "rotation_degrees": 20, "scale": 1.3}
    first = augment(image, label, tf.constant([3, 4]), **settings)
    np.testing.assert_array_equal(augment(image, label, tf.constant([3, 4]), **settings)[0], first[0])
    assert not np.array_equal(augment(image, label, tf.constant([3, 5]), **settings)[0], first[0])


@pytest.mark.parametrize("option", ["brightness", "contrast", "saturation"])
def test_colours_change_and_pixels_stay_where_they_are(option):
    generator = np.random.default_rng(0)
    image = tf.constant(generator.normal(size=(16, 24, 24, 3)), tf.float32)
    label = tf.constant(generator.integers(0, 3, (16, 24, 24)), tf.uint8)
    changed, same_label = augment(image, label, tf.constant([0, 1]), **NOTHING, **{option: 0.5})
    np.testing.assert_array_equal(same_label, label)
    image, changed = image.numpy(), changed.numpy()
    gray, changed_gray = image.mean(axis=-1), changed.mean(axis=-1)
    mean = image.mean(axis=(1, 2, 3), keepdims=True)
    if option == "brightness":
        amounts = (changed - image)[:, :1, :1, :1]
        np.testing.assert_allclose(changed, image + amounts, atol=1e-5)
    elif option == "contrast":
        amounts = ((changed - image) / (image - mean))[:, :1, :1, :1]
        np.testing.assert_allclose(changed, mean + (1 + amounts) * (image - mean), atol=1e-2)
    else:
        np.testing.assert_allclose(changed_gray, gray, atol=1e-5)
        amounts = (
            np.std(changed - changed_gray[..., None], axis=(1, 2, 3)) / np.std(image - gray[..., None], axis=(1, 2, 3))
        ) - 1
    assert np.abs(amounts).max() <= 0.51
    assert np.std(amounts) > 0.1


def test_each_band_changes_by_itself_and_less():
    generator = np.random.default_rng(0)
    image = tf.constant(generator.normal(size=(16, 24, 24, 5)), tf.float32)
    label = tf.zeros([16, 24, 24], tf.uint8)
    shape = PreprocessingSettings(type="uint16", channels=5)
    amounts = AugmentationSettings(**NOTHING).of_images(shape)
    assert (amounts["brightness"], amounts["contrast"], amounts["saturation"]) == (0.1, 0.1, 0.0)
    changed, _ = augment(image, label, tf.constant([0, 1]), **{**amounts, "contrast": 0.0})
    shifts = (changed - image).numpy()
    np.testing.assert_allclose(shifts, np.broadcast_to(shifts[:, :1, :1], shifts.shape), atol=1e-5)
    assert np.abs(shifts).max() <= 0.1001
    assert np.std(shifts[:, 0, 0], axis=1).min() > 0.001
    changed, _ = augment(image, label, tf.constant([0, 1]), **{**amounts, "brightness": 0.0})
    mean = image.numpy().mean(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(changed.numpy().mean(axis=(1, 2), keepdims=True), mean, atol=1e-4)
    usual = AugmentationSettings().of_images(PreprocessingSettings())
    assert (usual["brightness"], usual["contrast"], usual["saturation"], usual["by_channel"]) == (0.3, 0.3, 0.3, False)
    assert AugmentationSettings(brightness=0.5).of_images(shape)["brightness"] == 0.5
