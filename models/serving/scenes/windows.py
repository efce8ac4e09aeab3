"""Segments a scene by overlapping windows, in memory for one row of them, whatever the size of the scene."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np

from data.contract import IGNORE_LABEL
from data.decoding.arrays import no_data, own_nodata
from data.decoding.images import encoded_values
from data.formats.geotiff.scene import Scene, opened, read_window
from data.formats.geotiff.windows import Window, positions
from models.serving.loaded_model import LoadedModel, WholeImage

# Of a model of a fixed size, the share of a window that the next one covers too.
_OVERLAP = 0.25
# Of a model that goes over any image in tiles, pixels of a window in each direction, and tiles at least.
_SIDE, _TILES = 1024, 4
# What GDAL may keep of decoded blocks: those of rows that are stored across the scene are needed by many windows.
_CACHE_BYTES = 256 * 2**20


@dataclasses.dataclass(frozen=True)
class Sight:
    """What a model sees of a scene at once.

    Attributes:
      height: of a window, in pixels.
      width: likewise.
      overlap: rows and columns that neighboring windows share. Each keeps the half that lies nearer to its center,
        since a model knows least about the pixels at the edge.
    """

    height: int
    width: int
    overlap: tuple[int, int]

    @classmethod
    def of(cls, model: LoadedModel) -> Sight:
        """Of a model of a fixed size, the windows on which it was trained; else many tiles, of which it makes one."""
        height, width = model.input.height, model.input.width
        if model.keeps_size:
            return cls(max(_SIDE, _TILES * height), max(_SIDE, _TILES * width), (height, width))
        if model.input.window:
            height = width = model.input.window
        return cls(height, width, (int(height * _OVERLAP), int(width * _OVERLAP)))


@dataclasses.dataclass(frozen=True)
class SceneSegmentation:
    """What was found in a scene.

    Attributes:
      counts: [255], pixels of each class id.
      confidence: the mean probability of the predicted classes; 0 without data.
    """

    counts: np.ndarray
    confidence: float


def segment_scene(
    path: str,
    scene: Scene,
    segment: Callable[[bytes, int, int], WholeImage],
    sight: Sight,
    nodata: float | None,
    write: Callable[[np.ndarray], None],
    progress: Callable[[float], None] = lambda share: None,
) -> SceneSegmentation:
    """Segments a scene.

    Args:
      path: the file.
      scene: its header.
      segment: the encoded image of a window, its height and its width → its classes.
      sight: how windows lie.
      nodata: the value that stands for no data where the model was trained, if there is one.
      write: takes the next rows of class ids, [rows, width] uint8, from top to bottom; 255 where the scene has no data.
      progress: called with the share of the scene that is done.

    Raises:
      BadImageError: if the scene cannot be read, or the model does not take its bands.
    """
    import rasterio

    counts, sure, seen = np.zeros(IGNORE_LABEL, np.int64), 0.0, 0
    rows = _parts(scene.height, sight.height, sight.overlap[0])
    columns = _parts(scene.width, sight.width, sight.overlap[1])
    with rasterio.Env(GDAL_CACHEMAX=_CACHE_BYTES), opened(path) as raster:
        for row_index, (top, first_row, last_row) in enumerate(rows):
            strip = np.full((last_row - first_row, scene.width), IGNORE_LABEL, np.uint8)
            for column_index, (left, first, last) in enumerate(columns):
                window = Window(top, left, min(sight.height, scene.height), min(sight.width, scene.width))
                values, hidden = read_window(raster, scene, window)
                missing = hidden | no_data(values, scene.nodata) | no_data(values, nodata)
                kept = np.s_[first_row - top : last_row - top, first - left : last - left]
                if not missing[kept].all():
                    found = segment(_encoded(values, missing, nodata), window.height, window.width)
                    part = np.where(missing, np.uint8(IGNORE_LABEL), found.class_ids)[kept]
                    strip[:, first:last] = part
                    pixels = int(np.count_nonzero(part != IGNORE_LABEL))
                    sure, seen = sure + found.confidence * pixels, seen + pixels
                progress((row_index + (column_index + 1) / len(columns)) / len(rows))
            write(strip)
            counts += np.bincount(strip.ravel(), minlength=256)[:IGNORE_LABEL]
    return SceneSegmentation(counts, sure / max(seen, 1))


def _encoded(values: np.ndarray, missing: np.ndarray, nodata: float | None) -> bytes:
    """A window as the data contract stores it; where nothing is, with the value that the model knows for that."""
    own = np.nan if values.dtype.kind == "f" else own_nodata(values.dtype, nodata)
    if own is not None and missing.any():
        values[missing] = own
    return encoded_values(values, nodata).encoded


def _parts(length: int, window: int, overlap: int) -> list[tuple[int, int, int]]:
    """Where each window begins along an axis, and the first and last pixel, exclusive, that are taken from it."""
    return list(_each_part(positions(length, window, overlap), min(window, length), length))


def _each_part(starts: list[int], window: int, length: int) -> Iterator[tuple[int, int, int]]:
    first = 0
    for start, following in zip(starts, [*starts[1:], None], strict=True):
        last = length if following is None else (start + window + following) // 2
        yield start, first, last
        first = last
