"""The format `volume`: which volumes and masks belong together, and which examples their slices are."""

import json
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from data.base.errors import UserError
from data.convert import convert
from data.decoding.arrays import decode_array
from data.decoding.image_type import read_image_type
from data.formats.volume.reader import VolumeReader
from data.inspection.recognize import look, recognize
from models.inputs.settings import PreprocessingSettings
from tests.data.formats.volume.volumes import (
    write_nifti,
    write_segmentation,
    write_series,
    write_stack,
)

CELLS = pathlib.Path(__file__).parents[5] / "shared" / "data" / "cells"
SHAPE = (6, 5, 4)


def images(seed=0):
    return np.random.default_rng(seed).integers(-1000, 1000, SHAPE).astype(np.int16)


def labels(seed=0):
    return (images(seed) > 0).astype(np.uint8)


def make_set(folder, names=("train/a", "val/b", "test/c"), extension=".nii.gz"):
    for seed, name in enumerate(names):
        write_nifti(folder / "images" / f"{name}{extension}", images(seed))
        write_nifti(folder / "masks" / f"{name}{extension}", labels(seed))
    return folder


def reader(folder, **options):
    return VolumeReader(folder=str(folder), classes=("background", "organ"), **options)


def decoded(image):
    if image.format == "png":
        return tf.io.decode_png(image.encoded, dtype=tf.uint16).numpy()
    return decode_array(image.encoded, 10**6)


def test_each_slice_is_an_example_and_a_patient_is_in_one_split(tmp_path):
    sources = reader(make_set(tmp_path)).listing().sources
    assert [source.source_id for source in sources[:2]] == ["test/c/0000", "test/c/0001"]
    assert {(source.group, source.split) for source in sources} == {
        ("train/a", "train"),
        ("val/b", "eval"),
        ("test/c", "test"),
    }
    assert len(sources) == 12
    labeled = reader(tmp_path).read(sources[1])
    expected = np.rot90(images(2)[:, :, 1])
    np.testing.assert_array_equal(decoded(labeled.image)[..., 0], expected)
    np.testing.assert_array_equal(labeled.class_ids, expected > 0)
    coronal = reader(tmp_path, axis="coronal", slices=5)
    assert len(coronal.listing().sources) == 15
    assert decoded(coronal.read(coronal.listing().sources[0]).image).shape == (4, 6, 5)


def test_volumes_are_dealt_by_patient(tmp_path):
    names = [f"p{patient}_scan{scan}" for patient in range(12) for scan in range(2)]
    listing = reader(make_set(tmp_path, names), group_by="p[0-9]+").listing()
    assert {source.group for source in listing.sources} == {f"p{patient}" for patient in range(12)}
    assert len({(source.group, source.split) for source in listing.sources}) == 12


def test_dicom_series_go_with_masks_of_any_kind(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 4096, (4, 5, 6)).astype(np.uint16)
    shown = pixels > 2000
    for name, patient in (("a", "anna"), ("b", "berta"), ("c", "anna"), ("d", "dora")):
        write_series(tmp_path / "images" / name, pixels, patient=patient)
    write_series(tmp_path / "masks" / "a", shown.astype(np.uint16), intercept=0)
    write_segmentation(tmp_path / "masks" / "b.dcm", {1: shown})
    affine = np.array([[-0.5, 0, 0, 10], [0, -0.75, 0, 20], [0, 0, 3, -30], [0, 0, 0, 1.0]])
    write_nifti(tmp_path / "masks" / "c.nii.gz", shown.T.astype(np.uint8), affine)
    write_stack(tmp_path / "masks" / "d.tif", shown.astype(np.uint8))
    series = reader(tmp_path)
    listing = series.listing()
    assert listing.set_aside == []
    assert {source.group for source in listing.sources} == {"anna", "berta", "dora"}
    assert len(listing.sources) == 16
    for source in listing.sources:
        labeled = series.read(source)
        hounsfield = decoded(labeled.image)[..., 0]
        assert hounsfield.dtype == np.int16
        np.testing.assert_array_equal(labeled.class_ids, hounsfield > 2000 - 1024)


def test_all_volumes_are_stored_in_one_type(tmp_path):
    for name, values in (("a", images()), ("b", images().astype(np.uint16)), ("c", images().astype(np.float64))):
        write_nifti(tmp_path / "images" / f"{name}.nii", values)
        write_nifti(tmp_path / "masks" / f"{name}.nii", labels())

    def types():
        volumes = reader(tmp_path)
        return {decoded(volumes.read(source).image).dtype.name for source in volumes.listing().sources}

    assert types() == {"float32"}
    (tmp_path / "images" / "c.nii").unlink()
    assert types() == {"int32"}


def test_voxels_that_are_no_numbers_are_ignored(tmp_path):
    values = images().astype(np.float32)
    values[0, 0, 1] = np.nan
    write_nifti(tmp_path / "images" / "a.nii", values)
    write_nifti(tmp_path / "masks" / "a.nii", labels())
    for slices, expected in ((1, [0, 1, 0, 0]), (3, [1, 1, 1, 0])):
        volumes = reader(tmp_path, slices=slices)
        found = [(volumes.read(source).class_ids == 255).sum() for source in volumes.listing().sources]
        assert found == expected


