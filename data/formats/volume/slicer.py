"""Cuts a volume into images, and puts class ids of images together to a volume."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np

from data.decoding.errors import BadImageError
from data.formats.volume.files import MAX_VOXELS
from data.formats.volume.grid import Grid
from data.slicing import Slicing

_AXES = ("sagittal", "coronal", "axial")


@dataclasses.dataclass(frozen=True, eq=False)
class Slicer:
    """The slices of a volume.

    Attributes:
      slicing: what is wanted.
      grid: of the volume.
    """

    slicing: Slicing
    grid: Grid

    @property
    def _axis(self) -> int:
        return _AXES.index(self.slicing.axis)

    @functools.cached_property
    def shape(self) -> tuple[int, int, int]:
        """The shape of `prepared`.

        Raises:
          BadImageError: if the volume is to be resampled, and does not say its spacing or would become too large.
        """
        found = self.grid.canonical
        if self.slicing.spacing is None:
            return found.shape
        if not self.grid.is_placed:
            raise BadImageError("a stack of pages does not say its spacing in millimeters; leave --spacing out")
        sizes = np.round(np.array(found.shape) * found.spacing / np.array(self.slicing.spacing))
        if not np.maximum(sizes, 1).prod() <= MAX_VOXELS:
            shape = "x".join(f"{size:.0f}" for size in sizes)
            raise BadImageError(
                f"resampled by --spacing it would have {shape} voxels, which are more than the limit of {MAX_VOXELS}; "
                "choose a larger spacing"
            )
        right, front, up = np.maximum(sizes, 1).astype(int).tolist()
        return right, front, up

    @property
    def count(self) -> int:
        """How many slices there are."""
        return self.shape[self._axis]

    def prepared(self, values: np.ndarray) -> np.ndarray:
        """The volume's values in RAS orientation, and resampled, to float32, if that is wanted."""
        values = self.grid.to_canonical(values)
        if self.slicing.spacing is None:
            return values
        import scipy.ndimage

        factors = np.array(self.shape) / np.array(values.shape)
        wide = values.astype(np.float32)
        return scipy.ndimage.zoom(wide, factors, order=1, mode="nearest", grid_mode=True)

    def prepared_labels(self, labels: np.ndarray) -> np.ndarray:
        """The volume's labels, in the same places as `prepared`."""
        labels = self.grid.to_canonical(labels)
        return labels if self.slicing.spacing is None else _nearest(labels, self.shape)

    def label_slice(self, labels: np.ndarray, index: int) -> np.ndarray:
        """[height, width] of the prepared labels of a slice."""
        return np.ascontiguousarray(np.rot90(labels.take(index, self._axis)))

    def image_slice(self, values: np.ndarray, index: int) -> np.ndarray:
        """[height, width], or [height, width, slices], of the prepared values of a slice and its neighbors."""
        if self.slicing.slices == 1:
            return self.label_slice(values, index)
        reach = self.slicing.slices // 2
        places = np.clip(np.arange(index - reach, index + reach + 1), 0, self.count - 1)
        return np.ascontiguousarray(np.rot90(np.moveaxis(values.take(places, self._axis), self._axis, -1)))

    def put(self, volume: np.ndarray, index: int, class_ids: np.ndarray) -> None:
        """Puts the [height, width] class ids of a slice into a volume of `shape`."""
        place: list[Any] = [slice(None)] * 3
        place[self._axis] = index
        volume[tuple(place)] = np.rot90(class_ids, -1)

    def restored(self, class_ids: np.ndarray) -> np.ndarray:
        """Class ids of `shape` as an array of the volume's own grid."""
        if self.slicing.spacing is not None:
            class_ids = _nearest(class_ids, self.grid.canonical.shape)
        return np.ascontiguousarray(self.grid.from_canonical(class_ids))


def _nearest(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Each voxel of the result gets the value of the voxel in which its center lies."""
    places = [(2 * np.arange(new) + 1) * old // (2 * new) for new, old in zip(shape, values.shape, strict=True)]
    return values[np.ix_(*places)]
