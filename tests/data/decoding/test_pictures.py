"""Images of any type and number of bands, as people see them."""

import numpy as np
import pytest

from data.decoding.images import encoded_values
from data.decoding.pictures import picture, picture_of

GENERATOR = np.random.default_rng(0)


def test_pictures_stay_as_they_are():
    for shape in ((5, 7), (5, 7, 3)):
        values = GENERATOR.integers(100, 120, shape, np.uint8)
        np.testing.assert_array_equal(picture(values), values)
        shown = picture_of(encoded_values(values).encoded)
        np.testing.assert_array_equal(shown, np.broadcast_to(values.reshape(5, 7, -1), (5, 7, 3)))


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.int32, np.float32])
@pytest.mark.parametrize("bands", [1, 2, 3, 13])
def test_others_are_stretched_band_by_band(dtype, bands):
    values = np.stack([np.arange(10_000).reshape(100, 100) / 7 + 90 * band for band in range(bands)], axis=2)
    shown = picture_of(encoded_values(values.astype(dtype)).encoded)
    assert (shown.dtype, shown.shape) == (np.uint8, (100, 100, 3))
    for band in range(3):
        flat = np.sort(shown[..., band].ravel())
        assert (flat[199], flat[-200]) == (0, 255)
        assert abs(int(flat[5000]) - 127) <= 1
        assert len(np.unique(flat)) > 200


def test_bands_with_the_names_of_red_green_and_blue_are_shown():
    values = np.zeros([50, 50, 5], np.uint16)
    values[..., :] = np.arange(2500).reshape(50, 50, 1)
    values[..., 3] = values[::-1, :, 3]
    shown = picture(values, ["B01", "B02", "B03", "B04", "B08"])
    assert shown[0, 0].tolist() == [255, 0, 0]
    assert picture(values)[0, 0].tolist() == [0, 0, 0]


def test_what_has_no_data_is_black_and_does_not_count():
    values = np.linspace(5000, 6000, 2500).reshape(50, 50).astype(np.float32)
    expected = picture(values[5:])
    values[:5] = np.nan
    shown = picture(values)
    assert not shown[:5].any()
    np.testing.assert_array_equal(shown[5:], expected)
    whole = np.where(np.isnan(values), 0, values).astype(np.uint16)
    assert not picture(whole, nodata=0)[:5].any()
    assert (picture(whole, nodata=0)[5:] > 0).mean() > 0.95
    for plain in (np.full([4, 4], np.nan), np.full([4, 4, 3], 7, np.uint16)):
        assert not picture(plain).any()
