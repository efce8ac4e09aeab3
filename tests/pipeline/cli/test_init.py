"""`segpipe init`: what it prints and writes, and that the next commands take it."""

import itertools
import json
import pathlib
import re
import shlex
import subprocess
import sys

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from PIL import Image

from data.label_map import LabelMap
from data.label_map_files import load_labels
from models.training.settings import TrainerConfig
from pipeline.cli import cli
from pipeline.config import load_config


@pytest.fixture
def init(tmp_path, monkeypatch):
    """The command in this process, in a folder of its own: what it prints, its error included."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    def run(*arguments):
        result = CliRunner().invoke(cli, ["init", *map(str, arguments)], terminal_width=200)
        return result.output + str(result.exception or "")

    return run


def make(folder, count=100, size=(60, 80), values=(0, 1), channels=3, share=0.5, same_shape=True):
    """A data set whose masks have a rectangle of each value but the first, which all of them together cover."""
    generator = np.random.default_rng(0)
    for index in range(count):
        height, width = size if same_shape else (size[0] + index % 7 * 10, size[1])
        mask = np.full((height, width), values[0], np.uint8)
        of_each = share / (len(values) - 1)
        for place, value in enumerate(values[1:]):
            start = place * width // (len(values) - 1)
            mask[
                : max(1, round(of_each * (len(values) - 1) * height)), start : (place + 1) * width // (len(values) - 1)
            ] = value
        shape = (height, width) if channels == 1 else (height, width, channels)
        pixels = generator.integers(0, 60, shape, np.uint8)
        pixels[mask != values[0]] += 120
        for kind, array, suffix in (("images", pixels, "png"), ("masks", mask, "png")):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(folder / kind / f"{index:03}.{suffix}")
    return folder


def commands(printed):
    """The commands that come next, without the program."""
    lines = printed.partition("Next:")[2].strip().splitlines()
    return [shlex.split(line)[1:] for line in lines]


def reason(text, key):
    """The comment beside a key, in one line."""
    found = re.search(rf"^ *{key}: [^#\n]*# (.*(?:\n +# .*)*)", text, re.MULTILINE)
    return re.sub(r"\s*\n\s*# ", " ", found[1]) if found else ""


def test_it_writes_labels_and_a_run_that_load_and_prints_what_comes_next(init, tmp_path):
    source = make(tmp_path / "My data, 2026", values=(0, 255))
    printed = init(source)
    assert "is read as --format mask-folder" in printed
    assert (
        "images are in images/, masks in masks/: they have the same names, and 100 of 100 images have a mask" in printed
    )
    assert "the masks hold the values 0, 255 (in all 100 masks)" in printed
    assert "Assumed:\n  no file names the values: the classes are called background, foreground" in printed
    convert, run = commands(printed)
    tfrecords = "output/my_data_2026_tfrecords"
    assert convert == ["convert", "--format", "mask-folder", "--labels", "labels.yaml", str(source), tfrecords]
    assert run == ["run", "--config", "my_run.yaml"]
    labels = load_labels("labels.yaml")
    assert (labels.label_map.names, labels.values) == (("background", "foreground"), {0: 0, 255: 1})
    config = load_config("my_run.yaml")
    assert (config.name, config.output, config.data.input) == ("my-data-2026", "output/my_data_2026", tfrecords)
    config.check_output()


def test_nothing_is_overwritten_unless_asked(init, tmp_path):
    source = make(tmp_path / "source")
    (tmp_path / "here" / "labels.yaml").write_text("mine")
    assert "labels.yaml exists already; add --overwrite" in init(source)
    assert not (tmp_path / "here" / "my_run.yaml").exists()
    assert "Written: my_run.yaml" in init(source, "--overwrite")
    assert "my_run.yaml exists already; add --overwrite" in init(source)
    assert "is not a folder" in init(tmp_path / "sourc"), "what is wrong is said, not what would come next"
    printed = init(source, "--config", "other/run.yaml", "--name", "other")
    assert commands(printed)[0][-3:] == ["other/labels.yaml", str(source), "output/other_tfrecords"]
    assert load_config("other/run.yaml").name == "other"


def test_a_label_map_that_is_there_already_is_used(init, tmp_path, monkeypatch):
    source = make(tmp_path / "source")
    (source / "labels.yaml").write_text("- {id: 0, name: sky}\n- {id: 1, name: sea}\n")
    monkeypatch.chdir(source)
    printed = init(".")
    assert "labels.yaml, the classes" not in printed
    assert commands(printed)[0][1:] == [
        "--format",
        "mask-folder",
        "--labels",
        "labels.yaml",
        ".",
        "output/source_tfrecords",
    ]


def test_it_converts_what_it_recognized_if_asked(init, tmp_path):
    source = make(tmp_path / "source", count=12)
    printed = init("--convert", "--classes", "ground,thing", source)
    assert "train " in printed
    assert commands(printed) == [["run", "--config", "my_run.yaml"]]
    config = load_config("my_run.yaml")
    assert config.data.input == "output/source_tfrecords"
    assert config.load_label_map().names == ("ground", "thing")
    report = json.loads(pathlib.Path("output/source_tfrecords/conversion.json").read_text())
    assert sum(split["examples"] for split in report["splits"].values()) == 12
    assert not pathlib.Path("labels.yaml").exists()
    assert "my_run.yaml exists already; add --overwrite" in init("--convert", source)
    pathlib.Path("my_run.yaml").unlink()
    assert "output/source_tfrecords" in init("--convert", source)
    assert not pathlib.Path("my_run.yaml").exists()
    printed = init("--convert", "--overwrite", source)
    assert "Written: labels.yaml, the classes: background, foreground" in printed
    assert LabelMap.load("output/source_tfrecords/labels.yaml").names == ("background", "foreground")


@pytest.fixture
def streets(tmp_path):
    """Photographs with COCO's JSON: in each a car, a truck and a tree of 20 x 20 pixels."""
    source = make(tmp_path / "streets", count=12)
    images = sorted(path.name for path in (source / "images").iterdir())
    content = {
        "images": [{"id": i, "file_name": name, "width": 80, "height": 60} for i, name in enumerate(images)],
        "categories": [{"id": 7, "name": "car"}, {"id": 14, "name": "truck"}, {"id": 21, "name": "tree"}],
        "annotations": [],
    }
    for image in content["images"]:
        for left, category in zip((10, 30, 50), content["categories"], strict=True):
            outline = [left, 10, left + 20, 10, left + 20, 30, left, 30]
            entry = {"id": len(content["annotations"]), "image_id": image["id"], "category_id": category["id"]}
            content["annotations"].append({**entry, "segmentation": [outline], "area": 400, "iscrowd": 0})
    (source / "labels.json").write_text(json.dumps(content))
    for path in (source / "masks").iterdir():
        path.unlink()
    return source


