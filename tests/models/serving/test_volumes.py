"""Volumes in, volumes out: masks lie where their volumes do, whatever those are and however the model cuts them."""

import json
import pathlib
import sys

import nibabel
import numpy as np
import pytest
from PIL import Image, ImageSequence

from models.serving.inputs import find_inputs
from models.serving.predict import predict
from tests.data.formats.volume.volumes import SERIES_AFFINE, write_nifti, write_series, write_stack

pytestmark = pytest.mark.one_line
SIDE = 8


@pytest.fixture(scope="module")
def models(tmp_path_factory, push):
    """A model that finds cats in bright pixels, by how it cuts volumes."""
    made = {}

    def model(volume=None):
        key = json.dumps(volume)
        if key not in made:
            folder = tmp_path_factory.mktemp("model")
            push(folder / "serving", 1, 1)
            path = folder / "serving" / "1" / "assets.extra" / "segpipe.json"
            facts = json.loads(path.read_text())
            if volume:
                facts["preprocessing"]["volume"] = volume
            path.write_text(json.dumps(facts))
            made[key] = str(folder / "serving")
        return made[key]

    return model


def bright(shape=(SIDE, SIDE, SIDE)):
    """A bright block in one corner, different along each axis."""
    values = np.full(shape, 20, np.uint8)
    values[:2, :3, :4] = 220
    return values


def outcomes(model, *inputs, output):
    return list(predict(model, find_inputs([str(one) for one in inputs], str(output)).files, str(output)))


def test_a_mask_has_the_affine_and_the_shape_of_its_volume(models, tmp_path):
    affine = np.array([[0, 0, 2.0, -7], [-1.5, 0, 0, 3], [0, 3, 0, 11], [0, 0, 0, 1]])
    path = write_nifti(tmp_path / "scan.nii.gz", bright()[..., np.newaxis], affine)
    model = models({"axis": "sagittal", "spacing": None, "slices": 1})
    (found,) = outcomes(model, path, output=tmp_path / "out")
    assert (found.error, found.mask) == (None, str(tmp_path / "out" / "scan_mask.nii.gz"))
    mask = nibabel.load(found.mask)
    np.testing.assert_allclose(mask.affine, affine)
    assert mask.header["sform_code"] == 2
    assert (mask.shape, mask.get_data_dtype()) == ((SIDE, SIDE, SIDE, 1), np.uint8)
    np.testing.assert_array_equal(np.asarray(mask.dataobj)[..., 0], bright() > 100)
    assert found.shape == [SIDE, SIDE, SIDE]
    assert found.class_shares["cat"] == pytest.approx((bright() > 100).mean(), abs=1e-6)
    line = json.loads((tmp_path / "out" / "predictions.jsonl").read_text())
    assert line.keys() == {"image", "mask", "shape", "class_shares", "confidence"}


def test_what_was_resampled_is_put_back(models, tmp_path):
    values = np.repeat(bright(), 2, axis=2)
    path = write_nifti(tmp_path / "scan.nii", values, np.diag([1.0, 1.0, 0.5, 1.0]))
    model = models({"axis": "axial", "spacing": [1, 1, 1], "slices": 3})
    # The model learned from 8 bits, and resampling makes fractions.
    (found,) = outcomes(model, path, output=tmp_path / "out")
    mask = np.asarray(nibabel.load(found.mask).dataobj)
    assert mask.shape == values.shape
    # At the end of the block, one of two neighbors is of the other kind.
    for inside in (np.s_[..., :6], np.s_[..., 10:]):
        np.testing.assert_array_equal(mask[inside], values[inside] > 100)


def test_series_become_nifti_masks_and_stacks_become_stacks(models, tmp_path):
    folder = tmp_path / "in"
    write_series(folder / "p1", bright().astype(np.uint16), intercept=0)
    write_stack(folder / "cells.tif", bright())
    found = {pathlib.Path(item.image).name: item for item in outcomes(models(), folder, output=tmp_path / "out")}
    assert {name: item.error for name, item in found.items()} == {"p1": None, "cells.tif": None}
    mask = nibabel.load(found["p1"].mask)
    np.testing.assert_allclose(mask.affine, SERIES_AFFINE)
    np.testing.assert_array_equal(np.asarray(mask.dataobj), bright().T > 100)
    with Image.open(found["cells.tif"].mask) as stack:
        pages = [np.array(page) for page in ImageSequence.Iterator(stack)]
    np.testing.assert_array_equal(pages, bright() > 100)
    # What was written is no input, also where its list is lost.
    (tmp_path / "out" / "predictions.jsonl").unlink()
    inputs = find_inputs([str(tmp_path)], str(tmp_path / "other"))
    assert set(inputs.files) == {str(folder / "p1"), str(folder / "cells.tif")}
    assert len(inputs.left_out) == 2


def test_volumes_that_cannot_be_used_are_told_apart_from_the_others(models, tmp_path):
    good = write_nifti(tmp_path / "good.nii.gz", bright())
    content = pathlib.Path(good).read_bytes()
    (tmp_path / "cut.nii.gz").write_bytes(content[:-20])
    write_nifti(tmp_path / "deep.nii.gz", bright().astype(np.int16) * 10)
    values = bright().astype(np.float32)
    values[0, 0, 0] = np.nan
    write_nifti(tmp_path / "nan.nii.gz", values)
    write_series(tmp_path / "gap", bright().astype(np.uint16), heights=[*range(7), 20.0])
    found = {pathlib.Path(item.image).name: item.error for item in outcomes(models(), tmp_path, output=tmp_path / "o")}
    assert found.pop("good.nii.gz") is None
    assert "cut off" in found.pop("cut.nii.gz")
    assert found.pop("deep.nii.gz") == (
        "its values go from 200 to 2200, and the model learned from uint8, which has 0 to 255; give it a volume of the "
        "same units"
    )
    assert "no numbers (NaN)" in found.pop("nan.nii.gz")
    assert "is one missing?" in found.pop("gap")
    assert found == {}


def test_a_missing_package_is_the_error_of_the_files_that_need_it(models, tmp_path, monkeypatch):
    write_nifti(tmp_path / "in" / "a.nii.gz", bright())
    Image.new("L", (SIDE, SIDE)).save(tmp_path / "in" / "b.png")
    monkeypatch.setitem(sys.modules, "nibabel", None)
    volume, image = outcomes(models(), tmp_path / "in", output=tmp_path / "out")
    assert volume.error == "it is read by the package nibabel, which is missing; pip install 'segpipe[volumes]'"
    assert (pathlib.Path(image.image).name, image.error) == ("b.png", None)


def test_annotations_are_of_images(models, tmp_path):
    path = write_nifti(tmp_path / "scan.nii.gz", bright())
    (found,) = predict(models(), {path: "scan"}, str(tmp_path / "out"), formats=["geojson"])
    assert found.error == "--write is for images; of a volume, the mask is written"
