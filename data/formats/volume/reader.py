"""Volumes, such as scans of patients and stacks from microscopes, as slices."""

from __future__ import annotations

import functools
import threading
from typing import ClassVar

import numpy as np
import pydantic

from data.base.files import UnreachableError
from data.decoding.arrays import NOTED_SLICING
from data.decoding.errors import BadImageError
from data.decoding.images import encoded_values
from data.decoding.notes import note
from data.formats.base.dealt import SplitOptions
from data.formats.base.paired import PairOptions
from data.formats.base.reader import LabeledImage, Listing, Reader, Recognition, SetAside, Source
from data.formats.volume.files import MAX_VOXELS, VolumeFile, common_type, open_volume
from data.formats.volume.finding import find_volumes
from data.formats.volume.grid import Grid
from data.formats.volume.recognition import recognize
from data.formats.volume.slicer import Slicer
from data.listing.finding import find_pairs
from data.listing.pairing import without_repetitions
from data.listing.split_folders import placing
from data.masks.class_ids import class_ids
from data.masks.files import Mask
from data.masks.meaning import MaskOptions
from data.slicing import Slicing

_LOADING = threading.Lock()


class VolumeReader(PairOptions, Slicing, SplitOptions, MaskOptions, Reader):
    """Folders images/ and masks/ with volumes of the same names: NIfTI, DICOM series, TIFF stacks.

    A volume is a file .nii or .nii.gz, a TIFF with several pages, or a folder with the files of a DICOM series. Its
    mask is any of these with the same voxels, or a DICOM segmentation: images/p1.nii.gz and images/p1/*.dcm both go
    with masks/p1.nii.gz. Values are in physical units, such as Hounsfield's.

    Each slice is an example, and all slices of a patient are in one split: by folders train, val and test, as in
    images/train/p1.nii.gz, or by a stable hash of the patient, who is DICOM's PatientID, what --group-by or --groups
    says, or else the volume. Slices without labels are kept.

    What is predicted on with `segpipe predict` is turned, resampled and cut in the same way.

    Attributes:
      max_voxels: volumes with more voxels are set aside.
    """

    looks_for: ClassVar[str] = (
        "folders images/ and masks/, whatever they are called, with volumes (.nii, .nii.gz, TIFFs of several pages, "
        "folders of DICOM files) of the same names, or with names that differ in a suffix such as _seg"
    )

    max_voxels: int = pydantic.Field(MAX_VOXELS, ge=1, title="N")

    @classmethod
    def recognize(cls, folder: str, files: list[str]) -> Recognition | None:
        return recognize(folder, files)

    def read_mask(self, path: str, max_pixels: int) -> Mask:
        """All slices of a mask, one below the other."""
        del max_pixels
        labels = _whole_numbers(open_volume(path).values())
        return Mask(np.ascontiguousarray(labels.T.reshape(-1, labels.shape[0])))

    @property
    def slicing(self) -> Slicing:
        """How volumes become images."""
        return Slicing(axis=self.axis, spacing=self.spacing, slices=self.slices)

    def listing(self) -> Listing:
        found = find_pairs(self.folder, self.images, self.masks, self.naming, find_volumes)
        stay = self.stated_splits({image.name: image.file.path for image, _ in found.pairs})
        pairs, same, other = without_repetitions(found.pairs, stay)
        broken: list[tuple[str, str]] = []
        volumes, counts, types = [], {}, []
        for image, mask in pairs:
            try:
                volume = open_volume(image.file.path, self.max_voxels)
                count = Slicer(self.slicing, volume.grid).count
                _open_mask(mask.file.path, self.max_voxels).check_on(volume.grid)
            except UnreachableError:
                raise
            except (BadImageError, OSError) as error:
                broken.append((image.file.path, str(error)))
                continue
            counts[image.name] = count
            types.append(volume.dtype)
            patient = volume.patient or image.name
            stated = placing(image.name).split
            volumes.append(Source(image.name, "", image.file.path, mask.file.path, group=patient, stated_split=stated))
        # A value has to mean the same in all of them.
        dtype = "float32" if self.spacing or not types else common_type(types).name
        sources = [
            Source(
                f"{volume.source_id}/{index:04d}",
                volume.split,
                f"{volume.image}#{index}",
                volume.mask,
                group=volume.group,
                stated_split=volume.stated_split,
                labels=dtype,
                file=volume.image,
            )
            for volume in self.deal(volumes, stay, self.folder)
            for index in range(counts[volume.source_id])
        ]
        is_error = self.unlabeled == "set-aside"
        set_aside = [*found.unusable, *other, *broken, *(found.unlabeled if is_error else [])]
        ignored = [*found.ignored, *same, *((path, "no mask") for path, _ in found.unlabeled if not is_error)]
        remedy = "--unlabeled ignore leaves out the volumes without a mask" if found.unlabeled and is_error else ""
        return Listing(sources, [SetAside(*one) for one in set_aside], [SetAside(*one) for one in ignored], remedy)

    def read(self, source: Source) -> LabeledImage:
        with _LOADING:  # Threads that want slices of one volume are not to read it each.
            loaded = _load(source.file, source.mask, self.slicing, self.max_voxels, source.labels)
        if isinstance(loaded, Exception):
            raise loaded
        slicer, values, labels = loaded
        index = int(source.image.rpartition("#")[2])
        image = slicer.image_slice(values, index)
        try:
            ids = class_ids(Mask(slicer.label_slice(labels, index)), self.meaning)
        except BadImageError as error:
            raise BadImageError(f"its mask: {error}") from None
        note(NOTED_SLICING + self.slicing.model_dump_json())
        return LabeledImage(encoded_values(image), ids)


