"""The run lengths of Label Studio's brush.

Label Studio packs the bytes of an RGBA image with the package rle-pack (thi.ng/umbrella): a stream of bits, highest
first, with the number of bytes (32 bits), the bits of a value less one (5), four sizes of a run's length, each less one
(4 bits each), and then blocks until all bytes are there. A block is a bit that says whether one value is repeated or
each is written out, which of the four sizes its length has (2), its length less one, and one value or all of them.
A pixel is painted where alpha is not 0, as in Label Studio's own export to COCO.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from data.decoding.errors import BadImageError

_CHANNELS = 4
_HEADER_BITS = 32 + 5 + 4 * 4
# No block's head and value take more bits than this, so that 8 bytes hold them wherever they begin.
_WINDOW = 64
# Behind the end of the bits, so that each block's window can be read.
_PADDING = b"\0" * (_WINDOW // 8)


def decode_brush(rle: Sequence[int], height: int, width: int) -> np.ndarray:
    """What a brush has painted: [height, width] bool.

    Args:
      rle: the bytes, from 0 to 255.
      height: of the image, in pixels.
      width: likewise.

    Raises:
      BadImageError: if it is no such brush, or of an image of another size.
    """
    try:
        packed = bytes(rle)
    except (TypeError, ValueError, OverflowError):
        raise BadImageError("its brush is not a list of whole numbers from 0 to 255") from None
    if len(packed) * 8 < _HEADER_BITS:
        raise BadImageError(f"its brush has only {len(packed)} bytes")
    count = int.from_bytes(packed[:4], "big")
    if count != height * width * _CHANNELS:
        raise BadImageError(
            f"its brush covers {count / _CHANNELS:.10g} pixels, and an image of {width}x{height} has {height * width}"
        )
    ends, is_run, places = _blocks(packed, count)
    starts = np.concatenate([[0], ends[:-1]])
    # Alpha is each fourth byte, so this many before a place are alpha.
    first, lengths = starts // _CHANNELS, ends // _CHANNELS - starts // _CHANNELS
    bits = np.frombuffer(packed + _PADDING, np.uint8)
    painted = np.repeat(_values(bits, places) > 0, lengths)
    # A block whose values are written out: the alphas in it, wherever they are.
    for block in np.flatnonzero(~is_run & (lengths > 0)):
        begin, number = first[block], lengths[block]
        alphas = (np.arange(begin, begin + number) + 1) * _CHANNELS - 1
        painted[begin : begin + number] = _values(bits, places[block] + 8 * (alphas - starts[block])) > 0
    return painted.reshape(height, width)


def _blocks(packed: bytes, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each block, where it ends among the bytes, whether one value is repeated, and the bit of its first value."""
    if (packed[4] >> 3) + 1 != 8:
        raise BadImageError(f"its brush has values of {(packed[4] >> 3) + 1} bits, and Label Studio writes 8")
    header = int.from_bytes(packed[:7], "big")
    sizes = [(header >> shift & 15) + 1 for shift in (15, 11, 7, 3)]
    padded, last = packed + _PADDING, len(packed) * 8
    ends, is_run, places = [], [], []
    bit, end = _HEADER_BITS, 0
    while end < count:
        window = int.from_bytes(padded[bit >> 3 : (bit >> 3) + 8], "big") << (bit & 7)
        size = sizes[window >> _WINDOW - 3 & 3]
        length = (window >> _WINDOW - 3 - size & (1 << size) - 1) + 1
        repeated = bool(window >> _WINDOW - 1 & 1)
        place = bit + 3 + size
        bit = place + (8 if repeated else 8 * length)
        if bit > last:
            raise BadImageError("its brush ends early")
        # The last run may be longer than what is left.
        end = min(end + length, count)
        ends.append(end)
        is_run.append(repeated)
        places.append(place)
    return np.array(ends), np.array(is_run), np.array(places)


def _values(packed: np.ndarray, bits: np.ndarray) -> np.ndarray:
    """The bytes that begin at some bits."""
    places, shifts = bits >> 3, bits & 7
    pairs = packed[places].astype(np.uint16) << 8 | packed[places + 1]
    return (pairs >> (8 - shifts) & 255).astype(np.uint8)