MERGED = ("--classes", "tree, vehicle: [car, truck]")


def test_annotations_are_converted_with_the_classes_that_are_chosen(init, streets):
    printed = init("--convert", *MERGED, streets)
    assert "is read as --format coco:\n" in printed
    assert "classes: background, tree, vehicle\n" in printed
    assert commands(printed) == [["run", "--config", "my_run.yaml"]]
    report = json.loads(pathlib.Path("output/streets_tfrecords/conversion.json").read_text())
    share = 400 / (80 * 60)
    for split in report["splits"].values():
        shares = {"background": 1 - 3 * share, "tree": share, "vehicle": 2 * share}
        assert split["pixel_shares"] == pytest.approx(shares, abs=1e-6)
    config = load_config("my_run.yaml")
    assert config.load_label_map().names == ("background", "tree", "vehicle")
    # A tree, a car and a truck in each image.
    assert config.task == "instance"
    assert "task: instance: the masks tell objects apart, 12 of tree, 24 of vehicle in 12 images" in printed
    assert not pathlib.Path("labels.yaml").exists()


def test_annotations_need_no_label_map_and_their_options_go_into_the_command(init, streets):
    printed = init("--others", "ignore", "--classes", "tree", streets)
    assert "classes: background, tree\n" in printed
    assert load_config("my_run.yaml").task == "semantic"  # There is one tree in each image.
    convert, _ = commands(printed)
    assert convert[:3] == ["convert", "--format", "coco"]
    assert {("--others", "ignore"), ("--classes", "tree")} <= {*itertools.pairwise(convert)}
    assert "--labels" not in convert
    assert "labels.yaml" not in printed


