"""Masks whose colors are numbers of segments or objects, not colors of classes."""

from __future__ import annotations

import numpy as np

from data.decoding.errors import BadImageError
from data.masks.files import Mask


def ids_of_colors(mask: Mask) -> np.ndarray:
    """The number that each pixel's color is, R + 256 G + 65536 B: [height, width] int32.

    What stores the same colors in another way, such as a palette or gray, is read alike.

    Raises:
      BadImageError: if it has no exact colors.
    """
    if mask.lossy:
        raise BadImageError(f"{mask.lossy} does not keep exact colors, and these are numbers")
    if mask.alpha is not None:
        raise BadImageError("some of its pixels are transparent, so it is doubtful which numbers their colors are")
    colors = mask.pixels
    if mask.palette is not None:
        colors = mask.palette[mask.pixels]
    elif colors.ndim == 2:
        colors = np.repeat((255 * colors if mask.is_bilevel else colors)[..., np.newaxis], 3, axis=-1)
    if colors.min() < 0 or colors.max() > 255:
        raise BadImageError("its pixels are not colors of 8 bits, as these numbers are stored")
    red, green, blue = (colors[..., channel].astype(np.int32) for channel in range(3))
    return red + 256 * green + 65536 * blue
