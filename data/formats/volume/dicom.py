"""DICOM: a series of files in a folder, or one file with many frames."""

from __future__ import annotations

import collections
import dataclasses
import io
import itertools
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from data.base.files import is_folder, is_remote, join, list_names, read_bytes
from data.decoding.errors import BadImageError
from data.formats.volume.files import VolumeFile, check_claim, common_type, is_part_of_series, physical, physical_type
from data.formats.volume.grid import Grid

SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
# From the patient's left, back and up, which is DICOM's, to right, front and up.
_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
# By how much of the usual distance two slices may lie nearer or farther: scanners round.
_UNEVEN = 0.1
_DIRECTION = 1e-3


@dataclasses.dataclass(frozen=True)
class Frame:
    """A slice, as its file has it.

    Attributes:
      path: the file.
      index: of the frame in it.
      position: [3] millimeters, of the first pixel, as DICOM counts them.
      slope: of the physical values.
      intercept: likewise.
      segment: number of the segment that it shows; 0 if it is an image.
    """

    path: str
    index: int
    position: np.ndarray
    slope: float = 1.0
    intercept: float = 0.0
    segment: int = 0


@dataclasses.dataclass(frozen=True)
class Plane:
    """What all slices have in common.

    Attributes:
      rows: of pixels.
      columns: of pixels.
      along_row: [3] the step in millimeters from one column to the next, as DICOM counts them.
      along_column: [3] likewise from one row to the next.
    """

    rows: int
    columns: int
    along_row: np.ndarray
    along_column: np.ndarray

    @property
    def normal(self) -> np.ndarray:
        """[3] of length 1."""
        normal = np.cross(self.along_row, self.along_column)
        length = np.linalg.norm(normal)
        if not length > 0:
            raise BadImageError("its ImageOrientationPatient or PixelSpacing is not one of a plane")
        return normal / length


def open_dicom(path: str, max_voxels: int) -> VolumeFile:
    """Reads the headers of a series or a file.

    Raises:
      BadImageError: if it is no volume.
      OSError: if a file cannot be read.
    """
    headers = _headers(path)
    series = collections.Counter(str(header.get("SeriesInstanceUID", "")) for _, header in headers)
    if "" in series and len(headers) > 1:
        name = next(path for path, header in headers if not header.get("SeriesInstanceUID"))
        raise BadImageError(f"{os.path.basename(name)} does not say which series it is of; is it cut off?")
    if len(series) > 1:
        described = ", ".join(f"{count} files of {name}" for name, count in series.most_common(3))
        raise BadImageError(f"it holds {len(series)} series ({described}); put each into a folder of its own")
    if str(headers[0][1].get("SOPClassUID", "")) == SEGMENTATION:
        from data.formats.volume.segmentation import DicomSegmentation

        return DicomSegmentation(headers)
    return DicomSeries(headers, max_voxels)


