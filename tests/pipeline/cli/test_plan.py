"""`segpipe plan`: what it prints and writes, and what it says to folders that are not converted."""

import pathlib
import shlex
import shutil
import subprocess
import sys

import pytest
from click.testing import CliRunner

from pipeline.cli import cli
from pipeline.config import load_config


@pytest.fixture
def plan(tmp_path, monkeypatch):
    """The command in this process, in a folder of its own: what it prints, its error included."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    def run(*arguments):
        result = CliRunner().invoke(cli, ["plan", *map(str, arguments)], terminal_width=200)
        return result.output + str(result.exception or "")

    return run


def test_it_plans_a_run_that_loads_and_prints_what_comes_next(plan, brain_mri):
    printed = plan(brain_mri, "--name", "brain", "--minutes", "12")
    assert "Planned for " in printed
    assert "  minutes: 12: as you asked" in printed
    assert "  brightness: 0: in gray images" in printed
    assert [shlex.split(line)[1:] for line in printed.partition("Next:")[2].strip().splitlines()] == [
        ["run", "--config", "my_run.yaml"]
    ]
    config = load_config("my_run.yaml")
    assert (config.name, config.output, config.data.input) == ("brain", "output/brain", str(brain_mri))
    assert (config.preprocessing.channels, config.train.minutes) == (1, 12)
    text = in_one_line("my_run.yaml")
    assert "csf (about 2 pixels wide in the images)" in text
    assert "75 train, 10 eval, 20 test images" in text
    config.load_label_map()


def in_one_line(path):
    """Comments are wrapped where the length of a path wants it."""
    return " ".join(pathlib.Path(path).read_text().replace("#", " ").split())


def test_the_name_is_that_of_the_data(plan, brain_mri, tmp_path):
    (tmp_path / "Our scans_tfrecords").symlink_to(brain_mri)
    plan(tmp_path / "Our scans_tfrecords/", "--config", "other/run.yaml")
    assert load_config("other/run.yaml").name == "our-scans"


def test_spans_are_one_data_set(plan, brain_mri, tmp_path):
    for span in (1, 2):
        shutil.copytree(brain_mri, tmp_path / "scans" / str(span))
    printed = plan(tmp_path / "scans" / "{SPAN}")
    assert "Written: my_run.yaml" in printed
    config = load_config("my_run.yaml")
    assert (config.name, config.data.input) == ("scans", str(tmp_path / "scans" / "{SPAN}"))
    assert "150 train, 20 eval, 40 test images" in in_one_line("my_run.yaml")


def test_nothing_is_overwritten_unless_asked(plan, brain_mri):
    pathlib.Path("my_run.yaml").write_text("mine")
    assert "my_run.yaml exists already; add --overwrite" in plan(brain_mri)
    assert pathlib.Path("my_run.yaml").read_text() == "mine"
    assert "Written: my_run.yaml" in plan(brain_mri, "--overwrite")


def test_a_folder_that_is_not_converted_says_how_to_convert_it(plan, tmp_path):
    (tmp_path / "photos").mkdir()
    printed = plan(tmp_path / "photos")
    assert "photos holds no TFRecords named train-*, eval-*, test-*" in printed
    assert f"init --convert {tmp_path / 'photos'}` converts them" in printed
    assert "is not a folder; `segpipe init --convert` makes one" in plan(tmp_path / "nowhere")
    assert not list((tmp_path / "here").iterdir())


def test_what_is_missing_of_a_conversion_is_named(plan, brain_mri, tmp_path):
    partial = tmp_path / "partial"
    shutil.copytree(brain_mri, partial)
    (partial / "labels.yaml").unlink()
    assert "holds no labels.yaml, which names the classes" in plan(partial)
    for path in partial.glob("eval-*"):
        path.unlink()
    assert "holds no TFRecords named eval-*; a run needs all three splits" in plan(partial)
    shutil.copy(brain_mri / "labels.yaml", partial)
    shutil.copy(next(brain_mri.glob("test-*")), partial / "eval-00000-of-00001.tfrecord")
    for path in partial.glob("train-*"):
        path.write_bytes(b"nothing of the kind, and more than twelve bytes")
    assert "cannot be read as TFRecords" in plan(partial)


@pytest.mark.parametrize("minutes", ["0", "-3", "soon", "nan", "inf"])
def test_minutes_are_a_time(plan, brain_mri, minutes):
    assert "--minutes" in plan(brain_mri, "--minutes", minutes)


def test_its_help_needs_no_tensorflow_and_teaches():
    code = (
        "import sys; from click.testing import CliRunner; from pipeline.cli import cli;"
        "print(CliRunner().invoke(cli, ['plan', '--help']).output);"
        "print([name for name in ('tensorflow', 'apache_beam', 'tfx') if name in sys.modules])"
    )
    printed = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert "What is decided, and from what:" in printed
    assert printed.endswith("[]\n")
