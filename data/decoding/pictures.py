"""How images of any type and number of bands are shown to people: three bands, stretched so that they can be seen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from data.decoding.arrays import no_data
from data.decoding.images import stored_values

# Of Sentinel-2, in which most images with names of bands are: red, green and blue.
_COLORS = ("B04", "B03", "B02")
# Percentiles that become black and white.
_LOW, _HIGH = 2.0, 98.0
# So many pixels at least are enough for percentiles.
_SAMPLED = 2**16


def picture(values: np.ndarray, names: Sequence[str] = (), nodata: float | None = None) -> np.ndarray:
    """An image as people see it; gray and RGB of 8 bits stay as they are, others are stretched band by band.

    Args:
      values: [height, width] or [height, width, bands] numbers.
      names: of the bands; those of red, green and blue are taken where there are B04, B03 and B02.
      nodata: the value that stands for no data, which becomes black.

    Returns:
      [height, width] or [height, width, 3] uint8: the first three bands by default, gray of one or two.
    """
    if values.ndim == 3 and values.shape[2] < 3:
        values = values[..., 0]
    if values.dtype == np.uint8 and (values.ndim == 2 or values.shape[2] == 3):
        return values
    is_missing = no_data(values, nodata)
    if values.ndim == 3:
        named = set(_COLORS) <= set(names)
        values = values[..., [list(names).index(name) for name in _COLORS] if named else slice(3)]
    step = max(1, int(np.sqrt(is_missing.size / _SAMPLED)))
    sample = values[::step, ::step][~is_missing[::step, ::step]]
    if not len(sample):
        return np.zeros(values.shape, np.uint8)
    low, high = np.percentile(sample.astype(np.float64), (_LOW, _HIGH), axis=0)
    # Fewer bytes than in 64 bits, and exact enough for the eye.
    black, spread = np.float32(low), np.where(high > low, high - low, 1).astype(np.float32)
    shown = np.where(is_missing if values.ndim == 2 else is_missing[..., np.newaxis], black, values)
    return (np.clip((shown - black) / spread, 0, 1) * 255 + 0.5).astype(np.uint8)


def picture_of(encoded: bytes, names: Sequence[str] = (), nodata: float | None = None) -> np.ndarray:
    """As `picture`, of an image as the contract stores it: [height, width, 3] uint8, not to be changed.

    Raises:
      BadImageError: if it cannot be decoded.
    """
    shown = picture(stored_values(encoded), names, nodata)
    return shown if shown.ndim == 3 else np.broadcast_to(shown[..., np.newaxis], (*shown.shape, 3))