def test_volumes_that_cannot_be_used_are_set_aside_in_a_sentence(tmp_path):
    make_set(tmp_path, [f"{split}/{name}" for split in ("train", "val", "test") for name in "abc"])
    write_nifti(tmp_path / "images" / "train" / "flat.nii.gz", images(), np.diag([1.0, 1, 0, 1]))
    write_nifti(tmp_path / "masks" / "train" / "flat.nii.gz", labels())
    write_nifti(tmp_path / "masks" / "train" / "a.nii.gz", labels()[:3])
    write_nifti(tmp_path / "masks" / "train" / "b.nii.gz", labels(), np.diag([2.0, 2, 4, 1]))
    write_nifti(tmp_path / "masks" / "test" / "c.nii.gz", labels() * 3)
    gz = tmp_path / "images" / "test" / "b.nii.gz"
    gz.write_bytes(gz.read_bytes()[:-30])
    with pytest.raises(UserError, match="more than --max-set-aside"):
        convert(reader(tmp_path), str(tmp_path / "out"))
    report = convert(reader(tmp_path), str(tmp_path / "out"), max_set_aside=0.5)
    reasons = {entry["input"].rpartition("images/")[2]: entry["reason"] for entry in report["set_aside"]}
    assert "affine is singular" in reasons.pop("train/flat.nii.gz")
    assert "sizes differ" in reasons.pop("train/a.nii.gz")
    assert "its mask lies elsewhere" in reasons.pop("train/b.nii.gz")
    assert {name.partition("#")[0] for name in reasons} == {"test/b.nii.gz", "test/c.nii.gz"}
    assert "cut off" in reasons["test/b.nii.gz#0"]
    assert any("class id 3" in reason for reason in reasons.values())


def test_a_conversion_says_how_volumes_were_cut_and_keeps_them_together(tmp_path):
    make_set(tmp_path / "set", [f"{split}/{name}" for split in ("train", "val", "test") for name in "abcd"])
    volumes = reader(tmp_path / "set", axis="sagittal", spacing="2,2,3", slices=3)
    report = convert(volumes, str(tmp_path / "out"), shards=2)
    volume = {"axis": "sagittal", "spacing": [2.0, 2.0, 3.0], "slices": 3}
    expected = {"type": "float32", "bands": 3, "volume": volume}
    assert json.loads((tmp_path / "out" / "conversion.json").read_text())["image"] == expected
    settings = PreprocessingSettings().of_images(read_image_type(str(tmp_path / "out")), "out")
    assert PreprocessingSettings.of_facts(settings.model_dump(mode="json")).volume == volumes.slicing
    assert report["splits"]["train"]["groups"] == 4
    seen = set()
    for path in sorted((tmp_path / "out").glob("train-*.tfrecord")):
        groups = []
        for record in tf.data.TFRecordDataset(str(path)):
            feature = tf.train.Example.FromString(record.numpy()).features.feature
            groups.append(feature["image/group"].bytes_list.value[0])
        assert len(groups) == 12
        assert groups == sorted(groups, key=groups.index)  # One volume after the other.
        assert not seen & set(groups)
        seen |= set(groups)


@pytest.mark.skipif(not CELLS.is_dir(), reason="the shared data are not here")
def test_a_stack_of_cells_has_31_slices_of_16_bits(tmp_path):
    for kind, name in (("images", "img3d.tif"), ("masks", "mask3d.tif")):
        (tmp_path / kind).mkdir()
        (tmp_path / kind / "cells.tif").symlink_to(CELLS / name)
    (tmp_path / "labels.yaml").write_text(
        f"- {{name: background, value: 0}}\n- {{name: nucleus, value: {list(range(1, 255))}}}\n"
    )
    cells = VolumeReader(folder=str(tmp_path), labels=str(tmp_path / "labels.yaml"), masks_hold="ids")
    sources = cells.listing().sources
    assert len(sources) == 31
    labeled = cells.read(sources[10])
    assert (labeled.image.format, labeled.image.height, labeled.image.width) == ("png", 61, 57)
    assert decoded(labeled.image).max() > 255
    assert (labeled.class_ids == 1).any()


def test_a_folder_of_volumes_is_recognized_with_its_classes(tmp_path):
    for seed, name in enumerate(["train/a", "val/b", "test/c"]):
        write_nifti(tmp_path / "imagesTr" / f"{name}.nii.gz", images(seed))
        write_nifti(tmp_path / "labelsTr" / f"{name}_seg.nii.gz", labels(seed))
    found = recognize(str(tmp_path))
    assert found.format == "volume"
    assert found.options == {"images": "imagesTr", "masks": "labelsTr", "mask_suffix": "_seg"}
    assert len(found.label_map) == 2
    assert len(found.listing.sources) == 12
    assert look(found).pairs


@pytest.mark.parametrize("kind", ["series", "stacks", "pictures"])
def test_series_and_stacks_are_recognized_and_single_pages_are_not(tmp_path, kind):
    pages = np.random.default_rng(0).integers(0, 200, (4, 16, 16)).astype(np.uint16)
    for name in ("train/a", "val/b", "test/c"):
        if kind == "series":
            write_series(tmp_path / "images" / name, pages, patient=name)
            write_series(tmp_path / "masks" / name, (pages > 100).astype(np.uint16), intercept=0)
        else:
            count = 4 if kind == "stacks" else 1
            write_stack(tmp_path / "images" / f"{name}.tif", pages[:count])
            write_stack(tmp_path / "masks" / f"{name}.tif", (pages[:count] > 100).astype(np.uint8))
    assert recognize(str(tmp_path)).format == ("mask-folder" if kind == "pictures" else "volume")
