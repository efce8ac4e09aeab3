"""The command line of `segpipe convert`, which is that of the chosen format."""

import json
import logging
import os
import pathlib
import re
import subprocess
import sys
from typing import Literal

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from data.base.help_text import key_help, summary
from data.contract import SOURCE_ID, SPLITS
from data.decoding.images import EncodedImage, encode_png
from data.formats import FORMATS, LabeledImage, Listing, Reader, Source
from data.formats.mask_folder import MaskFolderReader
from data.label_map import LabelMap
from pipeline.cli import cli
from tests.data.test_convert import read_examples

pytestmark = pytest.mark.one_line
EXTENDING = (pathlib.Path(__file__).parents[3] / "docs" / "extending.md").read_text()
# The documented formats, of masks and of objects.
FORMATS_OF_ONES_OWN = EXTENDING.partition("### A dataset format\n")[2]
DOCUMENTED, OUTLINES = re.findall(r"```python\n(.*?)```", FORMATS_OF_ONES_OWN, re.DOTALL)[:2]
# The first, and formats that lack something.
PAIRS = (
    DOCUMENTED
    + """

from data.formats import Reader


class Unfinished(Reader):
    @property
    def label_map(self):
        return LabelMap.from_names(["a", "b"])

    def listing(self):
        return Listing([])


class Clashing(PairsReader):
    shards: int = 1
"""
)


class NoiseReader(Reader):
    """Random pixels.

    Attributes:
      count: images per split.
      color: of the images.
      bright: whether pixels are white.
    """

    count: int = 2
    color: Literal["gray", "red"] = "gray"
    bright: bool = False

    @property
    def label_map(self) -> LabelMap:
        return LabelMap.from_names(["a", "b"])

    def listing(self) -> Listing:
        return Listing([Source(f"{split}{i}", split, "", "") for split in SPLITS for i in range(self.count)])

    def read(self, source: Source) -> LabeledImage:
        pixels = np.full((4, 5), 255 * self.bright, np.uint8)
        return LabeledImage(EncodedImage(encode_png(pixels), "png", 4, 5), np.zeros((4, 5), np.uint8))


@pytest.fixture
def convert(monkeypatch):
    """The command in this process: what it prints, its error included."""
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    monkeypatch.setattr(logging.getLogger("absl"), "level", logging.WARNING)

    def run(*arguments):
        result = CliRunner().invoke(cli, ["convert", *map(str, arguments)], terminal_width=200)
        return result.output + str(result.exception or "")

    return run


