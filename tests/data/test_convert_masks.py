"""Whole conversions of folders whose masks need a word of the user."""

import json
import pathlib
import re

import numpy as np
import pytest
from PIL import Image

from data.base.errors import UserError
from data.convert import convert
from data.formats.mask_folder import MaskFolderReader
from data.label_map import LabelMap
from data.masks.consistency import NEAREST_MASKS, NEAREST_PIXELS

SHARES = "train=0.4,eval=0.3,test=0.3"


def make_folder(folder, masks):
    """A folder of images with these masks, an equal number of each."""
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for index in range(18):
        mask = masks[index % len(masks)]
        Image.new("RGB", mask.size, (index, 0, 0)).save(folder / "images" / f"{index:03}.png")
        mask.save(folder / "masks" / f"{index:03}.png")
    return str(folder)


def gray(*values):
    return Image.fromarray(np.repeat(np.array(values, np.uint8), 20).reshape(len(values), 20))


def test_the_message_proposes_the_lines_that_work(tmp_path):
    folder = make_folder(tmp_path / "in", [gray(0, 1), gray(2, 0), gray(0, 4, 1)])
    with pytest.raises(UserError, match=r"The masks hold 0, 1, 2, 4\.") as caught:
        convert(MaskFolderReader(folder=folder, classes="a,b,c,d", split=SHARES), str(tmp_path / "out"))
    lines = re.findall(r"^  (- \{.*\})$", str(caught.value), re.M)
    assert lines[-1] == '- {id: 3, name: "d", value: 4}'
    (tmp_path / "labels.yaml").write_text("\n".join(lines))
    reader = MaskFolderReader(folder=folder, labels=str(tmp_path / "labels.yaml"), split=SHARES)
    report = convert(reader, str(tmp_path / "out"))
    assert not report["set_aside"]
    assert LabelMap.load(tmp_path / "out" / "labels.yaml").names == ("a", "b", "c", "d")


@pytest.mark.parametrize(
    ("classes", "lines"),
    [
        ("a,b,c", ['- {id: 0, name: "a", value: 1}', '- {id: 2, name: "c", value: 3}']),
        ("a,b", ['- {id: 0, name: "a", value: [1, 2]}', "- {ignore: [3]}"]),
    ],
)
def test_ids_that_start_at_1_are_proposed_as_values(tmp_path, classes, lines):
    folder = make_folder(tmp_path / "in", [gray(1, 2), gray(3, 2)])
    with pytest.raises(UserError) as caught:
        convert(MaskFolderReader(folder=folder, classes=classes, split=SHARES), str(tmp_path / "out"))
    for line in lines:
        assert line in str(caught.value)


def test_0_as_other_is_proposed_as_ignored(tmp_path):
    folder = make_folder(tmp_path / "in", [gray(0, 1), gray(0, 2)])
    with pytest.raises(UserError, match=r"value: 1\}\n.*value: 2\}\n  - \{ignore: \[0\]\}") as caught:
        convert(MaskFolderReader(folder=folder, classes="a,b", split=SHARES), str(tmp_path / "out"))
    assert "--foreground" not in str(caught.value)  # It takes masks of one value beside 0.


def test_a_value_in_a_few_masks_does_not_shift_the_classes(tmp_path):
    folder = make_folder(tmp_path / "in", [gray(0, 1)] * 17 + [gray(0, 99)])
    reader = MaskFolderReader(folder=folder, classes="a,b", split=SHARES)
    with pytest.raises(UserError) as caught:
        convert(reader, str(tmp_path / "out"), max_set_aside=0.01)
    lines = [line.strip() for line in str(caught.value).splitlines() if line.startswith("  - {")]
    assert lines == ['- {id: 0, name: "a"}', '- {id: 1, name: "b"}', "- {ignore: [99]}"]
    (tmp_path / "labels.yaml").write_text("\n".join(lines))
    reader = MaskFolderReader(folder=folder, labels=str(tmp_path / "labels.yaml"), split=SHARES)
    assert not convert(reader, str(tmp_path / "out"))["set_aside"]


