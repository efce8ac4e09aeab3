import keras
import numpy as np
import pytest

from models.encoders.weights.channels import over_channels


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_the_response_to_a_gray_image_stays(channels):
    generator = np.random.default_rng(0)
    kernel = generator.normal(size=(3, 3, 3, 8)).astype(np.float32)
    gray = generator.normal(size=(1, 6, 7, 1)).astype(np.float32)
    expected = keras.ops.conv(np.repeat(gray, 3, axis=-1), kernel, padding="same")
    fitted = over_channels(kernel, channels)
    assert fitted.shape == (3, 3, channels, 8)
    found = keras.ops.conv(np.repeat(gray, channels, axis=-1), fitted, padding="same")
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_rgb_keeps_its_filters():
    kernel = np.random.default_rng(0).normal(size=(3, 3, 3, 8))
    assert over_channels(kernel, 3) is kernel
