"""Predicts volumes slice by slice, cut as those that the model learned from, and writes masks of their own grid."""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import io
import os
from collections.abc import Callable

import numpy as np
from PIL import Image

from data.base.errors import UserError
from data.decoding.arrays import no_data
from data.decoding.errors import BadImageError
from data.decoding.images import encoded_values
from data.formats.volume.files import STACK, VolumeFile, open_volume
from data.formats.volume.grid import Grid
from data.formats.volume.slicer import Slicer
from data.slicing import Slicing
from models.serving.loaded_model import LoadedModel
from models.serving.results.files import MARK


@dataclasses.dataclass(frozen=True)
class SegmentedVolume:
    """The model's output for a volume.

    Attributes:
      class_ids: uint8, in the order of the volume's own array.
      confidence: the mean probability of the predicted classes.
      grid: of the volume.
      no_data: bool, likewise: the voxels that have no value; None if all have one.
    """

    class_ids: np.ndarray
    confidence: float
    grid: Grid
    no_data: np.ndarray | None = None


def mask_extension(path: str) -> str:
    """What the name of a volume's mask ends in: a stack's mask is a stack, others are NIfTI files."""
    return ".tif" if path.lower().endswith(STACK) else ".nii.gz"


def predict_volume(model: LoadedModel, path: str, target: str, progress: Callable[[float], None]) -> SegmentedVolume:
    """Predicts a volume and writes its mask.

    Args:
      model: what predicts.
      path: a NIfTI file, a TIFF stack, a DICOM file, or a folder with the files of a series.
      target: file for the mask, which ends in `mask_extension`; its folder is made.
      progress: called with the share that is done.

    Raises:
      BadImageError: if it is none, is broken, holds other values than the model takes, or a package is missing.
      OSError: if a file cannot be read or written.
    """
    try:
        volume = open_volume(path)
    except UserError as error:  # A package is missing, which files of other kinds do not need.
        raise BadImageError(str(error).removeprefix(f"{path}: ")) from None
    found = segment_volume(model, volume, progress)
    content = _stack(found.class_ids) if target.endswith(STACK) else _nifti(volume, found.class_ids)
    os.makedirs(os.path.dirname(target) or os.curdir, exist_ok=True)
    unfinished = f"{target}.partial"
    try:
        with open(unfinished, "wb") as file:
            file.write(content)
        os.replace(unfinished, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.remove(unfinished)
        raise
    return found


def segment_volume(model: LoadedModel, volume: VolumeFile, progress: Callable[[float], None]) -> SegmentedVolume:
    """Predicts all slices of a volume; one whose values are all missing is of class 0.

    Raises:
      BadImageError: if its voxels cannot be read, or are not what the model takes.
    """
    slicer = Slicer(model.input.volume or Slicing(), volume.grid)
    stored = volume.values()
    missing = no_data(stored.reshape(len(stored), -1), model.input.nodata).reshape(stored.shape)
    values = in_type(slicer.prepared(stored), model.input.type)
    class_ids = np.zeros(slicer.shape, np.uint8)
    confidences = []
    for index in range(slicer.count):
        pixels = slicer.image_slice(values, index)
        if not no_data(pixels, model.input.nodata).all():
            image = encoded_values(pixels, model.input.nodata)
            found = model.segment_whole(image.encoded, image.height, image.width)
            slicer.put(class_ids, index, found.class_ids)
            confidences.append(found.confidence)
        progress((index + 1) / slicer.count)
    return SegmentedVolume(
        slicer.restored(class_ids),
        float(np.mean(confidences)) if confidences else 0.0,
        volume.grid,
        missing if missing.any() else None,
    )


def in_type(values: np.ndarray, wanted: str) -> np.ndarray:
    """Values in the type that a model learned from: fractions are rounded if that has none.

    Raises:
      BadImageError: if the type does not reach so far.
    """
    dtype = np.dtype(wanted)
    if values.dtype == dtype:
        return values
    if dtype.kind == "f":
        return values.astype(dtype)
    if values.dtype.kind == "f":
        if not np.isfinite(values).all():
            raise BadImageError(f"some of its voxels are no numbers (NaN), and the model learned from {dtype}")
        values = np.rint(values)
    low, high, limits = values.min(), values.max(), np.iinfo(dtype)
    if low < limits.min or high > limits.max:
        raise BadImageError(
            f"its values go from {low:g} to {high:g}, and the model learned from {dtype}, which has {limits.min} to "
            f"{limits.max}; give it a volume of the same units"
        )
    return values.astype(dtype)


def _nifti(volume: VolumeFile, class_ids: np.ndarray) -> bytes:
    """A mask with the affine and the shape of its volume, and with the header of a NIfTI file."""
    import nibabel

    from data.formats.volume.nifti import NiftiFile

    kind = nibabel.Nifti1Image
    header = None
    if isinstance(volume, NiftiFile):
        header = volume.header.copy()
        kind = nibabel.Nifti2Image if isinstance(header, nibabel.Nifti2Header) else kind
        class_ids = class_ids.reshape(volume.shape)
        header["cal_min"], header["cal_max"] = 0, 0
    image = kind(class_ids, volume.grid.affine, header, dtype=np.uint8)
    if header is None:
        image.header.set_xyzt_units("mm")
    image.header["descrip"] = MARK[1]
    return gzip.compress(image.to_bytes(), compresslevel=6, mtime=0)


def _stack(class_ids: np.ndarray) -> bytes:
    """[width, height, pages] as pages of a TIFF."""
    first, *others = [Image.fromarray(np.ascontiguousarray(page)) for page in class_ids.transpose(2, 1, 0)]
    buffer = io.BytesIO()
    first.save(buffer, "TIFF", save_all=True, append_images=others, compression="tiff_adobe_deflate", software=MARK[1])
    return buffer.getvalue()
