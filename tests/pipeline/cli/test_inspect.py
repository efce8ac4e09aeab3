"""The command line of `segpipe inspect`."""

import re
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from data.base.errors import UserError
from pipeline.cli import cli


@pytest.fixture
def folder(tmp_path):
    """Masks of two classes, one of which is missing."""
    generator = np.random.default_rng(0)
    for kind in ("images", "masks"):
        (tmp_path / "set" / kind).mkdir(parents=True)
    for index in range(40):
        ids = np.zeros((20, 30), np.uint8)
        ids[5:15, 5:15] = 1
        Image.fromarray(generator.integers(0, 256, (20, 30, 3), np.uint8)).save(
            tmp_path / "set" / "images" / f"{index}.jpg"
        )
        Image.fromarray(ids).save(tmp_path / "set" / "masks" / f"{index}.png")
    (tmp_path / "set" / "masks" / "7.png").unlink()
    return tmp_path / "set"


def inspect(*arguments):
    result = CliRunner().invoke(cli, ["inspect", "--workers", "1", *map(str, arguments)], prog_name="segpipe")
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_it_tells_in_twenty_lines_and_writes_a_page(folder):
    page = folder.parent / "made" / "page.html"
    result = inspect("--format", "mask-folder", "--classes", "ground,thing,other", folder, "--output", page)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == f"{folder}: 39 images, 3 classes; 1 input cannot be used"
    assert lines[1].split() == ["images", "ground", "thing", "other"]
    assert "Sizes: all 30×20 pixels" in lines
    assert "Files: JPEG, RGB (39)" in lines
    assert f"  1 × no mask {folder}/masks/7.* ({folder}/images/7.jpg)" in lines
    assert any(line.startswith("  ! other never occurs: No pixel is of the class other (id 2)") for line in lines)
    assert lines[-1].startswith("Written to ")
    assert len(lines) <= 20
    assert page.read_text().startswith("<!DOCTYPE html>")


def test_tfrecords_need_no_format(brain_mri, tmp_path):
    with pytest.raises(UserError, match=f"--split is for data sets; {brain_mri} holds TFRecords"):
        inspect(brain_mri, "--split", "train=1")
    result = inspect(brain_mri, "--output", tmp_path / "page.html")
    assert result.stdout.startswith(f"{brain_mri}: 105 images, 4 classes\n")
    assert (tmp_path / "page.html").stat().st_size > 100_000


def test_what_is_neither_is_an_error(tmp_path):
    with pytest.raises(UserError, match="is empty"):
        inspect(tmp_path)
    with pytest.raises(UserError, match=r"--output .* is a folder; name a file, such as .*/inspection.html"):
        inspect(tmp_path, "--output", tmp_path)


def test_options_are_those_of_the_format():
    text = inspect("--format", "mask-folder", "--help").stdout
    assert "Usage: segpipe inspect [OPTIONS] SOURCE\n" in text
    assert "--classes A,B,…" in text
    assert "--format mask-folder SOURCE:" in text
    text = inspect("--help").stdout
    assert "Usage: segpipe inspect [OPTIONS] SOURCE|TFRECORDS\n" in text
    assert "oxford-pets " in text.partition("Formats:")[2]
    assert "--border" not in text


def test_a_folder_is_recognized_and_options_overrule(folder):
    page = folder.parent / "page.html"
    result = inspect(folder, "--output", page)
    assert f"{folder} is read as --format mask-folder:\n  images are in images/, masks in masks/" in result.stdout
    assert ", 2 classes; 1 input" in result.stdout
    result = inspect("--classes", "ground,thing,other", "--unlabeled", "ignore", folder, "--output", page)
    assert "no file names" not in result.stdout
    assert f"{folder}: 39 images, 3 classes\n" in result.stdout


def test_several_processes_start_from_the_command(folder):
    """Each of them imports the command's main module again."""
    arguments = ["--format", "mask-folder", "--classes", "ground,thing", "--workers", "2", str(folder)]
    finished = subprocess.run(
        [sys.executable, "-m", "pipeline.cli", "inspect", *arguments, "--output", folder / "page"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    assert "39 images, 2 classes" in finished.stdout
    # TensorFlow 2.21 writes what it finds of the processor before it reads how much it may write.
    lines = [
        line for line in finished.stderr.splitlines() if not re.match(r"[IWE]\d{4} |WARNING: All log messages", line)
    ]
    assert all(re.fullmatch(r"[\d,]+ of 39 inputs", line) for line in lines), finished.stderr
