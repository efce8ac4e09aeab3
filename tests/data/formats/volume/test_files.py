"""Files of volumes: where their voxels lie, what they hold, and what is wrong with them."""

import gzip
import itertools
import os
import pathlib
import sys

import nibabel
import numpy as np
import pytest
from PIL import Image

from data.base.errors import UserError
from data.decoding.errors import BadImageError
from data.formats.volume.files import is_series, open_volume
from data.formats.volume.grid import Grid
from data.formats.volume.recognition import recognize
from data.formats.volume.slicer import Slicer
from data.slicing import Slicing
from tests.data.formats.volume.volumes import (
    AFFINE,
    SERIES_AFFINE,
    write_nifti,
    write_segmentation,
    write_series,
    write_stack,
)

VALUES = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)


def orientations():
    """All 48 ways to order and direct the axes."""
    for order in itertools.permutations(range(3)):
        for signs in itertools.product([1, -1], repeat=3):
            affine = np.eye(4)
            affine[:3, :3] = 0
            for axis, (row, sign) in enumerate(zip(order, signs, strict=True)):
                affine[row, axis] = sign * (axis + 1)
            affine[:3, 3] = 5, 6, 7
            yield affine


def refused(path):
    with pytest.raises(BadImageError) as caught:
        open_volume(str(path)).values()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_all_orientations_are_turned_as_nibabel_turns_them_and_back():
    for affine in orientations():
        grid = Grid(VALUES.shape, affine)
        expected = nibabel.as_closest_canonical(nibabel.Nifti1Image(VALUES, affine))
        turned = grid.to_canonical(VALUES)
        np.testing.assert_array_equal(turned, np.asarray(expected.dataobj))
        np.testing.assert_allclose(grid.canonical.affine, expected.affine)
        assert grid.canonical.shape == turned.shape
        np.testing.assert_array_equal(grid.from_canonical(turned), VALUES)


@pytest.mark.parametrize("axis", ["axial", "coronal", "sagittal"])
def test_slices_put_together_are_the_volume_in_its_own_orientation(axis):
    for affine in orientations():
        slicer = Slicer(Slicing(axis=axis), Grid(VALUES.shape, affine))
        prepared = slicer.prepared(VALUES)
        whole = np.zeros(slicer.shape, VALUES.dtype)
        for index in range(slicer.count):
            slicer.put(whole, index, slicer.image_slice(prepared, index))
        np.testing.assert_array_equal(slicer.restored(whole), VALUES)


def test_the_head_and_the_front_are_at_the_top_and_the_right_side_is_right():
    affine = np.diag([-1.0, -1.0, 1.0, 1.0])  # The array goes to the left, to the back and up.
    grid = Grid((2, 3, 4), affine)
    right, front, up = np.zeros((3, 2, 3, 4), np.uint8)
    right[0], front[:, 0], up[..., -1] = 1, 1, 1
    axial, coronal, sagittal = (Slicer(Slicing(axis=axis), grid) for axis in ("axial", "coronal", "sagittal"))

    def shown(slicer, values):
        return slicer.image_slice(slicer.prepared(values), 1)

    assert shown(axial, right).tolist() == [[0, 1]] * 3
    assert shown(axial, front).tolist() == [[1, 1], [0, 0], [0, 0]]
    assert shown(coronal, up).tolist() == [[1, 1], [0, 0], [0, 0], [0, 0]]
    assert shown(sagittal, up)[0].tolist() == [1, 1, 1]
    assert shown(sagittal, front)[0].tolist() == [0, 0, 1]


def test_resampling_goes_to_millimeters_and_labels_stay_labels():
    grid = Grid((4, 4, 2), np.diag([1.0, 1.0, 4.0, 1.0]))
    labels = np.zeros(grid.shape, np.uint8)
    labels[2:], labels[..., 1] = 7, 9
    slicer = Slicer(Slicing(spacing="2,2,1"), grid)
    assert slicer.shape == (2, 2, 8)
    found = slicer.prepared_labels(labels)
    assert sorted(np.unique(found)) == [0, 7, 9]
    assert found[0, 0].tolist() == [0] * 4 + [9] * 4
    values = slicer.prepared(np.full(grid.shape, 5, np.int16))
    assert (values.shape, values.dtype) == ((2, 2, 8), np.float32)
    np.testing.assert_allclose(values, 5)
    assert slicer.restored(found).shape == grid.shape
    np.testing.assert_array_equal(slicer.restored(found)[..., 1], 9)


