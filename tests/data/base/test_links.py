"""Folders whose paths TFX would take for patterns have other paths, too."""

import os
import shutil

import pytest

from data.base.errors import UserError
from data.base.links import lasting_plain_path, pattern_letters, plain_path, without_link


@pytest.fixture
def state(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


def test_a_passing_link_leads_to_the_folder(tmp_path):
    folder = tmp_path / "a[1]*?"
    folder.mkdir()
    (folder / "file").write_text("text")
    with plain_path(str(folder)) as plain:
        assert not pattern_letters(plain)
        assert os.listdir(plain) == ["file"]
    assert not os.path.lexists(plain)
    assert (folder / "file").exists()
    with plain_path(str(tmp_path / "b c")) as plain:
        assert plain == str(tmp_path / "b c")


def test_a_lasting_link_is_the_same_each_time_and_is_made_again(tmp_path, state):
    folder = str(tmp_path / "a[1]")
    plain = lasting_plain_path(folder, "output")
    assert os.path.samefile(plain, folder)
    assert not pattern_letters(plain)
    assert lasting_plain_path(folder, "output") == plain != lasting_plain_path(folder + "*", "output")
    assert without_link(f"{plain}/artifacts/x") == f"{folder}/artifacts/x"
    assert without_link(plain) == folder
    shutil.rmtree(state)
    assert without_link(plain) == plain
    assert os.path.samefile(lasting_plain_path(folder, "output"), folder)
    for other in ("/a/b", "a/b", str(state), f"{state}/segpipe/x", "gs://a/b"):
        assert without_link(other) == other
    assert lasting_plain_path("/nowhere/at all#%", "output") == "/nowhere/at all#%"


def test_where_there_is_no_place_for_a_link_the_character_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"^output: .*a\[1\] holds \[ \], which TFX takes .*set XDG_STATE_HOME"):
        lasting_plain_path(str(tmp_path / "a[1]"), "output")
    with pytest.raises(UserError, match=r"^artifacts: gs://b/a\* holds \*, .*name one without"):
        lasting_plain_path("gs://b/a*", "artifacts")
