"""Contents tell whether a file is another one; unchanged files are not read again."""

import os
import pathlib
import time

import pytest

from data.base import digests
from data.base.digests import Digests
from data.base.files import FileInfo, find


@pytest.fixture
def remembered(tmp_path, monkeypatch):
    """The file that remembers, for files that are a moment old."""
    monkeypatch.setattr(digests, "_SETTLED_SECONDS", 0.0)
    return tmp_path / "output" / "digests.json"


def of(remembered, *paths):
    return Digests(str(remembered)).of([FileInfo(str(path), 0, 0.0) for path in paths])


def rewrite(path, content):
    """Writes a file whose size and time stay, as `rsync -t` does."""
    before = path.stat()
    time.sleep(0.02)
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = path.stat()
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)


def test_another_content_of_the_same_size_and_time_is_noticed(tmp_path, remembered):
    path = tmp_path / "a"
    path.write_bytes(b"one")
    (before,) = of(remembered, path)
    rewrite(path, b"two")
    assert of(remembered, path) != [before]
    rewrite(path, b"one")
    assert of(remembered, path) == [before]


def test_a_file_that_takes_the_place_of_another_is_noticed(tmp_path, remembered):
    path, other = tmp_path / "a", tmp_path / "b"
    path.write_bytes(b"one")
    other.write_bytes(b"two")
    before = path.stat()
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    first = of(remembered, path)
    other.replace(path)
    assert of(remembered, path) != first


def test_a_new_time_alone_changes_nothing(tmp_path, remembered):
    path = tmp_path / "a"
    path.write_bytes(b"one")
    before = of(remembered, path)
    os.utime(path, (1, 1))
    assert of(remembered, path) == before


def test_unchanged_files_are_not_read_again(tmp_path, remembered, monkeypatch):
    read, really = [], digests._read_digest
    monkeypatch.setattr(digests, "_read_digest", lambda path: read.append(pathlib.Path(path).name) or really(path))
    for name in "ab":
        (tmp_path / name).write_text(name)
    paths = [tmp_path / "a", tmp_path / "b"]
    first = of(remembered, *paths)
    assert of(remembered, *paths) == first
    assert read == ["a", "b"]
    rewrite(tmp_path / "b", b"c")
    of(remembered, *paths)
    assert read == ["a", "b", "b"]
    # What remembers may be damaged, or in a place where nothing can be written.
    remembered.write_text("{")
    assert of(remembered, tmp_path / "a") == first[:1]
    assert of("/proc/digests.json", tmp_path / "a") == first[:1]
    assert of("", tmp_path / "a") == first[:1]


def test_a_file_that_changed_a_moment_ago_is_not_trusted(tmp_path):
    (tmp_path / "a").write_text("a")
    of(tmp_path / "digests.json", tmp_path / "a")
    assert not (tmp_path / "digests.json").exists()


def test_a_file_that_cannot_be_read_has_none(tmp_path, remembered):
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    assert of(remembered, tmp_path / "link") == [""]


def test_a_bucket_knows_checksums(bucket, remembered):
    def write(content):
        bucket.blob("a/train-0").upload_from_string(content)
        (found,) = find("gs://segpipe/a/train-0")
        # Some stores' times are whole seconds.
        return Digests().of([FileInfo(found.path, found.size, 0.0)])

    first = write(b"one")
    assert write(b"two") != first
    assert write(b"one") == first