def test_neighbors_are_bands_and_edges_repeat():
    values = np.arange(5, dtype=np.int16) * np.ones((2, 3, 1), np.int16)
    slicer = Slicer(Slicing(slices=3), Grid(values.shape, np.eye(4)))
    assert slicer.image_slice(values, 0)[0, 0].tolist() == [0, 0, 1]
    assert slicer.image_slice(values, 2)[0, 0].tolist() == [1, 2, 3]
    assert slicer.image_slice(values, 4).shape == (3, 2, 3)


@pytest.mark.parametrize(("option", "said"), [("0", "greater than 0"), ("1,2", "one number or three"), ("x", "one")])
def test_a_spacing_is_one_number_or_three(option, said):
    with pytest.raises(ValueError, match=said):
        Slicing(spacing=option)
    with pytest.raises(ValueError, match="odd"):
        Slicing(slices=2)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_nifti_values_are_in_physical_units(tmp_path, name):
    path = write_nifti(tmp_path / name, VALUES)
    volume = open_volume(path)
    np.testing.assert_array_equal(volume.values(), VALUES)
    np.testing.assert_allclose(volume.grid.affine, AFFINE)
    hounsfield = open_volume(write_nifti(tmp_path / name, VALUES.astype(np.uint8), intercept=-1024)).values()
    assert hounsfield.dtype == np.int16
    np.testing.assert_array_equal(hounsfield, VALUES - 1024)
    scaled = open_volume(write_nifti(tmp_path / name, VALUES, slope=0.5)).values()
    assert scaled.dtype == np.float32
    np.testing.assert_array_equal(scaled, VALUES / 2)
    np.testing.assert_array_equal(open_volume(write_nifti(tmp_path / name, VALUES[..., np.newaxis])).values(), VALUES)
    big = nibabel.Nifti2Image(VALUES, AFFINE)
    nibabel.save(big, path)
    np.testing.assert_array_equal(open_volume(path).values(), VALUES)


def test_broken_nifti_files_are_refused_in_a_sentence(tmp_path):
    path = tmp_path / "a.nii.gz"
    noise = np.random.default_rng(0).integers(0, 1000, (30, 30, 30)).astype(np.int16)
    content = pathlib.Path(write_nifti(path, noise)).read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert "cut off" in refused(path)
    path.write_bytes(content[:100])
    assert "cut off" in refused(path)
    path.write_bytes(content[:5000] + b"\0" * 1000 + content[6000:])
    assert "damaged" in refused(path)
    path.write_bytes(gzip.compress(gzip.decompress(content)[:20_000]))
    assert "cut off" in refused(path)
    path.write_bytes(b"no volume at all")
    assert "not a NIfTI file" in refused(path)
    header = nibabel.Nifti1Header(gzip.decompress(content)[:348])
    header.set_data_shape((1024, 1024, 2048))
    claims = gzip.compress(header.binaryblock + gzip.decompress(content)[348:2000])
    path.write_bytes(claims)
    assert "1024x1024x2048 voxels, 4,294,967,296 bytes, which a file of" in refused(path)
    plain = tmp_path / "a.nii"
    plain.write_bytes(gzip.decompress(claims))
    assert "cannot hold" in refused(plain)
    assert "4 dimensions (4x5x6x2)" in refused(write_nifti(path, np.stack([VALUES, VALUES], axis=-1)))
    singular = np.diag([2.0, 2.0, 0.0, 1.0])
    assert "its affine is singular" in refused(write_nifti(path, VALUES, singular))
    with pytest.raises(BadImageError, match="4x5x6 voxels are more than the limit of 100"):
        open_volume(write_nifti(path, VALUES), 100)


def test_pages_of_a_stack_are_its_axial_slices_in_their_order(tmp_path):
    pages = np.random.default_rng(0).integers(0, 60_000, (12, 5, 7)).astype(np.uint16)
    volume = open_volume(write_stack(tmp_path / "a.tif", pages))
    slicer = Slicer(Slicing(), volume.grid)
    assert slicer.count == 12
    prepared = slicer.prepared(volume.values())
    assert prepared.dtype == np.uint16
    for index, page in enumerate(pages):
        np.testing.assert_array_equal(slicer.image_slice(prepared, index), page)
    with pytest.raises(BadImageError, match="leave --spacing out"):
        _ = Slicer(Slicing(spacing="1"), volume.grid).count