def test_a_class_that_never_occurs_is_named(tmp_path):
    """As where ids start at 1, and the mask with the highest is set aside as one of many."""
    folder = make_folder(tmp_path / "in", [gray(1, 2)])
    report = convert(MaskFolderReader(folder=folder, classes="a,b,c", split=SHARES), str(tmp_path / "out"))
    (warning,) = report["warnings"]
    assert warning.startswith("no pixel is of a: if it should be there, say in a labels.yaml")


def test_the_colors_of_masks_are_listed_for_a_label_map(tmp_path):
    pixels = np.array([[[255, 0, 0]] * 9, [[0, 0, 255]] * 9], np.uint8)
    folder = make_folder(tmp_path / "in", [Image.fromarray(pixels)])
    with pytest.raises(UserError, match=r"name: \"a\", color: '#0000ff'\}\n  - \{name: \"b\", color: '#ff0000'\}"):
        convert(MaskFolderReader(folder=folder, classes="a,b", split=SHARES), str(tmp_path / "out"))


def test_masks_of_0_and_255_need_a_word_and_nothing_is_written_before(tmp_path):
    folder = make_folder(tmp_path / "in", [gray(0, 255), gray(0), gray(255)])
    with pytest.raises(UserError, match=r"0 and 255.*255 means ignore.*--foreground 255"):
        convert(MaskFolderReader(folder=folder, classes="a,b", split=SHARES), str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()
    convert(MaskFolderReader(folder=folder, classes="a,b", split=SHARES, foreground=255), str(tmp_path / "out"))
    report = json.loads((tmp_path / "out" / "conversion.json").read_text())
    assert all(split["pixel_shares"]["b"] > 0 for split in report["splits"].values())


def test_what_nearest_changed_is_counted(tmp_path):
    folder = make_folder(tmp_path / "in", [gray(0, 255), gray(3, 255)])
    reader = MaskFolderReader(folder=folder, classes="a,b", split=SHARES, foreground=255, nearest=True)
    counts = convert(reader, str(tmp_path / "out"))["notes"]["counts"]
    assert (counts[NEAREST_MASKS], counts[NEAREST_PIXELS]) == (9, 9 * 20)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"classes": "a,b,c", "foreground": 255}, "two classes, and there are 3"),
        ({"classes": "a,b", "transparent": "c"}, "takes ignore, or a class: a, b"),
        ({"classes": "a,b", "foreground": 0}, "greater than or equal to 1"),
    ],
)
def test_options_that_fit_nothing_are_errors(tmp_path, values, message):
    with pytest.raises(ValueError, match=message):
        MaskFolderReader(folder=str(tmp_path), **values)


def in_rgb(mask):
    return mask.convert("RGB")


