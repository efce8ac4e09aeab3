"""A raster on the ground: what its header says, whether the file keeps it, and its pixels, window by window."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from data.base.files import is_remote
from data.decoding.errors import BadImageError
from data.decoding.notes import note
from data.decoding.tiff import UNSAID_BAND, note_opacity
from data.formats.geotiff.windows import Window

if TYPE_CHECKING:  # Neither is needed to list the formats.
    import numpy as np
    import rasterio

# A block in a list of blocks takes at least these bytes of a file.
_BYTES_OF_PLACE = 4


@dataclasses.dataclass(frozen=True)
class Scene:
    """What the header of a raster says.

    Attributes:
      path: the file.
      height: in pixels.
      width: likewise.
      crs: the coordinate reference system as WKT; empty if the file has none, and the raster is plain pixels.
      transform: the six numbers of the affine transform from columns and rows to coordinates, as rasterio has them.
      bands: numbers of the bands, from 1 on, without alpha.
      dtype: of their values, as NumPy calls it.
      names: of the bands; empty unless each has its own.
      nodata: the value that stands for no data, if the file names one.
      has_mask: whether an alpha band or a mask in the file says which pixels count.
    """

    path: str
    height: int
    width: int
    crs: str
    transform: tuple[float, float, float, float, float, float]
    bands: tuple[int, ...]
    dtype: str
    names: tuple[str, ...]
    nodata: float | None
    has_mask: bool

    @property
    def is_georeferenced(self) -> bool:
        """Whether it is known where on the ground it lies."""
        return bool(self.crs)

    @property
    def resolution(self) -> tuple[float, float]:
        """Width and height of a pixel, in the units of the CRS."""
        a, b, _, d, e, _ = self.transform
        return (a * a + d * d) ** 0.5, (b * b + e * e) ** 0.5

    def bounds(self, window: Window) -> tuple[float, float, float, float]:
        """Left, bottom, right and top of a window, in the coordinates of the scene."""
        a, b, c, d, e, f = self.transform
        corners = [(column, row) for row in window.slices[0] for column in window.slices[1]]
        xs = [a * column + b * row + c for column, row in corners]
        ys = [d * column + e * row + f for column, row in corners]
        return min(xs), min(ys), max(xs), max(ys)

    def transform_of(self, window: Window) -> tuple[float, float, float, float, float, float]:
        """The affine transform of a window, as `transform` is that of the scene."""
        a, b, c, d, e, f = self.transform
        row, column = window.row, window.column
        return a, b, a * column + b * row + c, d, e, d * column + e * row + f

    @property
    def whole(self) -> Window:
        """All of it as one window."""
        return Window(0, 0, self.height, self.width)

    def describe_grid(self) -> str:
        """CRS, resolution and size, for messages."""
        width, height = self.resolution
        pixel = f"{width:.6g}" if abs(width - height) < 1e-6 * width else f"{width:.6g} x {height:.6g}"
        size = f"{self.width}x{self.height} pixels"
        if not self.crs:
            return f"no CRS, {size}"
        _, _, x, _, _, y = self.transform
        return f"{crs_name(self.crs)}, pixels of {pixel}, {size} from {x:.10g}, {y:.10g}"


def crs_name(wkt: str) -> str:
    """A short name of a CRS, such as `EPSG:32633`."""
    from rasterio.crs import CRS

    crs = CRS.from_wkt(wkt)
    code = crs.to_epsg()
    return f"EPSG:{code}" if code else wkt.split('"')[1] if '"' in wkt else wkt


class UnreadableError(BadImageError):
    """A raster that GDAL cannot read."""


def raster_errors() -> tuple[type[Exception], ...]:
    """What rasterio raises; where it forgot to wrap them, GDAL's own errors among it."""
    from rasterio._err import CPLE_BaseError
    from rasterio.errors import RasterioError

    return RasterioError, CPLE_BaseError


@contextlib.contextmanager
def explained(path: str, what: str = "") -> Iterator[None]:
    """Turns what goes wrong with a raster in the `with` block into an UnreadableError.

    Args:
      path: the file.
      what: what errors say before all else, such as `its mask: `.
    """
    try:
        yield
    except raster_errors() as error:
        raise UnreadableError(f"{what}unreadable: {_reason(error, path)}") from None


@contextlib.contextmanager
def opened(path: str) -> Iterator[rasterio.DatasetReader]:
    """A raster that is open.

    Raises:
      UnreadableError: if it cannot be opened, or what is read of it in the `with` block cannot be decoded.
      OSError: if there is no such file, or it may not be read.
    """
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning

    # The reader says it once for all scenes.
    warnings.filterwarnings("ignore", category=NotGeoreferencedWarning)
    if not is_remote(path):
        os.stat(path)  # Says why it cannot be read.
    with explained(path), rasterio.open(path) as source:
        yield source


def _reason(error: BaseException, path: str) -> str:
    """GDAL's own words, which are the cause of what rasterio raises."""
    cause = error.__cause__ or error
    lines = str(cause).strip().splitlines() or [type(cause).__name__]
    return lines[0].replace(path, os.path.basename(path)).rstrip(".")