def test_broken_stacks_are_refused_in_a_sentence(tmp_path):
    pages = np.random.default_rng(0).integers(0, 60_000, (4, 50, 70)).astype(np.uint16)
    path = pathlib.Path(write_stack(tmp_path / "a.tif", pages))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert "cut off" in refused(path)
    path.write_bytes(content[:8] + b"\0" * 1000 + content[1008:])
    assert refused(path)
    path.write_bytes(b"no volume at all")
    assert "not a TIFF" in refused(path)
    assert "3 channels" in refused(write_stack(path, np.zeros((2, 5, 5, 3), np.uint8)))
    Image.fromarray(pages[0]).save(path, save_all=True, append_images=[Image.fromarray(pages[1][:20])])
    assert "its pages differ in size" in refused(path)


def test_a_series_is_ordered_by_where_its_slices_lie(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 4096, (5, 6, 7)).astype(np.uint16)
    volume = open_volume(write_series(tmp_path / "p1", pixels))
    np.testing.assert_allclose(volume.grid.affine, SERIES_AFFINE)
    assert (volume.patient, volume.grid.shape) == ("p1", (7, 6, 5))
    values = volume.values()
    assert values.dtype == np.int16
    np.testing.assert_array_equal(values, pixels.T.astype(np.int64) - 1024)
    # Seen from below, the right of the patient is on the left of a slice; in RAS it is on the right.
    slicer = Slicer(Slicing(), volume.grid)
    axial = slicer.image_slice(slicer.prepared(values), 2)
    np.testing.assert_array_equal(axial, pixels[2].astype(np.int64)[:, ::-1] - 1024)
    nameless = open_volume(write_series(tmp_path / "p2", pixels, name="IM{}", slope=0.5))
    np.testing.assert_array_equal(nameless.values(), pixels.T * 0.5 - 1024)
    assert is_series(str(tmp_path / "p2"))
    assert not is_series(str(tmp_path))


def test_broken_series_are_refused_in_a_sentence(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 4096, (6, 6, 7)).astype(np.uint16)
    folder = tmp_path / "p1"
    write_series(folder, pixels)
    os.remove(folder / "02.dcm")
    assert refused(folder) == (
        "its slices are not evenly spaced: 03.dcm and 01.dcm are 6 mm apart, most others 3 mm; is one missing?"
    )
    write_series(tmp_path / "two", pixels, name="a{}.dcm")
    write_series(tmp_path / "two", pixels, name="b{}.dcm")
    assert "it holds 2 series (6 files of " in refused(tmp_path / "two")
    write_series(tmp_path / "twice", pixels[:4], heights=[0.0, 3.0, 3.0, 6.0])
    assert "two of its slices lie in the same place" in refused(tmp_path / "twice")
    write_series(tmp_path / "cut", pixels)
    content = (tmp_path / "cut" / "01.dcm").read_bytes()
    (tmp_path / "cut" / "01.dcm").write_bytes(content[:-20])
    assert "01.dcm" in refused(tmp_path / "cut")
    (tmp_path / "cut" / "01.dcm").write_bytes(content[:200])
    assert "01.dcm" in refused(tmp_path / "cut")


def test_a_segmentation_is_put_where_its_frames_lie(tmp_path):
    pixels = np.zeros((5, 6, 7), np.uint16)
    grid = open_volume(write_series(tmp_path / "p1", pixels)).grid
    first, second = np.zeros((2, 5, 6, 7), bool)
    first[1:3, 2, 3:5], second[4, 5, 6] = True, True
    labels = open_volume(write_segmentation(tmp_path / "p1.dcm", {1: first, 2: second})).values_on(grid)
    np.testing.assert_array_equal(labels, (first + 2 * second.astype(int)).T)
    turned = Grid(grid.canonical.shape, grid.canonical.affine)
    on_turned = open_volume(str(tmp_path / "p1.dcm")).values_on(turned)
    np.testing.assert_array_equal(on_turned, grid.to_canonical(labels))
    overlapping = open_volume(write_segmentation(tmp_path / "over.dcm", {1: first, 2: first}))
    with pytest.raises(BadImageError, match="overlap"):
        overlapping.values_on(grid)
    with pytest.raises(BadImageError, match="another series"):
        open_volume(str(tmp_path / "p1.dcm")).values_on(Grid(grid.shape, np.diag([2.0, 2, 2, 1])))


