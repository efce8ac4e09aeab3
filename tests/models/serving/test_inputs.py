"""Which files predict takes, and what it calls their results."""

import os
import pathlib

import nibabel
import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from data.base.errors import UserError
from models.serving.inputs import find_inputs
from models.serving.results.files import MARK, is_result


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def images(*paths):
    for path in paths:
        pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (2, 2)).save(path)


def results(*paths):
    for path in paths:
        pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
        mark = PngImagePlugin.PngInfo()
        mark.add_text(*MARK)
        Image.new("L", (2, 2)).save(path, pnginfo=mark)


def files(*inputs, output="elsewhere"):
    return find_inputs(list(inputs), output).files


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        (["x.jpg", "y.jpg"], {"x.jpg": "x", "y.jpg": "y"}),
        (["x.jpg", "x.png"], {"x.jpg": "x.jpg", "x.png": "x.png"}),
        (["x.png", "x.jpg", "y.jpg"], {"x.png": "x.png", "x.jpg": "x.jpg", "y.jpg": "y"}),
        (["a/x.jpg", "b/x.jpg"], {"a/x.jpg": "a/x.jpg", "b/x.jpg": "b/x.jpg"}),
        (["a/c/x.jpg", "b/c/x.jpg"], {"a/c/x.jpg": "a/c/x.jpg", "b/c/x.jpg": "b/c/x.jpg"}),
        # What is longer now must not be another's name.
        (["x.jpg", "x.png", "x.jpg.png"], {"x.jpg": "x.jpg", "x.png": "x.png", "x.jpg.png": "x.jpg.png"}),
        # Not every file system tells these apart.
        (["x.jpg", "X.jpg"], None),
        (["caf\u00e9.jpg", "cafe\u0301.jpg"], None),
        # The same file twice.
        (["x.jpg", "./x.jpg", "a/../x.jpg"], {"x.jpg": "x"}),
    ],
)
def test_each_image_has_a_name_of_its_own(here, inputs, expected):
    images(*(path for path in inputs if ".." not in path))
    (here / "a").mkdir(exist_ok=True)
    found = files(*inputs)
    if expected is None:
        assert list(found) == inputs
        assert len({name.casefold() for name in found.values()}) == 2
    else:
        assert found == expected


def test_folders_keep_their_structure_and_only_clashing_names_are_longer(here):
    images("photos/x.jpg", "photos/x.png", "photos/y.png", "photos/sub/x.jpg", "more/y.png")
    (here / "photos" / "notes.txt").write_text("no image")
    (here / "photos" / "._x.jpg").write_text("what macOS keeps on x.jpg")
    assert files("photos") == {
        "photos/x.jpg": "x.jpg",
        "photos/x.png": "x.png",
        "photos/y.png": "y",
        "photos/sub/x.jpg": "sub/x",
    }
    found = files("photos", "more")
    assert len(set(found.values())) == 5
    assert found["more/y.png"] == "more/y.png"


def test_links_are_followed_and_loops_are_not(here):
    images("photos/x.jpg", "elsewhere/y.jpg")
    (here / "photos" / "more").symlink_to("../elsewhere")
    (here / "photos" / "around").symlink_to(".")
    (here / "elsewhere" / "up").symlink_to("../photos")
    (here / "photos" / "gone.jpg").symlink_to("nowhere")
    # Each file once.
    assert list(files("photos")) == ["photos/gone.jpg", "photos/x.jpg", "photos/more/y.jpg"]


@pytest.mark.parametrize("name", ["[1].jpg", "a*b.jpg", "what?.jpg", "[!x]y.png", "photo [2024] (1).jpg"])
def test_a_name_that_exists_is_no_pattern(here, name):
    images(f"x/{name}", "x/1.jpg", "x/aab.jpg", "x/whats.jpg", f"{name}/inside.png")
    assert files(f"x/{name}") == {f"x/{name}": os.path.splitext(name)[0]}
    assert files(name) == {f"{name}/inside.png": "inside"}
    assert files(f"{name}/*.png") == {f"{name}/inside.png": "inside"}
    assert files(f"{here}/{name}/**/*.png") == {f"{here}/{name}/inside.png": "inside"}