@pytest.fixture
def my_formats(tmp_path, monkeypatch):
    """A user's own module `my_formats`, in a folder that is in PYTHONPATH."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "my_formats.py").write_text(PAIRS)
    (tmp_path / "code" / "my_outlines.py").write_text(OUTLINES)
    monkeypatch.syspath_prepend(tmp_path / "code")
    yield tmp_path / "code"
    sys.modules.pop("my_formats", None)
    sys.modules.pop("my_outlines", None)


def test_help_lists_all_formats_or_shows_the_chosen_one(convert):
    general = convert("--help")
    assert "convert [OPTIONS] SOURCE DEST" in general
    listed = general.partition("Formats:")[2].splitlines()
    for name, reader in FORMATS.items():
        assert any(line.split()[:1] == [name] and summary(reader).split()[0] in line for line in listed), name
    assert "--split" not in general
    own = convert("--format", "oxford-pets", "--help")
    assert "SOURCE DEST" in own
    assert "--border [class|ignore]" in own
    assert "[default: train=0.9,eval=0.1]" in own
    assert "--classes" not in own
    assert "The breed is the slice" in own
    for help_text in (general, own):
        assert "--overwrite" in help_text
    without_source = convert("--format=brain-mri", "-h")
    assert "convert [OPTIONS] DEST" in without_source
    assert "--format brain-mri DEST:" in without_source


@pytest.mark.parametrize("reader", FORMATS.values())
def test_every_format_and_every_option_has_help(reader):
    assert summary(reader)
    assert all(key_help(reader).get(key) for key in reader.model_fields)


@pytest.mark.parametrize("command", ["convert", "init", "inspect"])
@pytest.mark.parametrize("name", FORMATS)
def test_options_of_formats_are_none_of_the_commands_own(command, name):
    result = CliRunner().invoke(cli, [command, "--format", name, "--help"])
    assert (result.exit_code, result.exception) == (0, None)


def test_a_formats_own_options_come_first():
    output = CliRunner().invoke(cli, ["convert", "--format", "coco", "--help"]).output
    flags = re.findall(r"^  (--[a-z-]+)", output.partition("Options of all formats")[0], re.MULTILINE)
    assert flags[:2] == ["--annotations", "--unlabeled"]
    assert flags[-3:] == ["--max-pixels", "--orientation", "--nodata"]
    assert len(flags) == len(FORMATS["coco"].model_fields) - 1


def test_an_option_has_one_type_in_all_formats():
    fields = [(key, field) for reader in FORMATS.values() for key, field in reader.model_fields.items()]
    flags = {key for key, field in fields if field.annotation is bool}
    assert flags.isdisjoint(key for key, field in fields if field.annotation is not bool)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            "--format oxford-pets --classes a,b in out",
            "with --format oxford-pets: --classes is an option of --format ",
        ),
        (
            "--format brain-mri --split train=1 out",
            "with --format brain-mri: --split is an option of --format ",
        ),
        ("--border ignore in out", "in is not a folder"),
        ("in out", "in is not a folder"),
        ("only_one", "Missing argument 'DEST'"),
        ("--bordr ignore in out", "Did you mean one of: '--border'"),
        ("--format oxford-pets --bordr x in out", "Did you mean"),
        ("--format oxford-pets only_one", "Missing argument 'DEST'"),
        ("--format brain-mri in out", "unexpected extra argument"),
        ("--format nonsense in out", f"there is no format 'nonsense'; there are {', '.join(FORMATS)}, and"),
        ("--format oxford-pets --border none in out", "'none' is not one of 'class', 'ignore'"),
        ("--format oxford-pets --split train=0.8,test=0.2 in out", "--split train=0.8,test=0.2: the data set has its"),
        ("--format mask-folder --classes a,b --split train=2 in out", "--split train=2: cannot read 'train=2'"),
        ("--format mask-folder --classes a,b --max-pixels 0 in out", "--max-pixels 0: Input should be greater"),
        ("--format mask-folder --classes a,b --max-pixels x in out", "--max-pixels x: Input should be a valid integer"),
        ("--format mask-folder --labels nowhere.yaml in out", "cannot read the label map nowhere.yaml"),
        ("--format mask-folder --labels a.yaml --classes a,b in out", "cannot read the label map a.yaml"),
        ("--format mask-folder in out", "needs --classes with the names of the classes, or --labels"),
    ],
)
def test_a_wrong_option_has_one_clear_message(convert, arguments, message):
    assert message in convert(*arguments.split())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "my_team.formats:Reader",
            "there is no module my_team; install it, or add the folder that holds it to PYTHONPATH",
        ),
        ("my_formats:Nothing", "has no Nothing"),
        ("my_formats:LabelMap", "must be a class that derives from data.formats.base.reader.Reader"),
        ("my_formats:Unfinished", "must implement read, as data.formats.base.reader.Reader describes it"),
        ("my_formats:Clashing", "my_formats:Clashing: --shards is an option of all formats"),
        ("my_formats:PairsReader", "Missing option '--classes'"),
    ],
)
def test_a_wrong_format_of_ones_own_has_one_clear_message(convert, my_formats, name, message):
    assert message in convert("--format", name, "in", "out")


def test_a_format_of_ones_own_is_converted_by_two_workers(my_formats, tmp_path, segpipe):
    generator = np.random.default_rng(0)
    folder = tmp_path / "in"
    folder.mkdir()
    for split in SPLITS:
        Image.fromarray(generator.integers(0, 255, (6, 4, 3), np.uint8)).save(folder / f"{split}.jpg")
        Image.fromarray(generator.integers(0, 2, (6, 4), np.uint8)).save(folder / f"{split}.png")
    (folder / "pairs.csv").write_text("".join(f"{split}.jpg;{split}.png;{split}\n" for split in SPLITS))
    path = os.pathsep.join([str(my_formats), os.environ.get("PYTHONPATH", "")])
    own = ("--format", "my_formats:PairsReader")
    finished = segpipe("convert", *own, "--help", PYTHONPATH=path)
    assert re.search(r"--delimiter VALUE +What separates the columns\.  \[default: ,\]", finished.stdout)
    options = (*own, "--classes", "ground,thing", "--delimiter", ";", "--workers", "2")
    finished = segpipe("convert", *options, str(folder), str(tmp_path / "out"), PYTHONPATH=path)
    assert finished.returncode == 0, finished.stderr
    report = json.loads((tmp_path / "out" / "conversion.json").read_text())
    assert [report["splits"][split]["examples"] for split in SPLITS] == [1, 1, 1]


def test_a_format_of_objects_of_ones_own_draws_them_and_chooses_classes(convert, my_formats, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    outlines = {}
    for number in range(30):
        split = SPLITS[number % 3]
        (folder / split).mkdir(exist_ok=True)
        Image.new("RGB", (8, 6)).save(folder / split / f"{number}.png")
        outlines[f"{split}/{number}.png"] = [["cat", [0, 0, 4, 0, 4, 6, 0, 6]], ["dog", [2, 0, 8, 0, 8, 3, 2, 3]]]
    outlines["train/0.png"][0][1] = [0, 0, 4, 4]
    outlines["missing.png"] = []
    (folder / "outlines.json").write_text(json.dumps(outlines))
    own = ("--format", "my_outlines:OutlinesReader", "--max-set-aside", "0.1")
    printed = convert(*own, folder, tmp_path / "out")
    assert "background 25.0%, cat 37.5%, dog 37.5%" in re.sub(" +", " ", printed)
    report = json.loads((tmp_path / "out" / "conversion.json").read_text())
    assert {entry["reason"].partition(" in /")[0] for entry in report["set_aside"]} == {
        "outline 1 (cat): its polygon has 2 points, and needs three",
        "there is no image missing.png",
    }
    printed = convert(*own, "--classes", "dog", folder, tmp_path / "dogs")
    assert "background 62.5%, dog 37.5%" in re.sub(" +", " ", printed)


def test_a_new_format_needs_one_line_in_the_list(convert, monkeypatch, tmp_path):
    monkeypatch.setitem(FORMATS, "noise", NoiseReader)
    assert re.search("noise +Random pixels", convert("--help"))
    own = convert("--format", "noise", "--help")
    for expected in ("--format noise DEST", "Images per split.  [default: 2]", "--bright / --no-bright"):
        assert expected in own
    assert ", noise, and your own" in convert("--format", "nonsense", "in", "out")
    printed = convert("--format", "noise", "--count", "3", "--bright", "--color", "red", tmp_path / "out")
    assert "train       3 images   a 100.0%, b 0.0%" in printed
    assert "--count x: Input should be a valid integer" in convert("--format", "noise", "--count", "x", tmp_path / "a")


@pytest.fixture
def published(tmp_path):
    """Photographs of pets in the published layout."""
    generator = np.random.default_rng(0)
    folder = tmp_path / "pets"
    for name in ("images", "annotations/trimaps"):
        (folder / name).mkdir(parents=True)
    names = [f"cat_{index}" for index in range(14)]
    for name in names:
        Image.fromarray(generator.integers(0, 255, (6, 4, 3), np.uint8)).save(folder / "images" / f"{name}.jpg")
        trimap = generator.integers(1, 4, (6, 4), np.uint8)
        Image.fromarray(trimap).save(folder / "annotations" / "trimaps" / f"{name}.png")
    for name, listed in (("trainval.txt", names[:10]), ("test.txt", names[10:])):
        (folder / "annotations" / name).write_text("".join(f"{name} 1 1 1\n" for name in listed))
    return folder


def test_without_format_the_source_is_recognized(convert, published, tmp_path):
    printed = convert(published, tmp_path / "out")
    assert f"{published} is read as --format oxford-pets:\n  it has annotations/trainval.txt" in printed
    assert "\n  classes: pet, background, border\n  splits: " in printed
    assert "test        4 images   pet" in printed


def test_without_format_options_overrule_what_was_recognized(convert, published, tmp_path):
    printed = convert("--border", "ignore", "--split", "train=0.7,eval=0.3", published, tmp_path / "out")
    assert "classes: pet, background\n" in printed
    again = printed.partition("To read it in the same way when files are added:\n")[2].splitlines()[0]
    for options in ("--format oxford-pets", "--border ignore", "--split train=0.7,eval=0.3"):
        assert options in again
    assert again.endswith(f" {published} {tmp_path / 'out'}")
    assert LabelMap.load(tmp_path / "out" / "labels.yaml").names == ("pet", "background")
    owners = ", ".join(name for name, reader in FORMATS.items() if "masks" in reader.model_fields)
    for wrong, message in (
        (("--masks", "x"), f"--masks is an option of --format {owners}, but {published} is recognized as --format ox"),
        (("--border", "none"), "--border none: Input should be 'class' or 'ignore'"),
        (("--split", "test=1"), "--split test=1: the data set has its own test list"),
    ):
        assert message in convert(*wrong, published, tmp_path / "other")


def test_without_format_the_classes_of_masks_are_found(convert, published, tmp_path):
    (published / "annotations" / "test.txt").unlink()
    printed = convert(published, tmp_path / "out")
    assert "is read as --format mask-folder:" in printed
    assert "no file names the values: the classes are called class_1, class_2, class_3" in printed
    assert LabelMap.load(tmp_path / "out" / "labels.yaml").names == ("class_1", "class_2", "class_3")
    printed = convert("--classes", "none,cat,ground,edge", published, tmp_path / "named")
    assert "no file names" not in printed
    assert LabelMap.load(tmp_path / "named" / "labels.yaml").names == ("none", "cat", "ground", "edge")
    assert f"{tmp_path / 'out'} holds TFRecords of each split and a labels.yaml: it is converted" in convert(
        tmp_path / "out", tmp_path / "other"
    )


def test_the_list_of_formats_is_light():
    code = "import sys, data.formats; print([n for n in ('tensorflow', 'apache_beam', 'nilearn') if n in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "[]\n"


def test_a_reader_can_be_made_without_the_command_line():
    reader = MaskFolderReader(folder="in", classes=("a", "b"), split={"train": 0.5, "eval": 0.25, "test": 0.25})
    assert reader.label_map.names == ("a", "b")
    with pytest.raises(ValueError, match=r"add up to 0\.5"):
        MaskFolderReader(folder="in", classes=("a", "b"), split={"train": 0.5})


def test_images_are_left_out_by_name_which_is_told_and_so_is_a_name_of_none(convert, tmp_path):
    chosen = tmp_path / "exclude.txt"
    # As an editor on Windows writes it.
    chosen.write_bytes("\ufeff# wrong labels\r\ntrain1\r\n#train0\r\n\r\n  test0 \r\nnobody\r\n".encode())
    output = convert("--format", f"{__name__}:NoiseReader", "--exclude", chosen, tmp_path / "out")
    assert "left out: 2 (excluded by its name)" in output
    assert "Warning: to be excluded, but no image here has this name: nobody" in output
    report = json.loads((tmp_path / "out" / "conversion.json").read_text())
    assert {split: counts["examples"] for split, counts in report["splits"].items()} == {
        "train": 1,
        "eval": 2,
        "test": 1,
    }
    assert report["set_aside"] == []
    ids = [
        features[SOURCE_ID].bytes_list.value[0]
        for split in SPLITS
        for features in read_examples(tmp_path / "out", split)
    ]
    assert ids == [b"train0", b"eval0", b"eval1", b"test1"]


def test_an_image_may_be_excluded_as_conversion_json_calls_it(tmp_path):
    folder = tmp_path / "data"
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
        for index in range(20):
            Image.fromarray(np.full((4, 5), index % 2, np.uint8)).save(folder / kind / f"{index}.png")
    reader = MaskFolderReader(folder=str(folder), classes="a,b", split={"train": 0.4, "eval": 0.3, "test": 0.3})
    listing = reader.listing()
    first = listing.sources[0]
    left = listing.without([first.image])
    assert left.sources == listing.sources[1:]
    assert [entry.input for entry in left.ignored] == [first.image]


@pytest.mark.parametrize(
    ("content", "words"), [(None, "cannot be read: No such file"), (b"\xff\xfe\x00", "is no text in UTF-8")]
)
def test_a_list_that_cannot_be_read_is_told_before_anything_is_written(convert, tmp_path, content, words):
    chosen = tmp_path / "exclude.txt"
    if content is not None:
        chosen.write_bytes(content)
    output = convert("--format", f"{__name__}:NoiseReader", "--exclude", chosen, tmp_path / "out")
    assert f"--exclude {chosen} {words}" in output
    assert not (tmp_path / "out").exists()


def test_who_excludes_all_of_a_split_is_told(convert, tmp_path):
    chosen = tmp_path / "exclude.txt"
    chosen.write_text("test0\ntest1\n")
    output = convert("--format", f"{__name__}:NoiseReader", "--exclude", chosen, tmp_path / "out")
    assert "test would be empty (train 2, eval 2, test 0)" in output
    assert not (tmp_path / "out").exists()