def in_palette(mask):
    """Stored as palette indices in no order."""
    palette = Image.fromarray(np.asarray(mask) // 255 + 3)
    palette.putpalette([7, 7, 7] * 3 + [0, 0, 0] + [255, 255, 255])
    return palette


def black_and_white(tmp_path, *others):
    lines = ["- {name: ground, color: [0, 0, 0]}", "- {name: cell, color: [255, 255, 255]}", *others]
    (tmp_path / "labels.yaml").write_text("\n".join(lines))
    return str(tmp_path / "labels.yaml")


@pytest.mark.parametrize("encoding", [gray, lambda *values: in_rgb(gray(*values)), lambda *v: in_palette(gray(*v))])
def test_gray_masks_hold_the_colors_of_labels(tmp_path, encoding):
    folder = make_folder(tmp_path / "in", [encoding(0, 255, 0, 0)])
    reader = MaskFolderReader(folder=folder, labels=black_and_white(tmp_path), split=SHARES)
    report = convert(reader, str(tmp_path / "out"))
    assert report["splits"]["train"]["pixel_shares"] == {"ground": 0.75, "cell": 0.25}
    assert report["warnings"] == []


def test_masks_that_are_mostly_ignored_or_lack_a_class_are_named_with_the_remedy(tmp_path):
    """Of values that are no colors of the label map, 255 means ignore."""
    folder = make_folder(tmp_path / "in", [gray(0, 1, 255, 255)])
    labels = black_and_white(tmp_path, "- {name: other, color: [0, 255, 0]}")
    report = convert(MaskFolderReader(folder=folder, labels=labels, split=SHARES), str(tmp_path / "out"))
    absent, ignored = report["warnings"]
    assert absent.startswith("no pixel is of other: if it should be there, say in a labels.yaml")
    assert ignored.startswith("50% of the pixels are ignored, so they are neither trained on nor counted: 255 in masks")
    assert "value: 255 in a labels.yaml" in ignored
    assert "read by their values, and not by the colors of --labels; --masks-hold colors" in absent
    assert json.loads((tmp_path / "out" / "conversion.json").read_text())["warnings"] == [absent, ignored]
    # What the second says.
    pathlib.Path(labels).write_text("- {name: ground}\n- {name: cell, value: [1, 255]}")
    report = convert(MaskFolderReader(folder=folder, labels=labels, split=SHARES), str(tmp_path / "other"))
    assert report["splits"]["train"]["pixel_shares"] == {"ground": 0.25, "cell": 0.75}
    assert report["warnings"] == []


def test_where_colors_contradict_values_the_option_that_decides_is_named(tmp_path):
    """White is the first class: as a value, 0 is."""
    folder = make_folder(tmp_path / "in", [gray(0, 255, 0, 0)])
    (tmp_path / "labels.yaml").write_text("- {name: cell, color: '#ffffff'}\n- {name: ground, color: '#000000'}")
    options = {"folder": folder, "labels": str(tmp_path / "labels.yaml"), "split": SHARES}
    with pytest.raises(UserError, match="If the masks hold the colors of --labels, give --masks-hold colors"):
        convert(MaskFolderReader(**options), str(tmp_path / "out"))
    report = convert(MaskFolderReader(**options, masks_hold="colors"), str(tmp_path / "out"))
    assert report["splits"]["train"]["pixel_shares"] == {"cell": 0.25, "ground": 0.75}


def in_split_folders(folder, splits=("train", "val", "test")):
    for split in splits:
        make_folder(folder / split, [gray(0, 1)])
    return str(folder)


def test_a_split_of_ones_own_tells_what_it_deals_anew(tmp_path):
    folder = in_split_folders(tmp_path / "in")
    convert(MaskFolderReader(folder=folder, classes="a,b"), str(tmp_path / "own"))

    def warnings(name, shares):
        report = convert(MaskFolderReader(folder=folder, classes="a,b", split=shares), str(tmp_path / name))
        counts = {split: values["examples"] for split, values in report["splits"].items()}
        return counts, report["warnings"]

    assert json.loads((tmp_path / "own" / "conversion.json").read_text())["warnings"] == []
    counts, (line,) = warnings("all", SHARES)
    assert counts != {"train": 18, "eval": 18, "test": 18}
    assert line.startswith("--split deals anew what the data set itself has divided: of 18 images in train, ")
    assert re.search(
        r"; of 18 images in test, (\d+ are now in (train|eval|test)(, |; )){2,3}figures on this test", line
    )
    counts, (line,) = warnings("two", "train=0.5,eval=0.5")
    assert counts["test"] == 18
    assert line.endswith("; without --split, the splits of the data set stay")
    # It is what divides train where there is nothing else.
    two = in_split_folders(tmp_path / "lacks", ("train", "test"))
    report = convert(MaskFolderReader(folder=two, classes="a,b", split="train=0.5,eval=0.5"), str(tmp_path / "divided"))
    assert report["warnings"] == []


def test_the_command_line_warns_on_standard_error(tmp_path, segpipe):
    folder = in_split_folders(tmp_path / "in")
    finished = segpipe("convert", folder, str(tmp_path / "out"), "--classes", "a,b,c", "--split", SHARES)
    assert finished.returncode == 0, finished.stderr
    lines = [line for line in finished.stderr.splitlines() if line.startswith("Warning: ")]
    assert [line.split(":")[1].strip()[:24] for line in lines] == ["no pixel is of c", "--split deals anew what "]