def read_header(source: rasterio.DatasetReader, path: str) -> Scene:
    """What the header of an open raster says.

    Raises:
      BadImageError: if it has no band of data.
    """
    from rasterio.enums import ColorInterp, MaskFlags

    bands = tuple(
        number for number, kind in enumerate(source.colorinterp, start=1) if kind != ColorInterp.alpha or number == 1
    )
    if not bands or not source.height or not source.width:
        raise BadImageError("it has no bands, or no pixels")
    names = tuple(source.descriptions[number - 1] or "" for number in bands)
    has_names = all(names) and len(set(names)) == len(names)
    a, b, c, d, e, f = tuple(source.transform)[:6]
    return Scene(
        path=path,
        height=source.height,
        width=source.width,
        crs=source.crs.to_wkt() if source.crs else "",
        transform=(a, b, c, d, e, f),
        bands=bands,
        dtype=source.dtypes[0],
        names=names if has_names else (),
        nodata=source.nodata,
        has_mask=MaskFlags.per_dataset in source.mask_flag_enums[0],
    )


def look_at_scene(path: str, max_pixels: int) -> Scene:
    """What the header of a raster says, if the file can hold what it says.

    Args:
      path: the file.
      max_pixels: a file whose blocks, which GDAL decodes whole, have more pixels is refused.

    Raises:
      BadImageError: if it is no raster, or cut off; says so by where blocks should be, without decoding them.
      OSError: if it cannot be read.
    """
    with opened(path) as source:
        scene = read_header(source, path)
        rows, columns = source.block_shapes[0]
        if rows * columns > max_pixels:
            raise BadImageError(
                f"it is stored in blocks of {columns}x{rows} pixels, of which each has to be decoded at once, and "
                f"--max-pixels is {max_pixels}; write it in tiles, as `gdal_translate -co TILED=YES` does"
            )
        if source.driver == "GTiff" and not is_remote(path):
            _check_blocks(source, os.path.getsize(path))
    return scene


def _check_blocks(source: rasterio.DatasetReader, size: int) -> None:
    """Raises a BadImageError if blocks lie beyond the end of the file, or there are none."""
    rows, columns = source.block_shapes[0]
    down, across = -(-source.height // rows), -(-source.width // columns)
    planes = 1 if source.profile.get("interleave") == "pixel" else source.count
    claim = f"{source.width}x{source.height} pixels in {source.count} bands"
    if down * across * planes > 1 and down * across * planes * _BYTES_OF_PLACE > size:
        raise BadImageError(f"its header claims {claim}, and a file of {size} bytes cannot hold a list of the blocks")
    end = 0
    for plane in range(1, planes + 1):
        for row in range(down):
            for column in range(across):
                start = source.get_tag_item(f"BLOCK_OFFSET_{column}_{row}", "TIFF", bidx=plane)
                length = source.get_tag_item(f"BLOCK_SIZE_{column}_{row}", "TIFF", bidx=plane)
                end = max(end, int(start) + int(length)) if start and length else end
    if end > size:
        raise BadImageError(f"cut off: its pixels reach to byte {end}, and the file has {size} bytes; copy it again")
    if not end:
        raise BadImageError(f"its header claims {claim}, and the file of {size} bytes holds none of them")


def read_window(source: rasterio.DatasetReader, scene: Scene, window: Window) -> tuple[np.ndarray, np.ndarray]:
    """The pixels of a window.

    Args:
      source: the raster, open.
      scene: its header.
      window: which pixels.

    Returns:
      [height, width] or [height, width, bands] values as the file has them; and [height, width] bool, where an alpha
      band or a mask of the file says that there is nothing.

    Raises:
      rasterio.errors.RasterioError: if they cannot be decoded; in `opened`, this is a BadImageError.
    """
    import numpy as np
    from rasterio.enums import ColorInterp

    kinds = [source.colorinterp[number - 1] for number in scene.bands]
    if not scene.names and kinds[:3] == [ColorInterp.red, ColorInterp.green, ColorInterp.blue] and len(kinds) == 4:
        note(UNSAID_BAND)
    values: Any = source.read(list(scene.bands), window=window.slices)
    values = values[0] if len(scene.bands) == 1 else np.ascontiguousarray(np.moveaxis(values, 0, -1))
    hidden = np.zeros(values.shape[:2], bool)
    if scene.has_mask:
        opacity = source.read_masks(1, window=window.slices)
        hidden = opacity == 0
        note_opacity(opacity)
    return values, hidden


def differing_bands(scenes: Mapping[str, Scene]) -> dict[str, str]:
    """Names of scenes whose bands are not those of most, each with the reason."""

    def of_most(key: Callable[[Scene], Any], among: Sequence[Scene]) -> Scene | None:
        counts = collections.Counter(map(key, among))
        return max(among, key=lambda scene: counts[key(scene)], default=None)

    def kind(scene: Scene) -> tuple[int, str]:
        return len(scene.bands), scene.dtype

    usual = of_most(kind, list(scenes.values()))
    alike = [scene for scene in scenes.values() if usual and kind(scene) == kind(usual)]
    # Those whose bands have no names may have the same ones.
    named = of_most(lambda scene: scene.names, [scene for scene in alike if scene.names])
    reasons = {}
    for name, scene in scenes.items():
        if usual and kind(scene) != kind(usual):
            reasons[name] = (
                f"it has {len(scene.bands)} bands of {scene.dtype}, and most scenes, such as {usual.path}, "
                f"{len(usual.bands)} of {usual.dtype}"
            )
        elif named and scene.names and scene.names != named.names:
            reasons[name] = (
                f"its bands are {', '.join(scene.names)}, and those of most scenes, such as {named.path}, "
                f"{', '.join(named.names)}"
            )
    return reasons
