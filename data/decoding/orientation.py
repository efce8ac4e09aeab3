"""How an image is to be turned so that it is upright, as its EXIF says.

Cameras store the pixels as the sensor lies, with a number from 1 to 8 for how to turn them. segpipe turns images
upright on every way in; images in TFRecords are taken as they are stored, since their masks belong to that.

The number counts where browsers, and so annotation tools, look for it: in the first APP1 segment of a JPEG that begins
with "Exif", in the eXIf chunk of a PNG, as one number of 16 bits in the first directory. EXIF that is cut off, loops or
has wrong types is no error, but says nothing. `models/inputs/encoded.py` finds the same in the exported graph.
"""

from __future__ import annotations

import zlib
from typing import Literal

import numpy as np

from data.base.errors import UserError
from data.decoding.notes import Notes
from data.decoding.structure import PNG_SIGNATURE, parts

Orientation = Literal["upright", "stored"]

EXIF_PREFIX = b"Exif\0\0"
LITTLE_ENDIAN, BIG_ENDIAN = b"II*\0", b"MM\0*"
TAG = 0x0112
_SHORT = 3

# What is noted about an image that EXIF turns: only one way to read it has the size of the mask; or both have.
ONLY_UPRIGHT, ONLY_STORED = "orientation_only_upright_fits", "orientation_only_stored_fits"
ASSUMED, CHOSEN = "orientation_assumed_upright", "orientation_chosen_"


def exif_orientation(content: bytes) -> int:
    """How EXIF in a JPEG (APP1) or a PNG (eXIf) says the image is to be turned, 1 to 8; 1, upright, if nothing does."""
    place = _place(content)
    return int.from_bytes(content[place[0] : place[0] + 2], place[1]) if place else 1


def block_orientation(block: bytes) -> int:
    """The same for a block of EXIF by itself, which begins with a TIFF header."""
    block = block.removeprefix(EXIF_PREFIX)
    place = _place_in_block(block, 0, len(block))
    return int.from_bytes(block[place[0] : place[0] + 2], place[1]) if place else 1


def without_orientation(content: bytes) -> bytes:
    """The same JPEG or PNG with an EXIF that says it is upright; no other byte changes, except for a PNG's checksum."""
    place = _place(content)
    if place is None or exif_orientation(content) == 1:
        return content
    changed = bytearray(content)
    changed[place[0] : place[0] + 2] = (1).to_bytes(2, place[1])
    if content.startswith(PNG_SIGNATURE):
        chunk = next(part for part in parts(content) if part.kind == b"eXIf")
        checksum = zlib.crc32(changed[chunk.start - 4 : chunk.end])
        changed[chunk.end : chunk.end + 4] = checksum.to_bytes(4, "big")
    return bytes(changed)


def turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Turns pixels upright.

    Args:
      pixels: [height, width, …], as stored.
      orientation: 1 to 8.
    """
    if orientation >= 5:
        pixels = np.swapaxes(pixels, 0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def turned_back(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Undoes `turned`."""
    return turned(pixels, {6: 8, 8: 6}.get(orientation, orientation))


def turned_size(height: int, width: int, orientation: int) -> tuple[int, int]:
    """Height and width once an image is turned upright."""
    return (width, height) if orientation >= 5 else (height, width)


def _place(content: bytes) -> tuple[int, Literal["little", "big"]] | None:
    """Where in the file the valid orientation is, two bytes, and their order."""
    for part in parts(content):
        if content.startswith(PNG_SIGNATURE):
            if part.kind == b"eXIf":
                return _place_in_block(content, part.start, part.end)
        elif part.kind == b"\xe1" and content[part.start : part.end].startswith(EXIF_PREFIX):
            return _place_in_block(content, part.start + len(EXIF_PREFIX), part.end)
    return None


def _place_in_block(content: bytes, start: int, end: int) -> tuple[int, Literal["little", "big"]] | None:
    header = content[start : min(start + 4, end)]
    if header not in (LITTLE_ENDIAN, BIG_ENDIAN):
        return None
    order: Literal["little", "big"] = "little" if header == LITTLE_ENDIAN else "big"

    def number(place: int, size: int) -> int:
        return int.from_bytes(content[place : place + size], order)

    if start + 8 > end:
        return None
    directory = start + number(start + 4, 4)
    if directory + 2 > end:
        return None
    count = min(number(directory, 2), (end - directory - 2) // 12)
    for entry in range(directory + 2, directory + 2 + 12 * count, 12):
        if number(entry, 2) == TAG:
            is_valid = number(entry + 2, 2) == _SHORT and number(entry + 4, 4) == 1 and 1 <= number(entry + 8, 2) <= 8
            return (entry + 8, order) if is_valid else None
    return None


def check_orientation(notes: Notes) -> None:
    """Raises a UserError if turning images upright, which nobody asked for, contradicts other pairs of the data set."""
    if ONLY_STORED in notes.first and ASSUMED in notes.first:
        raise UserError(
            f"the EXIF of {notes.first[ONLY_STORED]} turns it, but its mask fits it as it is stored; the mask of "
            f"{notes.first[ASSUMED]}, which EXIF turns too, fits both ways, as do {notes.counts[ASSUMED]} in all. Look "
            "at one of them: --orientation stored if its mask belongs to the image as it is stored, --orientation "
            "upright if to the image as viewers show it"
        )


def remarks(notes: Notes) -> list[str]:
    """What the user should know about the images whose orientation no mask's size decided."""
    lines = []
    for kind, meaning in (
        (ASSUMED, "read as viewers show them; --orientation stored reads them as stored"),
        (CHOSEN + "upright", "read as viewers show them"),
        (CHOSEN + "stored", "read as stored"),
    ):
        if count := notes.counts.get(kind):
            lines.append(f"images that EXIF turns, with a mask that fits both ways: {count}, {meaning}")
    return lines