def _open_mask(path: str, max_voxels: int) -> VolumeFile:
    try:
        return open_volume(path, max_voxels)
    except BadImageError as error:
        raise BadImageError(f"its mask: {error}") from None


# Slices of one volume are read one after the other; the volumes of a data set may be too large to keep all.
@functools.lru_cache(maxsize=2)
def _load(
    image: str, mask: str, slicing: Slicing, max_voxels: int, dtype: str
) -> tuple[Slicer, np.ndarray, np.ndarray] | BadImageError | OSError:
    """A volume and its labels as slices are taken from them, or why that cannot be."""
    try:
        volume = open_volume(image, max_voxels)
        slicer = Slicer(slicing, volume.grid)
        values = slicer.prepared(volume.values()).astype(dtype, copy=False)
    except UnreachableError:
        raise
    except (BadImageError, OSError) as error:
        return error
    try:
        labels = read_labels(mask, volume.grid, max_voxels)
    except UnreachableError:
        raise
    except (BadImageError, OSError) as error:
        return BadImageError(f"its mask: {error}")
    return slicer, values, slicer.prepared_labels(labels)


def read_labels(path: str, grid: Grid, max_voxels: int = MAX_VOXELS) -> np.ndarray:
    """All voxels of a mask as its file has them, whole numbers, in the order of its volume's array.

    Args:
      path: a NIfTI file, a TIFF stack, a DICOM segmentation, or a folder with the files of a series.
      grid: of the volume.
      max_voxels: larger masks are refused.

    Raises:
      BadImageError: if it lies elsewhere, holds other numbers, or is broken.
      OSError: if it cannot be read.
      UserError: if the package that reads it is not installed.
    """
    return _whole_numbers(open_volume(path, max_voxels).values_on(grid))


def _whole_numbers(labels: np.ndarray) -> np.ndarray:
    """Labels as integers.

    Raises:
      BadImageError: if they are not whole numbers.
    """
    if labels.dtype.kind == "f":
        is_whole = np.isfinite(labels) & (labels == np.rint(labels)) & (np.abs(labels) < 2**31)
        if not is_whole.all():
            wrong = labels[~is_whole][0]
            raise BadImageError(f"it holds {wrong:g}, and labels are whole numbers; resample masks by nearest neighbor")
    low, high = (int(labels.min()), int(labels.max())) if labels.size else (0, 0)
    for kind in (np.uint8, np.uint16, np.int64):
        if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
            return labels.astype(kind)
    raise BadImageError(f"it holds the label {high}, which no mask has")
