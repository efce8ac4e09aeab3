"""One layer of file access: the same on a disk and in a bucket, and light on a disk."""

import os
import subprocess
import sys

import pytest

from data.base import files


@pytest.fixture(params=["disk", "bucket"])
def root(request, tmp_path):
    """A place to write to."""
    if request.param == "disk":
        return str(tmp_path / "root")
    request.getfixturevalue("bucket")
    return "gs://segpipe/root"


def test_lines_are_written_one_by_one(root):
    path = files.join(root, "a", "lines.txt")
    sizes = files.write_lines(path, (line for line in ("one", "", "größe")))
    assert sizes == [4, 1, 8]
    assert files.read_bytes(path, 5, 7).decode() == "größe"


def test_folders_are_copied_moved_and_deleted(root, tmp_path):
    local = tmp_path / "local"
    for name, text in {"1": "one", "b/[2].txt": "two", "b/c/3": "three"}.items():
        files.write_text(str(local / name), text)
    first, second, third = (files.join(root, name) for name in ("first", "second", "third"))
    files.copy_tree(str(local), first)
    files.copy_tree(first, second, last=["1"])
    assert files.list_files(second) == [files.join(second, name) for name in ("1", "b/[2].txt", "b/c/3")]
    assert [file.size for file in files.find_below(second)] == [3, 3, 5]
    assert files.list_names(second) == ["1", "b"]
    assert files.list_names(root) == ["first", "second"]
    assert files.list_names(third) == []
    assert [file.path for file in files.find(files.join(second, "*"))] == [files.join(second, "1")]
    assert (files.is_folder(files.join(second, "b")), files.is_folder(third)) == (True, False)
    with pytest.raises(FileExistsError, match="second exists already"):
        files.move_folder(first, second)
    files.move_folder(first, third, last=["1", "not there"])
    assert files.list_names(root) == ["second", "third"]
    assert files.read_bytes(files.join(third, "b", "[2].txt")) == b"two"
    files.write_text(files.join(third, "b", "2.txt"), "which a pattern would match")
    files.delete([files.join(third, "b", "[2].txt")])
    assert files.list_names(files.join(third, "b")) == ["2.txt", "c"]
    files.delete_tree(second)
    files.delete_tree(second)
    files.move([files.join(third, "1")], [files.join(third, "one")])
    files.delete([files.join(third, "b", "c", "3")])
    files.copy_tree(third, str(tmp_path / "back"))
    assert files.list_files(str(tmp_path / "back")) == [str(tmp_path / "back" / name) for name in ("b/2.txt", "one")]


def test_a_link_to_nothing_is_missed_and_not_left_out(tmp_path):
    (tmp_path / "shard").symlink_to(tmp_path / "nowhere")
    (tmp_path / "folder").mkdir()
    assert [file.path for file in files.find(str(tmp_path / "*"))] == [str(tmp_path / "shard")]
    assert not files.exists(str(tmp_path / "shard"))
    with pytest.raises(FileNotFoundError):
        files.read_bytes(str(tmp_path / "shard"))


def test_paths_of_this_machine_need_no_beam(tmp_path):
    uses = """
import sys
from data.base import files
folder = sys.argv[1] + "/a"
files.write_text(folder + "/b", "text")
files.copy_tree(folder, folder + "2")
files.move_folder(folder + "2", folder + "3")
files.move([folder + "3/b"], [folder + "3/c"])
assert files.read_bytes(folder + "3/c") == b"text" and files.exists(folder + "/b") and files.is_folder(folder)
files.delete(files.list_files(folder))
files.delete_tree(folder + "3")
assert not {"apache_beam", "tensorflow"} & set(sys.modules), sorted(sys.modules)
"""
    subprocess.run(
        [sys.executable, "-c", uses, str(tmp_path)], env={**os.environ, "PYTHONPATH": os.getcwd()}, check=True
    )
