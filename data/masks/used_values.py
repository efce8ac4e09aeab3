"""Which values a mask holds, and how often."""

from __future__ import annotations

import dataclasses

import numpy as np
from PIL import Image


@dataclasses.dataclass(frozen=True)
class UsedValues:
    """The distinct values of a mask.

    Attributes:
      values: [n] in order, int64.
      counts: [n] pixels of each.
      places: [height, width] where each pixel's value is in a table.
      place_of_value: [n] where each value is in that table.
    """

    values: np.ndarray
    counts: np.ndarray
    places: np.ndarray
    place_of_value: np.ndarray

    @classmethod
    def of(cls, pixels: np.ndarray) -> UsedValues:
        """The values of [height, width] whole numbers."""
        is_byte = pixels.dtype == np.uint8
        if is_byte or (pixels.min(initial=0) >= 0 and pixels.max(initial=0) <= 65535):
            # Pillow counts bytes three times as fast.
            all_counts = np.array(Image.fromarray(pixels).histogram()) if is_byte else np.bincount(pixels.ravel())
            values = np.flatnonzero(all_counts)
            return cls(values, all_counts[values], pixels, values)
        values, places, counts = np.unique(pixels, return_inverse=True, return_counts=True)
        return cls(values.astype(np.int64), counts, places.reshape(pixels.shape), np.arange(len(values)))

    def replaced_by(self, ids: np.ndarray) -> np.ndarray:
        """The mask with another value, [n] from 0 to 255, for each: [height, width] uint8."""
        table = np.zeros(int(self.place_of_value[-1]) + 1, np.uint8)
        table[self.place_of_value] = ids
        return table.take(self.places)
