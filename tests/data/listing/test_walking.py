"""Links: followed where data is read, and never where something is copied or deleted."""

import os
import tempfile

import pytest

from data import destination
from data.base import files
from data.base.errors import UserError
from data.listing.walking import walk


@pytest.fixture
def linked(tmp_path):
    """A folder with a file and links to a folder and a file outside of it, which hold something precious."""
    for path in ("inside/file", "outside/folder/thesis.txt", "outside/thesis.txt"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("precious")
    (tmp_path / "inside" / "folder").symlink_to(tmp_path / "outside" / "folder")
    (tmp_path / "inside" / "thesis.txt").symlink_to(tmp_path / "outside" / "thesis.txt")
    return tmp_path / "inside"


def test_data_is_found_through_links(linked):
    found = walk(str(linked))
    assert [file.path for file in found.files] == [
        f"{linked}/{name}" for name in ("file", "folder/thesis.txt", "thesis.txt")
    ]
    assert [file.is_linked for file in found.files] == [False, True, True]
    assert found.loops == []


@pytest.mark.parametrize(
    "delete",
    [
        lambda folder: files.delete_tree(folder),
        lambda folder: destination.empty(folder),
        lambda folder: destination.remove(folder),
        lambda folder: files.delete(files.list_files(folder)),
    ],
)
def test_what_links_lead_to_is_not_deleted(linked, delete):
    assert files.list_files(str(linked)) == [f"{linked}/file", f"{linked}/thesis.txt"]
    delete(str(linked))
    assert not (linked / "file").exists()
    for path in ("folder/thesis.txt", "thesis.txt"):
        assert (linked.parent / "outside" / path).read_text() == "precious"


def test_a_folder_that_is_a_link_is_walked(linked):
    link = linked.parent / "link"
    link.symlink_to(linked)
    assert len(walk(str(link)).files) == 3
    assert all(file.is_linked for file in walk(str(link)).files)


def test_pipes_are_no_files(linked):
    os.mkfifo(linked / "pipe.png")
    assert len(walk(str(linked)).files) == 3


def test_no_folder_has_no_files(tmp_path):
    assert walk(str(tmp_path / "nowhere")).files == []


def test_a_folder_that_cannot_be_read_is_named():
    user = os.geteuid()
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        os.mkdir(os.path.join(folder, "closed"), mode=0)
        if user == 0:  # Who may read all folders.
            os.seteuid(65534)
        try:
            with pytest.raises(UserError, match="closed cannot be read"):
                walk(folder)
        finally:
            os.seteuid(user)


def test_a_bucket_is_walked(bucket):
    for name in ("in[1]/images/a*.png", "in[1]/images/b/é.png", "in1/images/x.png"):
        bucket.blob(name).upload_from_string("a")
    assert [file.path for file in walk("gs://segpipe/in[1]/images").files] == [
        "gs://segpipe/in[1]/images/a*.png",
        "gs://segpipe/in[1]/images/b/é.png",
    ]
