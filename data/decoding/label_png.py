"""PNG files of labels, which mostly are as the pixel above: in a fifth of the time that a search for patterns takes."""

from __future__ import annotations

import struct
import zlib

import numpy as np

from data.decoding.structure import PNG_SIGNATURE

# Of the PNG specification: each row begins with its filter, and 2 stores differences to the row above.
_UP = 2


def encode_labels(labels: np.ndarray) -> bytes:
    """PNG bytes of labels, [height, width] uint8 or uint16."""
    height, width = labels.shape
    values = np.ascontiguousarray(labels, labels.dtype.newbyteorder(">")).view(np.uint8)
    rows = np.empty((height, 1 + values.shape[1]), np.uint8)
    rows[:, 0] = _UP
    rows[0, 1:] = values[0]
    np.subtract(values[1:], values[:-1], out=rows[1:, 1:])
    compressor = zlib.compressobj(strategy=zlib.Z_RLE)
    pixels = compressor.compress(rows.data) + compressor.flush()
    header = struct.pack(">IIBBBBB", width, height, 8 * labels.itemsize, 0, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", pixels), (b"IEND", b""))
    return PNG_SIGNATURE + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in parts
    )
