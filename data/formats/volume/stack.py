"""TIFF files with several pages, each of which is a slice."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from typing import Any, BinaryIO, Literal

import numpy as np

from data.base.files import is_remote, read_bytes
from data.decoding.errors import BadImageError
from data.formats.volume.files import VolumeFile, check_claim, common_type
from data.formats.volume.grid import Grid

_SUBFILE_TYPE, _SMALLER_COPY, _TRANSPARENCY = 254, 1, 4


class TiffStack(VolumeFile):
    """The pages of a TIFF as slices from below up; GDAL reads them with all bits that they have."""

    def __init__(self, path: str, max_voxels: int):
        self._path = path
        with _errors(), _names(path) as names, _page(names[0]) as first:
            self._pages = len(names)
            height, width, count, stored = first.height, first.width, first.count, np.dtype(first.dtypes[0])
        if count != 1:
            raise BadImageError(f"its pages have {count} channels, and a voxel has one value; save one of them")
        if stored.kind not in "iuf":
            raise BadImageError(f"its pixels are {stored}; a volume has one integer or float for each")
        check_claim(path, (width, height, self._pages), stored.itemsize, max_voxels, is_compressed=True)
        self.dtype = common_type([stored])
        self.grid = Grid.of_pages(width, height, self._pages)

    def values(self) -> np.ndarray:
        width, height, count = self.grid.shape
        pages = []
        with _errors(), _names(self._path) as names:
            for number, name in enumerate(names, start=1):
                with _page(name) as page:
                    if (page.width, page.height, page.count) != (width, height, 1):
                        raise BadImageError(
                            f"its pages differ in size: page 1 has {width}x{height} pixels, page {number} "
                            f"{page.width}x{page.height}; save those of one size as a file of their own"
                        )
                    pages.append(page.read(1))
        if len(pages) != count:
            raise BadImageError(f"it changed while it was read: it had {count} pages, it has {len(pages)}")
        return np.stack(pages, axis=-1).swapaxes(0, 1).astype(self.dtype, copy=False)


def count_pages(path: str) -> int:
    """How many pages of the first one's size a TIFF has; 1 if it is none.

    Raises:
      OSError: if it cannot be read.
    """
    try:
        with _errors(), _names(path) as names:
            if len(names) == 1:
                return 1
            with _page(names[0]) as first, _page(names[1]) as second:
                return len(names) if first.shape == second.shape else 1
    except BadImageError:
        return 1


@contextlib.contextmanager
def _names(path: str) -> Iterator[list[str]]:
    """What GDAL calls the pages of a file."""
    import rasterio

    if is_remote(path):
        content = read_bytes(path)
        with rasterio.MemoryFile(content, ext=".tif") as memory:
            yield [f"GTIFF_DIR:{number}:{memory.name}" for number in page_numbers(io.BytesIO(content))]
        return
    with open(path, "rb") as file:
        numbers = page_numbers(file)
    yield [f"GTIFF_DIR:{number}:{path}" for number in numbers]


def page_numbers(file: BinaryIO) -> list[int]:
    """Which directories of a TIFF, from 1 on, are pages, and not smaller copies or transparency masks of pages.

    GDAL takes a file that is cut off for one with fewer pages.

    Raises:
      BadImageError: if it is no TIFF, or is cut off.
    """
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    head = file.read(16)
    order: Literal["little", "big"] = "little" if head[:2] == b"II" else "big"
    version = int.from_bytes(head[2:4], order)
    if head[:2] not in (b"II", b"MM") or version not in (42, 43):
        raise BadImageError("it is not a TIFF")
    # Bytes of an offset, of a count of entries, and of an entry, in TIFF and in BigTIFF.
    width, count_bytes, entry_bytes = (4, 2, 12) if version == 42 else (8, 8, 20)
    offset = int.from_bytes(head[width : 2 * width], order)
    seen: set[int] = set()
    numbers = []
    while offset:
        file.seek(offset)
        entries = file.read(count_bytes)
        # In order of their tags; that of the kind of page has the lowest number.
        first = file.read(entry_bytes)
        end = offset + count_bytes + int.from_bytes(entries, order) * entry_bytes
        if end + width > size or offset in seen:
            raise BadImageError(f"it is cut off, or damaged, after {len(seen)} pages; copy it again")
        seen.add(offset)
        is_typed = int.from_bytes(first[:2], order) == _SUBFILE_TYPE
        kind = int.from_bytes(first[-width:][:4], order) if is_typed else 0
        if not kind & (_SMALLER_COPY | _TRANSPARENCY):
            numbers.append(len(seen))
        file.seek(end)
        offset = int.from_bytes(file.read(width), order)
    if not numbers:
        raise BadImageError("it has no pages")
    return numbers


@contextlib.contextmanager
def _page(name: str) -> Iterator[Any]:
    import rasterio

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.open(name, driver="GTiff") as dataset:
            yield dataset


@contextlib.contextmanager
def _errors() -> Iterator[None]:
    from rasterio.errors import RasterioError

    try:
        yield
    except (RasterioError, ValueError) as error:
        reason = str(error.__cause__ or error).strip() or type(error).__name__
        raise BadImageError(f"unreadable: {reason.splitlines()[0]}") from None