class DicomSeries(VolumeFile):
    """The images of a series, ordered by where they lie."""

    def __init__(self, headers: Sequence[tuple[str, Any]], max_voxels: int):
        first_path, first = headers[0]
        self.patient = str(first.get("PatientID", "") or "").strip()
        if int(first.get("SamplesPerPixel", 1)) != 1:
            raise BadImageError("its pixels are colors, and a voxel has one value")
        frames, plane = frames_of(headers)
        self._plane, normal = plane, plane.normal
        self._frames = sorted(frames, key=lambda frame: float(frame.position @ normal))
        step = _step([frame.position for frame in self._frames], normal, self._frames)
        if step is None:
            step = normal * float(first.get("SpacingBetweenSlices", None) or first.get("SliceThickness", None) or 1)
        shape = (plane.columns, plane.rows, len(frames))
        is_compressed = bool(getattr(first.file_meta, "TransferSyntaxUID", None)) and bool(
            first.file_meta.TransferSyntaxUID.is_compressed
        )
        in_file = (plane.columns, plane.rows, sum(frame.path == first_path for frame in frames))
        check_claim(first_path, in_file, int(first.get("BitsAllocated", 16)) // 8, max_voxels, is_compressed)
        if np.prod(shape, dtype=np.int64) > max_voxels:
            raise BadImageError(f"its {'x'.join(map(str, shape))} voxels are more than the limit of {max_voxels}")
        affine = np.eye(4)
        affine[:3] = np.stack([plane.along_row, plane.along_column, step, self._frames[0].position], axis=1)
        self.grid = Grid(shape, _TO_RAS @ affine)
        self.grid.check()
        is_signed, bits = bool(int(first.get("PixelRepresentation", 0))), int(first.get("BitsStored", 16))
        stored = np.dtype(f"{'i' if is_signed else 'u'}{max(1, int(first.get('BitsAllocated', 16)) // 8)}")
        low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if is_signed else (0, 2**bits - 1)
        self._limits = low, high
        scales = {(frame.slope, frame.intercept) for frame in frames}
        self.dtype = common_type(physical_type(stored, low, high, *scale) for scale in scales)

    def values(self) -> np.ndarray:
        pixels = PixelReader()
        size = (self._plane.rows, self._plane.columns)
        slices = []
        for frame in self._frames:
            found = pixels.frame(frame)
            if found.shape != size:
                raise BadImageError(f"{os.path.basename(frame.path)} has {found.shape[::-1]} pixels, not {size[::-1]}")
            if found.min() < self._limits[0] or found.max() > self._limits[1]:
                raise BadImageError(f"{os.path.basename(frame.path)} has larger pixels than its BitsStored says")
            slices.append(found)
        # Of PET, each slice has its own scale.
        scaled = [
            physical(values, frame.slope, frame.intercept, self.dtype)
            for values, frame in zip(slices, self._frames, strict=True)
        ]
        return np.stack(scaled, axis=-1).swapaxes(0, 1)


class PixelReader:
    """Reads the pixels of frames; of a file with many, all are decoded once."""

    def __init__(self) -> None:
        self._path, self._pixels = "", np.empty(0)

    def frame(self, frame: Frame) -> np.ndarray:
        """[rows, columns] as stored.

        Raises:
          BadImageError: if they cannot be decoded.
          OSError: if the file cannot be read.
        """
        if self._path != frame.path:
            self._path, self._pixels = frame.path, _pixels(frame.path)
        if not 2 <= self._pixels.ndim <= 3 or frame.index >= (len(self._pixels) if self._pixels.ndim == 3 else 1):
            raise BadImageError(f"{os.path.basename(frame.path)} has fewer frames than its header says")
        return self._pixels[frame.index] if self._pixels.ndim == 3 else self._pixels


def _pixels(path: str) -> np.ndarray:
    import pydicom

    try:
        return np.asarray(pydicom.dcmread(_source(path)).pixel_array)
    except (MemoryError, OSError):
        raise
    except Exception as error:  # pydicom's decoders raise nearly anything on broken files.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise BadImageError(f"{os.path.basename(path)} is unreadable: {reason}") from None


def _source(path: str) -> Any:
    return io.BytesIO(read_bytes(path)) if is_remote(path) else path


def _headers(path: str) -> list[tuple[str, Any]]:
    """The files and their headers, in the order of their names."""
    import pydicom

    paths = [path]
    if is_folder(path):
        found = [join(path, name) for name in list_names(path)]
        paths = [one for one in found if is_part_of_series(one)]
    if not paths:
        raise BadImageError("it holds no DICOM files")
    headers = []
    for one in paths:
        try:
            headers.append((one, pydicom.dcmread(_source(one), stop_before_pixels=True)))
        except (MemoryError, OSError):
            raise
        except Exception as error:  # Of broken files, nearly anything.
            reason = " ".join(str(error).split()) or type(error).__name__
            raise BadImageError(f"{os.path.basename(one)} is unreadable: {reason}") from None
    return headers


def frames_of(headers: Sequence[tuple[str, Any]]) -> tuple[list[Frame], Plane]:
    """All slices of some files, and the plane that all of them have.

    Raises:
      BadImageError: if they do not say where they lie, or have no common plane.
    """
    frames: list[Frame] = []
    plane: Plane | None = None
    for path, header in headers:
        name = os.path.basename(path)
        try:
            for frame, own in _frames(path, header):
                if not np.isfinite(frame.position).all() or frame.position.shape != (3,):
                    raise BadImageError(f"{name} has no usable ImagePositionPatient")
                frames.append(frame)
                plane = plane or own
                if not _is_same(own, plane):
                    raise BadImageError(f"the slices of {name} have another size, spacing or direction than the others")
        except BadImageError:
            raise
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            # What pydicom raises for elements that are missing or not what they should be.
            raise BadImageError(f"{name} does not say where its slices lie: {error}") from None
    if plane is None:
        raise BadImageError("it has no frames")
    return frames, plane


def _frames(path: str, header: Any) -> list[tuple[Frame, Plane]]:
    if "PerFrameFunctionalGroupsSequence" not in header:
        if int(header.get("NumberOfFrames", 1) or 1) > 1:
            raise BadImageError(f"{os.path.basename(path)} has many frames and does not say where each lies")
        slope, intercept = (header.get(name) for name in ("RescaleSlope", "RescaleIntercept"))
        position = np.array(header.ImagePositionPatient, np.float64)
        frame = Frame(path, 0, position, *_scale(slope, intercept))
        return [(frame, _plane(header, header.ImageOrientationPatient, header.PixelSpacing))]
    shared = header.get("SharedFunctionalGroupsSequence") or [{}]
    found = []
    for index, own in enumerate(header.PerFrameFunctionalGroupsSequence):

        def item(name: str, groups: tuple[Any, ...] = (own, shared[0])) -> Any:
            return next((group[name][0] for group in groups if name in group), {})

        values, segment = item("PixelValueTransformationSequence"), item("SegmentIdentificationSequence")
        frame = Frame(
            path,
            index,
            np.array(item("PlanePositionSequence").ImagePositionPatient, np.float64),
            *_scale(values.get("RescaleSlope"), values.get("RescaleIntercept")),
            segment=int(segment.get("ReferencedSegmentNumber", 0)),
        )
        orientation = item("PlaneOrientationSequence").ImageOrientationPatient
        found.append((frame, _plane(header, orientation, item("PixelMeasuresSequence").PixelSpacing)))
    return found


def _scale(slope: Any, intercept: Any) -> tuple[float, float]:
    return 1.0 if slope is None else float(slope), 0.0 if intercept is None else float(intercept)


def _plane(header: Any, orientation: Any, spacing: Any) -> Plane:
    """`PixelSpacing` has the distance of rows first (DICOM PS3.3, section 10.7.1.1)."""
    directions, distances = np.array(orientation, np.float64), np.array(spacing, np.float64)
    return Plane(int(header.Rows), int(header.Columns), directions[:3] * distances[1], directions[3:6] * distances[0])


def _is_same(one: Plane, other: Plane) -> bool:
    return (one.rows, one.columns) == (other.rows, other.columns) and np.allclose(
        [one.along_row, one.along_column], [other.along_row, other.along_column], atol=_DIRECTION
    )


def _step(positions: Sequence[np.ndarray], normal: np.ndarray, frames: Sequence[Frame]) -> np.ndarray | None:
    """[3] from a slice to the next; None if there is one slice only.

    Raises:
      BadImageError: if slices are not evenly spaced.
    """
    if len(positions) < 2:
        return None
    heights = [float(position @ normal) for position in positions]
    gaps = np.array([upper - lower for lower, upper in itertools.pairwise(heights)])
    usual = float(np.median(gaps))
    worst = int(np.abs(gaps - usual).argmax())
    lower, upper = (f"{os.path.basename(frame.path)}" for frame in frames[worst : worst + 2])
    if gaps.min() <= 1e-6:
        twice = int(gaps.argmin())
        lower, upper = (f"{os.path.basename(frame.path)}" for frame in frames[twice : twice + 2])
        raise BadImageError(f"two of its slices lie in the same place, {lower} and {upper}; remove one of them")
    if abs(gaps[worst] - usual) > _UNEVEN * usual:
        raise BadImageError(
            f"its slices are not evenly spaced: {lower} and {upper} are {gaps[worst]:.4g} mm apart, most others "
            f"{usual:.4g} mm; is one missing?"
        )
    return (positions[-1] - positions[0]) / (len(positions) - 1)
