"""Commands that segpipe prints can be run as they are, and paths in tables are shown as they are."""

import shlex

import pytest
from rich.table import Table

from data.base.links import lasting_plain_path
from pipeline.cli.common import in_command, plain_console, relative


@pytest.mark.parametrize(
    "path", ["a b", "a'b", "$HOME", "-x", "a[1]*?", "#a", "a;b", "ü", "plain/path", "a\\b", "a\nb"]
)
def test_a_shell_reads_a_path_as_it_is(path):
    (word,) = shlex.split(in_command(path))
    assert word in (path, f"./{path}")
    assert not word.startswith("-")


def test_simple_paths_are_not_quoted():
    assert in_command("output/serving") == "output/serving"


def test_paths_in_tables_are_not_taken_for_markup(capsys):
    table = Table(box=None)
    table.add_column("path")
    table.add_row("data [b]1[/b] :smile:")
    plain_console().print(table)
    assert "data [b]1[/b] :smile:" in capsys.readouterr().out


def test_paths_are_shown_without_the_links_that_stand_for_them(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    assert relative(f"{lasting_plain_path(str(tmp_path / 'a[1]'), 'output')}/report.html") == "a[1]/report.html"
    assert relative("gs://a[1]/b") == "gs://a[1]/b"