def test_brackets_in_a_pattern_are_of_a_name_where_nothing_else_matches(here):
    images("scan [1] a.jpg", "scan [1] b.jpg", "scan 2.jpg")
    assert set(files("scan [1]*.jpg")) == {"scan [1] a.jpg", "scan [1] b.jpg"}
    assert set(files("scan [12].jpg")) == {"scan 2.jpg"}
    with pytest.raises(UserError, match=r"scan \[3\]\*: no image found"):
        files("scan [3]*")


def test_a_pattern_takes_folders_as_a_shell_does(here):
    images("x/a.jpg", "x/b.jpg/c.jpg")
    assert files("x/*") == {"x/a.jpg": "a", "x/b.jpg/c.jpg": "c"}


@pytest.mark.parametrize("output", ["photos/out", "photos", ".", "elsewhere"])
def test_results_are_no_inputs(here, output):
    """Whether they lie below the output, in the input itself, or were moved and renamed."""
    images("photos/x.jpg", "photos/sub/y.jpg")
    results("photos/x_mask.png", "photos/out/x_overlay.png", "photos/sub/renamed.png")
    found = find_inputs(["photos"], output)
    assert found.files == {"photos/x.jpg": "x", "photos/sub/y.jpg": "sub/y"}
    assert set(found.left_out) == {"photos/x_mask.png", "photos/out/x_overlay.png", "photos/sub/renamed.png"}
    assert files("photos/*", output=output).keys() == found.files.keys()
    # What is given by its name is meant.
    assert files("photos/x_mask.png", output=output) == {"photos/x_mask.png": "x_mask"}
    with pytest.raises(UserError, match="no image found; 1 files there are results of predict"):
        files("photos/out")


def test_what_lies_below_the_output_is_no_input_by_whatever_name_it_is_reached(here):
    images("photos/x.jpg", "photos/out/old_mask.png")
    (here / "link").symlink_to("photos/out")
    for output in ("photos/out", "link", str(here / "photos" / "." / "out")):
        found = find_inputs(["photos"], output)
        assert (set(found.files), found.left_out) == ({"photos/x.jpg"}, ["photos/out/old_mask.png"])


def test_results_without_a_mark_are_known_from_their_list(here):
    """As earlier releases wrote them."""
    images("photos/x.jpg", "photos/x_mask.png", "photos/sub/x_mask.png", "photos/sub/y_overlay.png")
    (here / "photos" / "predictions.jsonl").write_text(
        '{"image": "x.jpg", "mask": "photos/x_mask.png", "overlay": "other/photos/sub/y_overlay.png"}\n{"image": "a'
    )
    assert set(files("photos")) == {"photos/x.jpg", "photos/sub/x_mask.png"}


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("end", [".nii", ".nii.gz"])
def test_volumes_have_the_mark_in_their_headers(here, kind, end):
    for name, mark in (("result", MARK[1]), ("scan", "segpipe predict, corrected"), ("other", "")):
        image = kind(np.random.default_rng(0).integers(0, 3, [8, 8, 8]).astype(np.uint8), np.eye(4))
        image.header["descrip"] = mark
        image.to_filename(f"{name}{end}")
    assert set(files(".")) == {f"./scan{end}", f"./other{end}"}
    pathlib.Path(f"cut{end}").write_bytes(pathlib.Path(f"result{end}").read_bytes()[:30])
    assert not is_result(f"cut{end}")


def test_pipes_are_listed_and_not_opened(here):
    images("photos/x.jpg")
    os.mkfifo("photos/p.png")
    os.mkfifo("photos/predictions.jsonl")
    assert set(files("photos")) == {"photos/x.jpg", "photos/p.png"}
    assert not is_result("photos/p.png")


def test_nothing_found_is_told(here):
    (here / "empty").mkdir()
    for given in ("empty", "*.gif"):
        with pytest.raises(UserError, match="no image found"):
            files(given)