def test_masks_may_have_another_orientation_but_not_another_place(tmp_path):
    image = Grid(VALUES.shape, AFFINE)
    turned = nibabel.Nifti1Image(VALUES, AFFINE).as_reoriented(np.array([[2, -1], [0, 1], [1, -1]]))
    path = write_nifti(tmp_path / "a.nii", np.asarray(turned.dataobj), turned.affine)
    np.testing.assert_array_equal(open_volume(path).values_on(image), VALUES)
    with pytest.raises(BadImageError, match="sizes differ: the volume has 4x5x6 voxels"):
        open_volume(write_nifti(tmp_path / "b.nii", VALUES[:, :, :5])).values_on(image)
    moved = AFFINE.copy()
    moved[0, 3] += 1
    with pytest.raises(BadImageError, match=r"its mask lies elsewhere.* 1 mm"):
        open_volume(write_nifti(tmp_path / "c.nii", VALUES, moved)).values_on(image)
    pages = open_volume(write_stack(tmp_path / "d.tif", VALUES.T.astype(np.uint8)))
    np.testing.assert_array_equal(pages.values_on(image), VALUES)


def test_hidden_files_are_no_part_of_a_series(tmp_path):
    write_series(tmp_path / "scan", np.zeros((3, 4, 5), np.uint16))
    (tmp_path / "scan" / "._00.dcm").write_bytes(b"notes")
    assert open_volume(str(tmp_path / "scan")).grid.shape == (5, 4, 3)
    (tmp_path / "photos").mkdir()
    Image.new("L", (4, 4)).save(tmp_path / "photos" / "a.png")
    (tmp_path / "photos" / "._01.dcm").write_bytes(b"notes")
    assert not is_series(str(tmp_path / "photos"))
    assert recognize(str(tmp_path), ["photos/a.png", "masks/a.png", "photos/._01.dcm", "masks/._01.dcm"]) is None


@pytest.mark.parametrize("package", ["nibabel", "pydicom"])
def test_a_missing_package_is_named_with_the_remedy(tmp_path, monkeypatch, package):
    paths = [write_series(tmp_path / "scan", np.zeros((3, 4, 5), np.uint16))]
    if package == "nibabel":
        paths.append(write_nifti(tmp_path / "a.nii.gz", np.zeros((3, 4, 5), np.int16)))
        paths.append(write_stack(tmp_path / "a.tif", np.zeros((3, 4, 5), np.uint8)))
    monkeypatch.setitem(sys.modules, package, None)
    for path in paths:
        with pytest.raises(UserError) as caught:
            open_volume(path)
        assert str(caught.value) == (
            f"{path}: it is read by the package {package}, which is missing; pip install 'segpipe[volumes]'"
        )


@pytest.mark.parametrize(("unit", "millimeters"), [("micron", 0.001), ("meter", 1000), ("mm", 1), ("unknown", 1)])
def test_spacing_is_in_the_unit_that_the_header_says(tmp_path, unit, millimeters):
    image = nibabel.Nifti1Image(np.zeros((4, 5, 6), np.uint8), AFFINE)
    image.header.set_xyzt_units(unit)
    nibabel.save(image, tmp_path / "a.nii")
    grid = open_volume(str(tmp_path / "a.nii")).grid
    np.testing.assert_allclose(grid.spacing, np.array([2, 2, 3]) * millimeters)
    assert Slicer(Slicing(spacing=(millimeters,) * 3), grid).shape == (8, 10, 18)


def test_a_resampled_volume_may_not_be_larger_than_one_that_is_read():
    slicer = Slicer(Slicing(spacing=(0.001, 0.001, 0.001)), Grid((10, 20, 30), np.eye(4)))
    with pytest.raises(BadImageError, match="10000x20000x30000 voxels, which are more than the limit"):
        _ = slicer.shape
