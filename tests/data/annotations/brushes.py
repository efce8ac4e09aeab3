"""Brushes as Label Studio writes them, to the byte as its own library does (`mask2rle`)."""

from __future__ import annotations

import numpy as np

_CHANNELS = 4
_HEADER_BITS = 32 + 5 + 4 * 4
# The sizes of lengths that Label Studio writes, and what fits into each.
_SIZES = np.array([3, 4, 8, 16])
_MOST = 1 << _SIZES


def encode_brush(mask: np.ndarray) -> list[int]:
    """A brush that has painted the pixels of a mask.

    Args:
      mask: [height, width] bool.

    Returns:
      Bytes, from 0 to 255, as Label Studio's `rle` has them.
    """
    pixels = np.asarray(mask, bool).ravel()
    if not pixels.size:
        raise ValueError("a mask without pixels")
    borders = np.flatnonzero(np.diff(pixels)) + 1
    starts = np.concatenate([[0], borders])
    lengths = np.diff(np.concatenate([starts, [pixels.size]])) * _CHANNELS
    # What is longer than a block may be is several.
    parts = -(-lengths // _MOST[-1])
    values = np.repeat(np.where(pixels[starts], 255, 0), parts)
    is_last = np.zeros(parts.sum(), bool)
    is_last[np.cumsum(parts) - 1] = True
    blocks = np.full(len(values), _MOST[-1])
    blocks[is_last] = lengths - (parts - 1) * _MOST[-1]
    kinds = np.searchsorted(_MOST, blocks)
    # Label Studio's library takes the longest size for the rest of a long run.
    kinds[np.repeat(lengths > _MOST[-2], parts)] = len(_SIZES) - 1
    sizes = _SIZES[kinds]
    codes = (((4 + kinds) << sizes | (blocks - 1)) << 8) | values
    return list(np.packbits(_bits(pixels.size * _CHANNELS, codes, 3 + sizes + 8)).tobytes())


def _bits(count: int, codes: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """All bits: the header, and numbers of some bits each."""
    header = count
    for number, width in ((7, 5), *((size - 1, 4) for size in _SIZES.tolist())):
        header = header << width | number
    bits = np.zeros(_HEADER_BITS + int(widths.sum()), np.uint8)
    bits[:_HEADER_BITS] = [header >> place & 1 for place in range(_HEADER_BITS - 1, -1, -1)]
    ends = _HEADER_BITS + np.cumsum(widths)
    for place in range(int(widths.max())):
        has_it = place < widths
        bits[ends[has_it] - 1 - place] = codes[has_it] >> place & 1
    return bits
