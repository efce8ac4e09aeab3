"""Predictions as annotations: from the model to the files of labeling tools."""

import json
import os
import pathlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from data import contract
from data.annotations.shapes import Polygon
from data.base.errors import UserError
from data.writing import WRITERS
from models.serving.inputs import find_inputs
from models.serving.predict import predict
from tests.conftest import ROOT

pytestmark = pytest.mark.one_line


@pytest.fixture(scope="module")
def model(tmp_path_factory, push):
    """A model with the classes nothing, cat and dog."""
    destination = tmp_path_factory.mktemp("model") / "serving"
    push(destination, 1, 1)
    return str(destination)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def save(path, seed=0):
    """A photograph in which a disk is bright."""
    rows, columns = np.indices((90, 120))
    bright = (rows - 40) ** 2 + (columns - 50 - seed) ** 2 < 900
    pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.where(bright, 220, 30).astype(np.uint8)).convert("RGB").save(path)


def coco_masks(folder):
    """Class ids by the names of images."""
    content = json.loads((pathlib.Path(folder) / "annotations.json").read_text())
    masks = {entry["id"]: np.full((entry["height"], entry["width"]), 255, np.uint8) for entry in content["images"]}
    for entry in content["annotations"]:
        mask = masks[entry["image_id"]]
        mask[Polygon(entry["segmentation"]).mask(*mask.shape)] = entry["category_id"]
    return {entry["file_name"]: masks[entry["id"]] for entry in content["images"]}


def test_annotations_equal_the_masks_and_name_the_images(model, here):
    save("photos/x.jpg")
    save("photos/sub/y.png", 20)
    save("photos/sub/y.jpg", 30)
    (here / "photos" / "bad.jpg").write_text("no image")
    found = list(predict(model, find_inputs(["photos"], "out").files, "out", formats=list(WRITERS), tolerance=0))
    assert [item.image for item in found if item.error] == ["photos/bad.jpg"]
    masks = coco_masks("out/annotations_coco")
    assert set(masks) == {"x.jpg", "sub/y.png", "sub/y.jpg"}
    for item in found:
        if item.error is None:
            mask = np.asarray(Image.open(item.mask))
            assert len(np.unique(mask)) == 2
            # The model's class "nothing" is one like others: nothing says that it is the background.
            assert np.array_equal(masks[item.image.removeprefix("photos/")], mask)
    labelme = json.loads(pathlib.Path("out/annotations_labelme/sub/y.png.json").read_text())
    assert os.path.samefile(here / "out/annotations_labelme/sub" / labelme["imagePath"], "photos/sub/y.png")
    assert {path.name for path in pathlib.Path("out").iterdir() if path.name.startswith("annotations")} == {
        f"annotations_{name}" for name in WRITERS
    }


def test_images_of_a_tfrecord_have_names(model, here):
    save("x.png")
    save("y.jpg")
    with tf.io.TFRecordWriter("data.tfrecord") as records:
        for name in ("x.png", "y.jpg", "x.png"):
            example = tf.train.Example()
            example.features.feature[contract.IMAGE].bytes_list.value.append(pathlib.Path(name).read_bytes())
            example.features.feature[contract.SOURCE_ID].bytes_list.value.append(b"animals/" + name[:1].encode())
            records.write(example.SerializeToString())
    found = list(predict(model, {"data.tfrecord": "data"}, "out", formats=["coco", "labelme"]))
    assert [item.error for item in found] == [None] * 3
    assert set(coco_masks("out/annotations_coco")) == {"animals_x.png", "animals_y.jpg", "animals_x_2.png"}
    content = json.loads(pathlib.Path("out/annotations_labelme/animals_y.json").read_text())
    assert content["imagePath"] == "animals_y.jpg"


def test_annotations_that_are_there_stop_the_run_before_anything_is_written(model, here):
    save("x.png")
    list(predict(model, {"x.png": "x"}, "out", formats=["yolo"]))
    before = {path: path.stat().st_mtime_ns for path in pathlib.Path("out").rglob("*")}
    with pytest.raises(UserError, match="annotations_yolo exists"):
        list(predict(model, {"x.png": "x"}, "out", formats=["yolo"]))
    assert before == {path: path.stat().st_mtime_ns for path in pathlib.Path("out").rglob("*")}


def test_a_run_that_is_ended_leaves_no_annotations(model, here):
    save("x.png")
    save("y.png")
    running = predict(model, {"x.png": "x", "y.png": "y"}, "out", formats=list(WRITERS))
    next(running)
    running.close()
    assert sorted(os.listdir("out")) == ["predictions.jsonl", "x_mask.png", "x_overlay.png"]


def test_the_command_writes_several_formats_and_says_where(segpipe, model, here):
    save("x.png")
    command = ["predict", "--model", model, "--output", "out", "x.png", "--write"]
    finished = segpipe(
        *command, "coco", "--write", "label-studio", "--tolerance", "0.5", folder=here, PYTHONPATH=str(ROOT)
    )
    assert finished.returncode == 0, finished.stderr
    for name in ("coco", "label-studio"):
        folder = f"out/annotations_{name}"
        assert f"Annotations for {name} are in {folder}" in finished.stdout
        assert os.path.isdir(folder)
    again = segpipe(*command, "coco", folder=here, PYTHONPATH=str(ROOT))
    assert again.returncode == 1
    assert again.stderr.startswith("Error: out/annotations_coco exists")  # Before TensorFlow is loaded.
    unknown = segpipe(*command, "voc", folder=here, PYTHONPATH=str(ROOT))
    assert unknown.returncode == 1
    assert "'voc' is not one of 'coco', 'yolo'" in unknown.stderr
