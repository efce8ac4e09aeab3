"""Folders of annotations appear whole or not at all, and nothing that people may have corrected is overwritten."""

import os
import pathlib
import resource
import signal

import numpy as np
import pytest

from data.base.errors import UserError
from data.writing import WRITERS, AnnotatedImage
from data.writing.folders import annotation_folders
from tests.data.writing.made_up import LABELS, masks, write

MASK = masks()["rings.png"]


def test_a_folder_that_exists_is_left_alone(tmp_path):
    (folder,) = write(tmp_path, ["labelme"], {"x.png": MASK})
    (folder / "x.json").write_text("corrected")
    with pytest.raises(UserError, match=r"annotations_labelme exists.*move it away"):
        write(tmp_path, ["coco", "labelme"], {"x.png": MASK})
    assert (folder / "x.json").read_text() == "corrected"
    assert os.listdir(tmp_path) == ["annotations_labelme"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, GeneratorExit, ValueError])
def test_what_is_not_finished_is_removed(tmp_path, error):
    def ended():
        with annotation_folders(str(tmp_path), list(WRITERS), LABELS, 1.0) as folders:
            folders.add(AnnotatedImage("x.png", "x", "x.png", *MASK.shape, folders.regions(MASK)))
            assert sorted(os.listdir(tmp_path)) == sorted(f"annotations_{name}.partial" for name in WRITERS)
            raise error

    with pytest.raises(error):
        ended()
    assert os.listdir(tmp_path) == []


def test_what_a_killed_run_left_is_removed(tmp_path):
    left = tmp_path / "annotations_yolo.partial"
    (left / "labels").mkdir(parents=True)
    (left / "labels" / "old.txt").write_text("0 ")
    (folder,) = write(tmp_path, ["yolo"], {"x.png": MASK})
    assert not left.exists()
    assert sorted(path.name for path in folder.rglob("*.txt")) == ["train.txt", "x.txt"]


def test_a_folder_that_cannot_be_written_is_one_message(tmp_path):
    (tmp_path / "annotations_coco.partial").symlink_to(tmp_path)
    with pytest.raises(
        UserError, match=f"cannot write annotations in {tmp_path}: .*; mend that, or choose another --output"
    ):
        write(tmp_path, ["coco"], {"x.png": MASK})
    with (
        pytest.raises(UserError, match=r"cannot write annotations in .*File name too long"),
        annotation_folders(str(tmp_path), ["geojson"], LABELS, 0) as folders,
    ):
        folders.add(AnnotatedImage("x.png", "x" * 300, "x.png", *MASK.shape, []))
    assert not pathlib.Path(tmp_path, "annotations_geojson").exists()


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("most", [10, 3000])
def test_a_full_disk_is_one_message(tmp_path, name, most):
    """Files that may not grow any more are as good as one: writing fails, and so does closing."""
    noise = np.random.default_rng(0).integers(0, 4, (60, 60)).astype(np.uint8)
    before, limits = signal.signal(signal.SIGXFSZ, signal.SIG_IGN), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, limits[1]))
    try:
        with pytest.raises(UserError) as caught:
            write(tmp_path, [name], {"a.png": noise, "b.png": noise})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert str(caught.value).startswith(f"cannot write annotations in {tmp_path}: ")
    assert os.listdir(tmp_path) == []


def test_without_formats_nothing_is_outlined(tmp_path):
    with annotation_folders(str(tmp_path), [], LABELS, 1.0) as folders:
        assert folders.regions(np.ones((3, 4), np.uint8)) == []
    assert os.listdir(tmp_path) == []
