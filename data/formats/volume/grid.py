"""Where the voxels of a volume lie: its shape, and how their indexes become millimeters in the body."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from data.decoding.errors import BadImageError

# How far two grids may lie apart and still be the same, as a part of a voxel: files round differently.
_SAME = 0.1
_CANONICAL = np.array([[0, 1], [1, 1], [2, 1]])
# Columns to the right and rows to the back, so that an axial slice shows a page as it is.
_OF_PAGES = np.diag([1.0, -1.0, 1.0, 1.0])


@dataclasses.dataclass(frozen=True, eq=False)
class Grid:
    """The voxels of a volume.

    Attributes:
      shape: of the array, three numbers.
      affine: [4, 4], from indexes of the array to places to the right, to the front and up (RAS).
      is_placed: whether the file says where the voxels lie; a stack of pages does not.
      unit: of the affine, in millimeters.
    """

    shape: tuple[int, int, int]
    affine: np.ndarray
    is_placed: bool = True
    unit: float = 1.0

    @classmethod
    def of_pages(cls, width: int, height: int, pages: int) -> Grid:
        """The grid of a stack that says nothing but its shape."""
        return cls((width, height, pages), _OF_PAGES, is_placed=False)

    def check(self) -> None:
        """Raises a BadImageError if the affine does not say where voxels lie."""
        linear = self.affine[:3, :3]
        if not np.isfinite(self.affine).all() or np.linalg.matrix_rank(linear) < 3:
            raise BadImageError(
                "its affine is singular, so it does not say where its voxels lie; write it anew with the affine of "
                "the scanner's file"
            )

    @functools.cached_property
    def orientation(self) -> np.ndarray:
        """The order and direction of the axes, as nibabel has it."""
        import nibabel

        return nibabel.orientations.io_orientation(self.affine)

    @functools.cached_property
    def canonical(self) -> Grid:
        """The grid of `to_canonical`: the axes nearest to right, front and up."""
        import nibabel

        turned = nibabel.orientations.inv_ornt_aff(self.orientation, self.shape)
        shape = np.empty(3, int)
        shape[self.orientation[:, 0].astype(int)] = self.shape
        return Grid((int(shape[0]), int(shape[1]), int(shape[2])), self.affine @ turned, self.is_placed, self.unit)

    @functools.cached_property
    def spacing(self) -> np.ndarray:
        """[3] millimeters between voxels along the axes of the array."""
        return np.sqrt((self.affine[:3, :3] ** 2).sum(axis=0)) * self.unit

    def to_canonical(self, values: np.ndarray) -> np.ndarray:
        """Turns an array of this grid so that its axes go to the right, to the front and up; a view."""
        import nibabel

        return nibabel.orientations.apply_orientation(values, self.orientation)

    def from_canonical(self, values: np.ndarray) -> np.ndarray:
        """Turns back what `to_canonical` turned; a view."""
        import nibabel

        back = nibabel.orientations.ornt_transform(_CANONICAL, self.orientation)
        # `ornt_transform` says how to go from the canonical order to this one.
        return nibabel.orientations.apply_orientation(values, back)

    def check_same(self, other: Grid) -> None:
        """Raises a BadImageError if the voxels of a mask with the grid `other` are not those of this one."""
        if not (self.is_placed and other.is_placed):
            if self.shape != other.shape:
                raise BadImageError(
                    f"sizes differ: the volume has {_text(self.shape)} voxels, its mask {_text(other.shape)}"
                )
            return
        mine, its = self.canonical, other.canonical
        if mine.shape != its.shape:
            raise BadImageError(
                f"sizes differ: the volume has {_text(mine.shape)} voxels (right, front, up), its mask "
                f"{_text(its.shape)}"
            )
        corners = np.array([[*place, 1] for place in np.ndindex(2, 2, 2)]) * [*(np.array(mine.shape) - 1), 1]
        # Units are not compared: many tools keep the affine and lose its unit.
        apart = np.linalg.norm((corners @ (mine.affine - its.affine).T)[:, :3], axis=1).max() * mine.unit
        if apart > _SAME * mine.spacing.min():
            raise BadImageError(
                f"its mask lies elsewhere: by their affines, the same voxels are up to {apart:.4g} mm apart; resample "
                "the mask to the volume's grid by nearest neighbor"
            )

    def moved(self, values: np.ndarray, other: Grid) -> np.ndarray:
        """Values of the grid `other`, which `check_same` took for the same, in the order of this one's array."""
        if not (self.is_placed and other.is_placed):
            return values
        return self.from_canonical(other.to_canonical(values))


def _text(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
