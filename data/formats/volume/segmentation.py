"""Masks as DICOM's segmentation objects, which have frames only where something is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from data.decoding.errors import BadImageError
from data.formats.volume.dicom import Frame, PixelReader, Plane, frames_of
from data.formats.volume.files import VolumeFile
from data.formats.volume.grid import Grid

_TO_RAS = np.array([-1.0, -1.0, 1.0])
# How far from the centers of the image's voxels its own may be, as a part of a voxel.
_FARTHEST = 0.1


class DicomSegmentation(VolumeFile):
    """A segmentation; its values are the numbers of the segments, and 0 where none is."""

    def __init__(self, headers: Sequence[tuple[str, Any]]):
        header = headers[0][1]
        if len(headers) > 1:
            raise BadImageError(f"it holds {len(headers)} segmentations; a volume has one mask")
        if str(header.get("SegmentationType", "")) != "BINARY":
            raise BadImageError(
                f"it is a segmentation of the type {header.get('SegmentationType', '?')}; a mask has to be BINARY"
            )
        self.dtype = np.dtype(np.uint16)
        self._frames, self._plane = frames_of(headers)

    def check_on(self, grid: Grid) -> None:
        if not grid.is_placed:
            raise BadImageError("its mask is a DICOM segmentation, and the volume does not say where it lies")

    def values(self) -> np.ndarray:
        raise BadImageError("it is a segmentation, not an image")

    def values_on(self, grid: Grid) -> np.ndarray:
        self.check_on(grid)
        labels = np.zeros(grid.shape, np.uint16)
        pixels = PixelReader()
        for frame in self._frames:
            places = _places(frame, self._plane, grid)
            shown = pixels.frame(frame) != 0
            if shown.shape != places[0].shape:
                raise BadImageError("the frames of its mask have another size than its header says")
            inside = [place[shown] for place in places]
            before = labels[tuple(inside)]
            if ((before != 0) & (before != frame.segment)).any():
                raise BadImageError(
                    f"the segments {before[before != 0][0]} and {frame.segment} of its mask overlap, and a voxel has "
                    "one class"
                )
            labels[tuple(inside)] = frame.segment
        return labels


def _places(frame: Frame, plane: Plane, grid: Grid) -> list[np.ndarray]:
    """Three arrays [rows, columns]: the voxel of the grid in which each pixel of a frame lies."""
    inverse = np.linalg.inv(grid.affine)
    corner = inverse[:3, :3] @ (frame.position * _TO_RAS) + inverse[:3, 3]
    along_row, along_column = (inverse[:3, :3] @ (step * _TO_RAS) for step in (plane.along_row, plane.along_column))
    rows, columns = np.mgrid[: plane.rows, : plane.columns]
    exact = [corner[axis] + columns * along_row[axis] + rows * along_column[axis] for axis in range(3)]
    places = [np.rint(values).astype(np.int64) for values in exact]
    for values, place, size in zip(exact, places, grid.shape, strict=True):
        if np.abs(values - place).max() > _FARTHEST or place.min() < 0 or place.max() >= size:
            raise BadImageError("its mask is a segmentation of another series: its pixels are not those of the volume")
    return places
