"""Makes image files byte by byte, as Pillow would not write them."""

import struct
import zlib

import numpy as np

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def chunk(kind: bytes, content: bytes, checksum: int | None = None) -> bytes:
    """A chunk of a PNG, with its checksum or a wrong one."""
    right = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", right if checksum is None else checksum)


def png(pixels: np.ndarray, before: bytes = b"", after: bytes = b"", pixels_checksum: int | None = None) -> bytes:
    """A PNG of [h, w] or [h, w, channels] uint8 or uint16, with chunks before and after its pixels."""
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    color = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 8 * pixels.dtype.itemsize, color, 0, 0, 0)
    rows = b"".join(b"\0" + row.tobytes() for row in pixels.astype(pixels.dtype.newbyteorder(">")))
    data = chunk(b"IDAT", zlib.compress(rows), pixels_checksum)
    return PNG_SIGNATURE + chunk(b"IHDR", header) + before + data + after + chunk(b"IEND", b"")


def tiff(pixels: np.ndarray, order: str = "<", deflate: bool = False, bits: int | None = None, **tags: int) -> bytes:
    """A TIFF of [h, w] or [h, w, channels]; `tags` by their numbers, such as t274=6, are added or replaced."""
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    data = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    data = zlib.compress(data) if deflate else data
    bits = bits or 8 * pixels.dtype.itemsize
    values = {
        256: pixels.shape[1],
        257: pixels.shape[0],
        258: [bits] * channels,
        259: 8 if deflate else 1,
        262: 2 if channels >= 3 else 1,
        273: 0,
        277: channels,
        278: pixels.shape[0],
        279: len(data),
        339: [{"u": 1, "i": 2, "f": 3}[pixels.dtype.kind]] * channels,
        **({338: 2} if channels == 4 else {}),
        **{int(name[1:]): value for name, value in tags.items()},
    }
    start = 8 + 2 + 12 * len(values) + 4
    extra = b""
    entries = b""
    for tag in sorted(values):
        value = values[tag]
        if isinstance(value, list) and len(value) > 2:
            entries += struct.pack(order + "HHII", tag, 3, len(value), start + len(extra))
            extra += struct.pack(order + f"{len(value)}H", *value)
            continue
        value = value[0] if isinstance(value, list) else value
        if tag in (256, 257, 273, 278, 279):
            value = "data" if tag == 273 else value
            entries += struct.pack(order + "HHI", tag, 4, 1) + (
                b"DATA" if value == "data" else struct.pack(order + "I", value)
            )
        else:
            entries += struct.pack(order + "HHIHH", tag, 3, 1, value, 0)
    entries = entries.replace(b"DATA", struct.pack(order + "I", start + len(extra)))
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, len(values))
    return head + entries + bytes(4) + extra + data


def exif_block(order: str, *entries: tuple[int, int, int, bytes], directory: int = 8) -> bytes:
    """A TIFF header and a directory: tag, type, count and value of each entry."""
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", directory)
    rows = b"".join(struct.pack(order + "HHI", *entry[:3]) + entry[3] for entry in entries)
    return head + bytes(max(0, directory - 8)) + struct.pack(order + "H", len(entries)) + rows + bytes(4)


def orientation_entry(order: str, value: int, kind: int = 3, count: int = 1, tag: int = 0x0112):
    return tag, kind, count, struct.pack(order + "HH", value, 0)
