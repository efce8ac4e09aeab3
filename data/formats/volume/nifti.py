"""NIfTI files, compressed or not."""

from __future__ import annotations

import gzip
import io
import zlib
from typing import Any

import numpy as np

from data.base.files import read_bytes
from data.decoding.errors import BadImageError
from data.formats.volume.files import VolumeFile, check_claim, physical, physical_type
from data.formats.volume.grid import Grid

_GZIP = b"\x1f\x8b"
# Of NIfTI-1 and NIfTI-2.
_HEADER_BYTES = (348, 540)
# Millimeters in meters and microns, by the codes of NIfTI; others are taken for millimeters.
_UNITS = {1: 1000.0, 3: 0.001}
# Enough of a compressed file to find the header in it.
_HEAD = 8192


class NiftiFile(VolumeFile):
    """A NIfTI-1 or NIfTI-2 file, `.nii` or `.nii.gz`.

    Attributes:
      header: as nibabel reads it.
      shape: of the array in the file, which may have further axes of length 1.
    """

    def __init__(self, path: str, max_voxels: int):
        self._path = path
        head = read_bytes(path, 0, _HEAD)
        self._is_compressed = head.startswith(_GZIP)
        try:
            self.header = _header(_unpacked(head) if self._is_compressed else head)
            self.shape = tuple(int(size) for size in self.header.get_data_shape())
            affine = np.asarray(self.header.get_best_affine(), np.float64)
            dtype = self.header.get_data_dtype()
            slope, intercept = self.header.get_slope_inter()
        except (BadImageError, ImportError):
            raise
        except Exception as error:  # nibabel raises nearly anything on broken headers.
            raise BadImageError(f"unreadable: {str(error) or type(error).__name__}") from None
        if dtype.kind not in "iuf":
            raise BadImageError(f"its voxels are {dtype}; a volume has one integer or float for each")
        shape = (*self.shape, 1, 1)[: max(3, len(self.shape))]
        if len(self.shape) < 2 or any(size != 1 for size in shape[3:]) or min(shape) < 1:
            raise BadImageError(
                f"it has {len(self.shape)} dimensions ({'x'.join(map(str, self.shape))}), and a volume has 3; save "
                "each volume as a file of its own"
            )
        check_claim(path, self.shape, dtype.itemsize, max_voxels, self._is_compressed)
        unit = _UNITS.get(int(self.header["xyzt_units"]) % 8, 1.0)
        self.grid = Grid((shape[0], shape[1], shape[2]), affine, unit=unit)
        self.grid.check()
        self._scale = (1.0 if slope is None else slope, 0.0 if intercept is None else intercept)
        limits = np.iinfo(dtype) if dtype.kind in "iu" else None
        low, high = (int(limits.min), int(limits.max)) if limits else (0, 0)
        self.dtype = physical_type(dtype, low, high, *self._scale)

    def values(self) -> np.ndarray:
        needed = int(self.header.get_data_offset()) + int(np.prod(self.shape)) * self.header.get_data_dtype().itemsize
        try:
            content = read_bytes(self._path)
            if self._is_compressed:
                with gzip.open(io.BytesIO(content)) as file:
                    content = file.read(needed)
                    while file.read(1 << 20):  # To the end, where the checksum is.
                        pass
            if len(content) < needed:
                raise BadImageError(f"it is cut off: it has {len(content):,} of {needed:,} bytes; copy it again")
            values = self.header.raw_data_from_fileobj(io.BytesIO(content))
        except (BadImageError, MemoryError):
            raise
        except EOFError:
            raise BadImageError("it is cut off: its compressed data ends early; copy it again") from None
        except (gzip.BadGzipFile, zlib.error) as error:
            raise BadImageError(f"damaged: {error}; copy it again") from None
        except OSError:
            raise
        except Exception as error:  # nibabel raises nearly anything on broken files.
            raise BadImageError(f"unreadable: {str(error) or type(error).__name__}") from None
        return physical(np.asarray(values).reshape(self.grid.shape), *self._scale, self.dtype)


def _unpacked(head: bytes) -> bytes:
    try:
        return zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(head, max(_HEADER_BYTES))
    except zlib.error as error:
        raise BadImageError(f"damaged: {error}; copy it again") from None


def _header(content: bytes) -> Any:
    import nibabel

    sizes = {int.from_bytes(content[:4], order) for order in ("little", "big")}
    kind = nibabel.Nifti2Header if 540 in sizes else nibabel.Nifti1Header
    size = 540 if 540 in sizes else 348
    if not sizes & set(_HEADER_BYTES) or len(content) < size:
        raise BadImageError("it is not a NIfTI file, or it is cut off within its header")
    header = kind(content[:size])
    if bytes(header["magic"]).startswith(b"ni"):
        raise BadImageError("it is one of the two files .hdr and .img; save the volume as one file, .nii.gz")
    return header
