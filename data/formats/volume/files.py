"""What is a file of a volume, whatever its format? Its grid is read from headers, its voxels only when asked for."""

from __future__ import annotations

import abc
import functools
import glob
import importlib
import os
from collections.abc import Iterable

import numpy as np

from data.base.errors import UserError
from data.base.files import find, is_folder, is_remote, read_bytes
from data.decoding.errors import BadImageError
from data.formats.volume.grid import Grid

MAX_VOXELS = 1_000_000_000
NIFTI = (".nii.gz", ".nii")
STACK = (".tif", ".tiff")
DICOM = (".dcm", ".dicom", ".ima")
# More than compression ever leaves of a volume: so much cannot be in a file, whatever its header says.
_MOST_COMPRESSED = 20_000
_DICOM_MARK = 128


class VolumeFile(abc.ABC):
    """A volume that was opened.

    Attributes:
      grid: where its voxels lie.
      dtype: of its values.
      patient: what the file calls the patient, or an empty string.
    """

    grid: Grid
    dtype: np.dtype
    patient: str = ""

    @abc.abstractmethod
    def values(self) -> np.ndarray:
        """All voxels, in the order of the grid, in the file's physical units, such as Hounsfield's.

        Raises:
          BadImageError: if they cannot be read.
        """

    def check_on(self, grid: Grid) -> None:
        """Raises a BadImageError if it cannot be the mask of a volume with this grid, as far as headers tell."""
        grid.check_same(self.grid)

    def values_on(self, grid: Grid) -> np.ndarray:
        """All voxels in the order of another grid, whose mask this is.

        Raises:
          BadImageError: if it lies elsewhere, or cannot be read.
        """
        self.check_on(grid)
        return grid.moved(self.values(), self.grid)


def volume_extension(path: str) -> str | None:
    """The extension of a file that may be a volume or a part of one, which may be empty; None for others."""
    name = os.path.basename(path)
    lower = name.lower()
    for extension in (*NIFTI, *STACK, *DICOM):
        if lower.endswith(extension) and len(lower) > len(extension):
            return name[-len(extension) :]
    # Scanners number DICOM files, and name them by identifiers made of numbers and dots.
    rest = os.path.splitext(name)[1]
    return rest if lower != "dicomdir" and (not rest or rest[1:].isdigit()) and _is_dicom(path) else None


def is_part_of_series(path: str) -> bool:
    """Whether a file is a DICOM file, by its name or by what it begins with; hidden ones (macOS's notes) are not."""
    if os.path.basename(path).startswith(".") or path.lower().endswith((*NIFTI, *STACK)):
        return False
    return volume_extension(path) is not None


def volume_stem(name: str) -> str:
    """A file's name without the extension, which may have two parts."""
    extension = next((one for one in NIFTI if name.lower().endswith(one)), os.path.splitext(name)[1])
    return name[: len(name) - len(extension)]


def _is_dicom(path: str) -> bool:
    if not is_remote(path) and not os.path.isfile(path):  # At a pipe, reading would wait.
        return False
    try:
        return read_bytes(path, _DICOM_MARK, 4) == b"DICM"
    except OSError:  # Whoever reads it says why.
        return False


def open_volume(path: str, max_voxels: int = MAX_VOXELS) -> VolumeFile:
    """Reads the headers of a volume: a NIfTI file, a TIFF stack, a DICOM file, or a folder with the files of a series.

    Args:
      path: the file or the folder.
      max_voxels: larger volumes are refused before they are read.

    Raises:
      BadImageError: if it is none, or is broken.
      OSError: if it cannot be read.
      UserError: if the package that reads it is not installed.
    """
    lower = path.lower()
    try:
        importlib.import_module("nibabel")  # Turns the grids of all kinds.
        if lower.endswith(NIFTI):
            from data.formats.volume.nifti import NiftiFile

            return NiftiFile(path, max_voxels)
        if lower.endswith(STACK):
            from data.formats.volume.stack import TiffStack

            return TiffStack(path, max_voxels)
        from data.formats.volume.dicom import open_dicom

        return open_dicom(path, max_voxels)
    except ImportError as error:
        raise UserError(
            f"{path}: it is read by the package {error.name}, which is missing; pip install 'segpipe[volumes]'"
        ) from None


def is_volume(path: str) -> bool:
    """Whether a path on this machine is a volume: a NIfTI or DICOM file, a TIFF of several pages, a series' folder.

    Raises:
      OSError: if it cannot be read.
    """
    if not os.path.isfile(path):
        return is_series(path)
    if path.lower().endswith(STACK):
        from data.formats.volume.stack import count_pages

        return count_pages(path) > 1
    return volume_extension(path) is not None


def is_series(folder: str) -> bool:
    """Whether a folder directly holds DICOM files."""
    if is_remote(folder) or not is_folder(folder):
        return False
    with os.scandir(folder) as entries:
        files = sorted(entry.path for entry in entries if entry.is_file())
    return any(is_part_of_series(path) for path in files)


def check_claim(path: str, shape: tuple[int, ...], bytes_each: int, max_voxels: int, is_compressed: bool) -> None:
    """Raises a BadImageError if a header claims more voxels than the file can hold, or than are read.

    Args:
      path: the file.
      shape: of the array.
      bytes_each: bytes of a voxel.
      max_voxels: the limit.
      is_compressed: whether the file may be compressed.
    """
    count = 1
    for size in shape:
        count *= int(size)
    size_of_file = find(glob.escape(path))[0].size if is_remote(path) else os.path.getsize(path)
    if count * bytes_each > size_of_file * (_MOST_COMPRESSED if is_compressed else 1):
        raise BadImageError(
            f"its header claims {'x'.join(map(str, shape))} voxels, {count * bytes_each:,} bytes, which a file of "
            f"{size_of_file:,} bytes cannot hold: it is damaged or cut off; copy it again"
        )
    if count > max_voxels:
        raise BadImageError(f"its {'x'.join(map(str, shape))} voxels are more than the limit of {max_voxels}")


def physical_type(dtype: np.dtype, low: int, high: int, slope: float, intercept: float) -> np.dtype:
    """The type of stored values × slope + intercept, by what headers say: whole numbers stay whole where they can.

    Args:
      dtype: of the stored values.
      low: the smallest value that may be stored, if they are integers.
      high: the largest one.
      slope: of the physical values.
      intercept: likewise.
    """
    if dtype.kind not in "iu" or not (float(slope).is_integer() and float(intercept).is_integer()):
        return np.dtype(np.float32)
    if slope == 1 and intercept == 0 and dtype.itemsize <= 4:
        return dtype.newbyteorder("=")
    ends = sorted(end * int(slope) + int(intercept) for end in (low, high))
    for kind in (np.int16, np.int32):
        limits = np.iinfo(kind)
        if limits.min <= ends[0] and ends[1] <= limits.max:
            return np.dtype(kind)
    return np.dtype(np.float32)


def common_type(types: Iterable[np.dtype]) -> np.dtype:
    """The type in which all volumes of a data set are stored, so that a value means the same in each."""
    found = functools.reduce(np.promote_types, types)
    return found if found.kind in "iu" and found.itemsize <= 4 else np.dtype(np.float32)


def physical(values: np.ndarray, slope: float, intercept: float, dtype: np.dtype) -> np.ndarray:
    """Stored values × slope + intercept, of the type that `physical_type` found."""
    if slope == 1 and intercept == 0:
        return values.astype(dtype, copy=False)
    if dtype.kind == "f":
        return (values.astype(np.float64) * slope + intercept).astype(dtype)
    return (values.astype(np.int64) * int(slope) + int(intercept)).astype(dtype)
