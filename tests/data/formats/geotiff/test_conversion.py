"""Scenes become TFRecords, and the report says how they were cut."""

import json

import numpy as np
import pytest
import tensorflow as tf

from data.convert import convert
from data.decoding.arrays import decode_array
from data.formats.geotiff.reader import GeotiffReader
from data.formats.geotiff.windows import window_of
from tests.data.formats.geotiff.rasters import noise, write_raster, write_scene

BANDS = ("B02", "B03", "B04", "B08")


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenes")
    mask = np.random.default_rng(0).integers(0, 2, [96, 128]).astype(np.uint8)
    mask[:32, :32] = 7
    write_scene(folder, "a", mask=mask, image=noise(96, 128), nodata=7)
    image = noise(96, 128)
    image[90:, 122:], image[70, 100, 1] = 0, 0
    write_raster(folder / "images" / "a.tif", image, names=BANDS, nodata=0)
    reader = GeotiffReader.model_validate(
        {
            "folder": str(folder),
            "classes": "a,b",
            "window": 32,
            "gap": 0,
            "split_by": "west-east",
            "split": "train=0.5,eval=0.25,test=0.25",
        }
    )
    output = folder / "tfrecords"
    return image, convert(reader, str(output)), output


def test_the_report_says_how_scenes_were_cut_and_what_their_bands_are(converted):
    _, report, output = converted
    assert json.loads(json.dumps(report)) == json.loads((output / "conversion.json").read_text())
    assert {split: counts["examples"] for split, counts in report["splits"].items()} == {
        "train": 5,
        "eval": 3,
        "test": 3,
    }
    assert report["scenes"] == {
        "count": 1,
        "window": 32,
        "overlap": 0,
        "gap": 0,
        "split_by": "west-east",
        "crs": "EPSG:32633",
    }
    assert report["image"] == {"type": "uint16", "bands": 4, "names": BANDS, "nodata": 0}
    assert [entry["input"].rpartition("#")[2] for entry in report["ignored"]] == ["r00000_c00000"]
    assert window_of(str(output)) == 32
    assert window_of(str(output.parent)) is None


def test_an_example_holds_the_values_of_the_scene(converted):
    image, _, output = converted
    (record,) = (
        record
        for record in tf.data.TFRecordDataset([str(path) for path in output.glob("test*")])
        if b"a_r00064_c00096" in record.numpy()
    )
    features = tf.train.Example.FromString(record.numpy()).features.feature
    stored = decode_array(features["image/encoded"].bytes_list.value[0], 10**6)
    assert features["image/format"].bytes_list.value[0] == b"npy"
    assert np.array_equal(stored, image[64:, 96:])
    ids = tf.io.decode_png(features["image/segmentation/class/encoded"].bytes_list.value[0]).numpy()[..., 0]
    assert np.array_equal(ids == 255, (image[64:, 96:] == 0).all(axis=-1))