def test_options_of_a_format_go_into_the_command(init, tmp_path):
    source = make(tmp_path / "source")
    (source / "masks").rename(source / "other")
    make(source, count=100)
    chosen = ("--format", "mask-folder", "--masks", "other", "--classes", "ground,thing")
    assert commands(init(*chosen, source))[0] == ["convert", *chosen, str(source), "output/source_tfrecords"]
    assert "--format brain-mri needs no SOURCE" in init("--format", "brain-mri")


def test_a_failed_conversion_leaves_nothing(init, tmp_path):
    source = make(tmp_path / "source")
    for index in range(20):
        (source / "images" / f"{index:03}.png").write_bytes(b"none")
    assert "20 of 100" in init("--convert", source)
    assert not list((tmp_path / "here").glob("*.yaml"))


@pytest.mark.parametrize("name", ["My run", "-x", ""])
def test_a_name_that_kubeflow_would_refuse_is_refused(init, tmp_path, name):
    assert "takes lower-case letters, digits and -" in init(make(tmp_path / "source", count=1), "--name", name)


def test_what_is_not_recognized_says_what_is_there(init, tmp_path):
    (tmp_path / "notes.txt").write_text("none")
    printed = init(tmp_path)
    assert "is not recognized: it holds 1 .txt in the folder itself.\nLooked for:\n" in printed
    assert "\n  mask-folder: folders images/ and masks/, whatever" in printed
    assert not list((tmp_path / "here").iterdir())


def test_reasons_are_true_and_values_follow_from_the_data(init, tmp_path):
    """A large gray set with thin, rare classes on the left and right, against a small one in color."""
    source = make(tmp_path / "gray", 30, (200, 240), (0, 1, 2), channels=1, share=0.02, same_shape=False)
    (source / "classes.txt").write_text("nothing\nleft_lung\nright_lung\n")
    init(source)
    text = pathlib.Path("my_run.yaml").read_text()
    config = load_config("my_run.yaml")
    assert config.preprocessing.channels == 1
    assert reason(text, "channels") == "all images are gray"
    assert config.preprocessing.resize == "stretch"
    assert "width / height is 0.92 to 1.2" in reason(text, "resize")
    assert set(config.train.loss) == {"cross_entropy", "dice"}
    assert reason(text, "loss").startswith("left_lung, the rarest class, has 1.")
    assert not config.train.augmentation.flip_horizontal
    assert reason(text, "flip_horizontal") == "mirrored, left_lung would be on the other side"
    assert (config.train.augmentation.brightness, config.train.augmentation.contrast) == (0, 0)
    assert config.gate.regression == "not_significantly_worse"
    # Nothing everywhere: 98 % of one class, none of the two others.
    assert "nothing everywhere would have 0.33" in reason(text, "mean_iou")
    assert config.gate.min["mean_iou"] == pytest.approx(0.33 + 0.67 / 4, abs=0.01)

    init(make(tmp_path / "color", 250, (48, 48)), "--overwrite")
    text, config = pathlib.Path("my_run.yaml").read_text(), load_config("my_run.yaml")
    assert (config.preprocessing.height, config.preprocessing.width, config.preprocessing.channels) == (48, 48, 3)
    assert "images are 48x48 (width x height), which is about the input's size, too" in reason(text, "height")
    assert config.preprocessing.resize == "stretch"
    assert set(config.train.loss) == {"cross_entropy"}
    assert config.model.depth == 3
    assert "48x48 become 6x6" in reason(text, "depth")
    assert 0 < config.train.minutes < 30
    assert reason(text, "minutes").startswith("enough for about ")


