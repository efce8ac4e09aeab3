"""Small volumes, written as scanners and other tools write them."""

import gzip
import os

import nibabel
import numpy as np
import pydicom
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

SEGMENTATION = pydicom.uid.UID("1.2.840.10008.5.1.4.1.1.66.4")
AFFINE = np.diag([2.0, 2.0, 3.0, 1.0])
# Of the series below: DICOM counts to the left and to the back.
SERIES_AFFINE = np.array([[-0.5, 0, 0, 10], [0, -0.75, 0, 20], [0, 0, 3, -30], [0, 0, 0, 1.0]])


def write_nifti(path, values, affine=AFFINE, slope=1.0, intercept=0.0):
    """Writes stored values [i, j, k] with the scaling that readers apply."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    # nibabel would scale the values, and refuse some affines; so both are put into the header that it wrote.
    plain = nibabel.Nifti1Image(values, AFFINE).to_bytes()
    header = nibabel.Nifti1Header(plain[:348])
    header["scl_slope"], header["scl_inter"] = slope, intercept
    header["sform_code"], header["qform_code"] = 2, 0
    header["srow_x"], header["srow_y"], header["srow_z"] = affine[:3]
    content = header.binaryblock + plain[348:]
    if str(path).endswith(".gz"):
        content = gzip.compress(content)
    with open(path, "wb") as file:
        file.write(content)
    return str(path)


def write_stack(path, pages):
    """Writes [pages, height, width]."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    first, *others = [Image.fromarray(page) for page in pages]
    first.save(path, save_all=True, append_images=others)
    return str(path)


def _dataset(storage, series, patient):
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = storage, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = Dataset()
    dataset.file_meta = meta
    dataset.SOPClassUID, dataset.SOPInstanceUID = storage, meta.MediaStorageSOPInstanceUID
    dataset.SeriesInstanceUID, dataset.StudyInstanceUID, dataset.PatientID = series, generate_uid(), patient
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    return dataset


def write_series(folder, pixels, patient="p1", slope=1, intercept=-1024, series=None, heights=None, name="{}.dcm"):
    """Writes [slices, rows, columns] uint16, the uppermost slice first, as `SERIES_AFFINE` says where they lie."""
    os.makedirs(folder, exist_ok=True)
    series = series or generate_uid()
    count, rows, columns = pixels.shape
    heights = heights or [-30 + 3.0 * index for index in range(count)]
    for number, index in enumerate(reversed(range(count))):
        dataset = _dataset(CTImageStorage, series, patient)
        dataset.Rows, dataset.Columns = rows, columns
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
        dataset.ImageOrientationPatient, dataset.PixelSpacing = [1, 0, 0, 0, 1, 0], [0.75, 0.5]
        dataset.ImagePositionPatient = [-10.0, -20.0, heights[index]]
        dataset.RescaleSlope, dataset.RescaleIntercept = slope, intercept
        dataset.PixelData = pixels[index].tobytes()
        dataset.save_as(os.path.join(folder, name.format(f"{number:02d}")), enforce_file_format=True)
    return str(folder)


def write_segmentation(path, segments):
    """Writes {number: [slices, rows, columns] bool} on the grid of `write_series`, frames only where something is."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    dataset = _dataset(SEGMENTATION, generate_uid(), "p1")
    frames, groups = [], []
    for number, shown in segments.items():
        for index in np.flatnonzero(shown.any(axis=(1, 2))):
            group, position, identity = Dataset(), Dataset(), Dataset()
            position.ImagePositionPatient = [-10.0, -20.0, -30 + 3.0 * index]
            identity.ReferencedSegmentNumber = number
            group.PlanePositionSequence = Sequence([position])
            group.SegmentIdentificationSequence = Sequence([identity])
            groups.append(group)
            frames.append(shown[index])
    shared, orientation, measures = Dataset(), Dataset(), Dataset()
    orientation.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    measures.PixelSpacing, measures.SliceThickness = [0.75, 0.5], 3.0
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = Sequence([orientation]), Sequence([measures])
    dataset.SharedFunctionalGroupsSequence = Sequence([shared])
    dataset.PerFrameFunctionalGroupsSequence = Sequence(groups)
    dataset.SegmentationType, dataset.NumberOfFrames = "BINARY", len(frames)
    dataset.Rows, dataset.Columns = frames[0].shape
    dataset.BitsAllocated = dataset.BitsStored = 1
    dataset.HighBit = dataset.PixelRepresentation = 0
    bits = np.packbits(np.stack(frames).ravel(), bitorder="little").tobytes()
    dataset.PixelData = bits + b"\0" * (len(bits) % 2)
    dataset.save_as(path, enforce_file_format=True)
    return str(path)
