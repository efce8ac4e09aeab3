"""Images that are neither JPEG nor PNG as the data contract stores them: NumPy's own format, gzipped.

Any number of bands, and integers or floats, in a form that names its shape and type, that one line of Python writes,
and that TensorFlow's graph decodes by itself (`models.inputs.arrays`).
"""

from __future__ import annotations

import gzip
import io
import json
import math
from collections.abc import Callable, Sequence
from typing import IO, TYPE_CHECKING, TypeVar

from data.decoding.errors import BadImageError
from data.decoding.notes import note

if TYPE_CHECKING:  # The data contract is read without NumPy.
    import numpy as np

_T = TypeVar("_T")

FORMAT = "npy"
MAX_BANDS = 64
# Of NumPy, as the header writes them.
TYPES = ("|u1", "|i1", "<u2", "<i2", "<u4", "<i4", "<f4")
GZIP_SIGNATURE, MAGIC = b"\x1f\x8b", b"\x93NUMPY"
# What is noted about an image: its type, number of bands, their names, and which value stands for no data.
NOTED_TYPE, NOTED_BANDS, NOTED_NAMES, NOTED_NODATA = "image_type ", "image_bands ", "image_band_names ", "image_nodata "
# And how the volume was cut that it is a slice of.
NOTED_SLICING = "image_slicing "


def encode_array(values: np.ndarray) -> bytes:
    """Gzipped bytes of NumPy's format, version 1.0, the same for the same values.

    Args:
      values: [height, width] or [height, width, bands] of any number type. Floats become 32 bits, as do integers of 64
        bits if they fit, and otherwise floats.

    Raises:
      BadImageError: if there are no bands or more than `MAX_BANDS`, or the values are not numbers.
    """
    import numpy as np

    values = values[..., np.newaxis] if values.ndim == 2 else values
    if values.ndim != 3 or not 1 <= values.shape[2] <= MAX_BANDS:
        raise BadImageError(f"an image has 1 to {MAX_BANDS} bands, not the shape {list(values.shape)}")
    if values.dtype.kind not in "buif":
        raise BadImageError(f"its values are {values.dtype}, not integers or floats")
    stored = np.ascontiguousarray(values.astype(stored_type(values)))
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, stored, version=(1, 0), allow_pickle=False)
    # Most of the time of a higher level would go into a few percent.
    return gzip.compress(buffer.getvalue(), compresslevel=4, mtime=0)


def stored_type(values: np.ndarray) -> str:
    """The one of `TYPES` in which `encode_array` stores values."""
    import numpy as np

    if values.dtype.kind == "b":
        return "|u1"
    if values.dtype.kind == "f":
        return "<f4"
    if values.dtype.itemsize < 8:
        return values.dtype.newbyteorder("<").str
    low, high = (int(values.min()), int(values.max())) if values.size else (0, 0)
    for name in ("<i4", "<u4"):
        limits = np.iinfo(name)
        if limits.min <= low and high <= limits.max:
            return name
    return "<f4"


def decode_array(content: bytes, max_values: int) -> np.ndarray:
    """Reads what `encode_array` writes, or the same without gzip.

    Args:
      content: the bytes.
      max_values: more values than these are refused before they are unpacked.

    Returns:
      [height, width, bands], of one of `TYPES`.

    Raises:
      BadImageError: if it is damaged, claims more than it has, or is of another type or shape.
    """
    import numpy as np

    def read(file: IO[bytes]) -> np.ndarray:
        shape, dtype = _read_header(file)
        count = math.prod(shape)
        if count > max_values:
            raise BadImageError(f"its shape {list(shape)} has more values than the limit of {max_values}")
        data = file.read(count * dtype.itemsize + 1)
        if len(data) != count * dtype.itemsize:
            raise BadImageError(f"damaged: its header says {count} values, it has {len(data) // dtype.itemsize}")
        return np.frombuffer(data, dtype).reshape(shape)

    return _unpacked(content, read)


def array_shape(content: bytes) -> tuple[int, int, int]:
    """Height, width and bands, by the header alone.

    Raises:
      BadImageError: as for `decode_array`.
    """
    return _unpacked(content, lambda file: _read_header(file)[0])


def _unpacked(content: bytes, read: Callable[[IO[bytes]], _T]) -> _T:
    try:
        with gzip.open(io.BytesIO(content)) if content.startswith(GZIP_SIGNATURE) else io.BytesIO(content) as file:
            return read(file)  # type: ignore[arg-type]
    except BadImageError:
        raise
    except Exception as error:  # NumPy and zlib raise nearly anything on broken bytes.
        raise BadImageError(f"unreadable: {str(error) or type(error).__name__}") from None


def _read_header(file: IO[bytes]) -> tuple[tuple[int, int, int], np.dtype]:
    import numpy as np

    if np.lib.format.read_magic(file) != (1, 0):
        raise BadImageError("it is of another version of NumPy's format than 1.0")
    shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(file)
    if is_fortran or len(shape) != 3 or dtype.str not in TYPES:
        raise BadImageError(
            f"it holds {dtype} of the shape {list(shape)}; stored are [height, width, bands] in C order, of "
            f"{', '.join(np.dtype(name).name for name in TYPES)}"
        )
    if not 1 <= shape[2] <= MAX_BANDS or min(shape) < 1:
        raise BadImageError(f"its shape {list(shape)} is not one of 1 to {MAX_BANDS} bands")
    return shape, dtype


def no_data(values: np.ndarray, nodata: float | None = None) -> np.ndarray:
    """Which pixels have no data: [height, width] bool.

    Those that have the value for no data in all bands, or, if that can be no measurement (`may_be_measured`), in any;
    and those that are not finite in any band.

    Args:
      values: [height, width] or [height, width, bands].
      nodata: the value that stands for no data, if any does; in floats, what is not finite does so, too.
    """
    import numpy as np

    values = values[..., np.newaxis] if values.ndim == 2 else values
    own = own_nodata(values.dtype, nodata)
    is_missing = np.zeros(values.shape[:2], bool)
    if values.dtype.kind == "f":
        is_missing |= ~np.isfinite(values).all(axis=2)
    if own is not None:
        is_missing |= (np.all if may_be_measured(own) else np.any)(values == own, axis=2)
    return is_missing


def may_be_measured(own: np.generic) -> bool:
    """Whether a band may have the value for no data where there is data: 0, and all that unsigned integers have.

    A dark pixel may be 0 in one band, and a bright one 255. A value such as -9999 is out of the range of what is
    measured, and would be taken for a measurement if the pixel counted for the sake of its other bands.
    """
    return own.dtype.kind in "bu" or own == 0


def own_nodata(dtype: np.dtype, nodata: float | None) -> np.generic | None:
    """The value that stands for no data, in a type of pixels; None if no pixel of this type can have it."""
    import numpy as np

    if nodata is None or np.isnan(nodata):
        return None
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            return dtype.type(nodata)
    limits = np.iinfo(np.uint8 if dtype.kind == "b" else dtype)
    return dtype.type(nodata) if float(nodata).is_integer() and limits.min <= nodata <= limits.max else None


def note_bands(names: Sequence[str]) -> None:
    """Notes the names of the bands of the image that is being read; those of all images have to be the same."""
    note(NOTED_NAMES + json.dumps(list(names), ensure_ascii=False))