def test_the_minutes_that_are_asked_for_are_planned(init, tmp_path):
    init(make(tmp_path / "source", 20, (48, 48)), "--minutes", "7.5")
    assert load_config("my_run.yaml").train.minutes == 7.5
    assert reason(pathlib.Path("my_run.yaml").read_text(), "minutes").startswith("as you asked")


def test_objects_too_small_for_a_small_input_are_seen(init, tmp_path):
    for index in range(20):
        mask = np.zeros((640, 640), np.uint8)
        mask[index * 20 : index * 20 + 3, 100:103] = 1
        for kind, array in (
            ("images", np.random.default_rng(index).integers(0, 255, (640, 640, 3), np.uint8)),
            ("masks", mask),
        ):
            (tmp_path / "tiny" / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(tmp_path / "tiny" / kind / f"{index}.png")
    init(tmp_path / "tiny")
    config = load_config("my_run.yaml")
    # Two thirds of 640 pixels: objects of 3 have 2.
    assert config.preprocessing.resize == "none" or config.preprocessing.height >= 427
    assert TrainerConfig(
        preprocessing=config.preprocessing, model=config.model, train=config.train, label_map=[]
    ).stages


@pytest.mark.parametrize(("count", "threshold", "way"), [(3, 0.37, "a quarter"), (20, 0.12, "10%, as 20 classes")])
def test_the_first_threshold_is_lower_where_classes_are_many(init, tmp_path, count, threshold, way):
    init(make(tmp_path / "source", 30, (60, 80), range(count)))
    assert load_config("my_run.yaml").gate.min["mean_iou"] == threshold
    assert f"asks for {way}" in reason(pathlib.Path("my_run.yaml").read_text(), "mean_iou")


def test_a_small_set_gets_shares_that_fill_all_splits(init, tmp_path):
    source = make(tmp_path / "small", count=6)
    printed = init(source)
    convert, _ = commands(printed)
    assert "--split" in convert
    assert "fills all splits" in printed
    assert " 0 " not in re.search(r"splits: (.*)", printed)[1]


def test_a_set_that_cannot_fill_its_splits_is_refused_with_the_numbers(init, tmp_path):
    assert "would be empty" in init(make(tmp_path / "two", count=2))


def test_tfrecords_are_for_plan(init, brain_mri, tmp_path):
    printed = init(brain_mri)
    assert f"{brain_mri} is converted already" in printed
    assert f"plan {brain_mri}` writes its configuration" in printed
    assert not list((tmp_path / "here").iterdir())


def test_the_file_is_yaml_with_a_reason_for_what_came_from_the_data(init, tmp_path):
    init(make(tmp_path / "source"))
    text = pathlib.Path("my_run.yaml").read_text()
    assert max(map(len, text.splitlines())) <= 120
    for key in (
        "height",
        "channels",
        "resize",
        "encoder",
        "minutes",
        "loss",
        "flip_horizontal",
        "mean_iou",
        "regression",
    ):
        assert reason(text, key), key
    assert set(yaml.safe_load(text)) >= {"name", "output", "data", "preprocessing", "model", "train", "gate", "serving"}


def test_its_help_needs_no_tensorflow_and_teaches():
    code = (
        "import sys; from click.testing import CliRunner; from pipeline.cli import cli;"
        "print(CliRunner().invoke(cli, ['init', '--help']).output);"
        "print([name for name in ('tensorflow', 'apache_beam', 'tfx') if name in sys.modules])"
    )
    printed = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert "What is recognized:" in printed
    assert printed.endswith("[]\n")
