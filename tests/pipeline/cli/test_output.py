"""What commands print: what people need, and no more."""

import os

import pytest

from data.base.errors import UserError
from pipeline.cli.common import open_in_browser
from pipeline.cli.records import leftover_lines
from pipeline.cli.run import _print_trials
from pipeline.records.retention import Leftover
from pipeline.records.runs import Trial


def test_what_is_small_is_cleaned_without_a_line_of_its_own():
    leftovers = [
        Leftover("/a", "an old version", 2_340_000),
        *[Leftover(f"/b{size}", "a log", size) for size in (0, 9)],
    ]
    assert list(leftover_lines(leftovers, is_done=False)) == [
        "      2.34 MB  /a  (an old version)",
        "2 of less than 0.01 MB each",
        "3 folders and files, 2.3 MB, would be deleted; to delete them, add --yes",
    ]
    assert list(leftover_lines(leftovers[:1], is_done=True))[1:] == ["1 folders and files, 2.3 MB, deleted"]
    assert list(leftover_lines([], is_done=True)) == ["There is nothing to delete."]


def test_trials_have_the_numbers_that_their_messages_have(capsys):
    _print_trials([Trial(number, 0.5, {"train.epochs": number}) for number in (3, 1)], ["train.epochs"])
    head, *rows = capsys.readouterr().out.split("\n\n")[0].strip().splitlines()
    assert [head.split()[0], *(row.split()[0] for row in rows)] == ["trial", "3", "1"]


@pytest.mark.parametrize(
    ("script", "reason"),
    [("echo xdg-open: no method available; exit 3", "xdg-open failed"), (None, "xdg-open is not installed")],
)
def test_without_a_browser_one_sentence_names_the_file(script, reason, tmp_path, monkeypatch, capfd):
    if script:
        (tmp_path / "xdg-open").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "xdg-open").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError) as raised:
        open_in_browser("/tmp/report.html")
    assert str(raised.value) == f"no browser can be started here ({reason}); open /tmp/report.html with one"
    assert capfd.readouterr() == ("", "")


def test_what_opens_a_file_gets_its_path(tmp_path, monkeypatch):
    (tmp_path / "xdg-open").write_text(f'#!/bin/sh\necho "$1" > {tmp_path}/opened\n')
    (tmp_path / "xdg-open").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path) + os.pathsep + os.environ["PATH"])
    open_in_browser("/tmp/a b.html")
    assert (tmp_path / "opened").read_text() == "/tmp/a b.html\n"
