"""The parts that JPEG and PNG files are made of, by their bytes alone.

Pillow reads more than the pixels need (text, EXIF of any kind, checksums of what may be skipped), and fails where that
is odd. What is read here cannot fail: a file that is cut off or malformed has fewer parts.
"""

from __future__ import annotations

import dataclasses
import struct
import zlib
from collections.abc import Iterator

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
JPEG_SIGNATURE = b"\xff\xd8\xff"
# More parts than any real file has before what is looked for; bounds the time that a hostile one takes.
MOST_PARTS = 10_000


@dataclasses.dataclass(frozen=True)
class Part:
    """A segment of a JPEG or a chunk of a PNG: its kind, and where its content is in the file."""

    kind: bytes
    start: int
    end: int


@dataclasses.dataclass(frozen=True)
class Header:
    """What the header of a JPEG or PNG says.

    Attributes:
      format: `jpeg` or `png`.
      height: as stored, in pixels.
      width: as stored, in pixels.
      bits: per channel, or per index of a palette.
      channels: of a JPEG 1, 3 or 4; of a PNG 1 to 4, without the transparency that a separate chunk may give.
      has_palette: whether pixels are indices.
    """

    format: str
    height: int
    width: int
    bits: int
    channels: int
    has_palette: bool = False


def parts(content: bytes) -> Iterator[Part]:
    """The complete chunks of a PNG, or the complete segments of a JPEG before its pixels; of anything else, none."""
    if content.startswith(PNG_SIGNATURE):
        yield from _chunks(content)
    elif content.startswith(JPEG_SIGNATURE):
        yield from _segments(content)


def _chunks(content: bytes) -> Iterator[Part]:
    place = len(PNG_SIGNATURE)
    for _ in range(MOST_PARTS):
        if place + 12 > len(content):
            return
        length, kind = struct.unpack_from(">I4s", content, place)
        if place + 12 + length > len(content):
            return
        yield Part(kind, place + 8, place + 8 + length)
        if kind == b"IEND":
            return
        place += 12 + length


def _segments(content: bytes) -> Iterator[Part]:
    place = 2
    for _ in range(MOST_PARTS):
        if place + 4 > len(content) or content[place] != 0xFF:
            return
        marker = content[place + 1]
        if marker == 0xFF:  # A fill byte.
            place += 1
            continue
        length = int.from_bytes(content[place + 2 : place + 4], "big")
        # Other markers have no segment, or begin the pixels.
        if not (0xC0 <= marker <= 0xCF or 0xDB <= marker <= 0xFE) or length < 2 or place + 2 + length > len(content):
            return
        yield Part(bytes([marker]), place + 4, place + 2 + length)
        place += 2 + length


def read_header(content: bytes) -> Header | None:
    """The header of a JPEG or PNG; None if there is no complete one."""
    for part in parts(content):
        if content.startswith(PNG_SIGNATURE):
            if part.kind != b"IHDR" or part.end - part.start != 13:
                return None
            width, height, bits, color = struct.unpack_from(">IIBB", content, part.start)
            channels = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}.get(color)
            valid = channels and width and height
            return Header("png", height, width, bits, channels or 0, has_palette=color == 3) if valid else None
        # Start of frame: DHT, JPG and DAC lie in its range.
        if 0xC0 <= part.kind[0] <= 0xCF and part.kind[0] not in (0xC4, 0xC8, 0xCC):
            if part.end - part.start < 6:
                return None
            bits, height, width, channels = struct.unpack_from(">BHHB", content, part.start)
            return Header("jpeg", height, width, bits, channels) if width and height else None
    return None


def is_deep(encoded: bytes) -> bool:
    """Whether an image that is stored already is other than gray or RGB of 8 bits."""
    header = read_header(encoded)
    return header is None or header.bits > 8


def only_pixels(content: bytes) -> bytes:
    """A PNG without the chunks that pixels do not need, or a JPEG without its APP segments that they do not need.

    Raises:
      ValueError: if the checksum of a chunk that pixels need is wrong.
    """
    if content.startswith(PNG_SIGNATURE):
        kept = [PNG_SIGNATURE]
        end = len(PNG_SIGNATURE)
        for part in parts(content):
            end = part.end + 4
            is_critical = not part.kind[0] & 0x20
            is_intact = zlib.crc32(content[part.start - 4 : part.end]) == int.from_bytes(content[part.end : end], "big")
            if is_critical and not is_intact:
                raise ValueError(f"damaged: the checksum of its chunk {part.kind.decode('ascii', 'replace')} is wrong")
            if is_critical or (part.kind == b"tRNS" and is_intact):
                kept.append(content[part.start - 8 : end])
        # What is cut off may be the last bytes of the file, after the last pixel.
        return b"".join([*kept, content[end:]])
    kept, end = [content[:2]], 2
    for part in parts(content):
        end = part.end
        # APP14 says how colors are coded; APP0 is JFIF's.
        if not 0xE1 <= part.kind[0] <= 0xEF or part.kind[0] == 0xEE:
            kept.append(content[part.start - 4 : end])
    return b"".join([*kept, content[end:]])
