"""Files on this machine, or wherever Beam's file systems reach: `gs://`, `s3://`, `hdfs://`."""

from __future__ import annotations

import os
import pathlib
import shutil


def is_remote(path: str) -> bool:
    """Whether a path has a scheme."""
    return "://" in path


def read_bytes(path: str) -> bytes:
    """What a file holds.

    Raises:
      OSError: if it cannot be read.
    """
    if not is_remote(path):
        return pathlib.Path(path).read_bytes()
    from apache_beam.io.filesystem import CompressionTypes
    from apache_beam.io.filesystems import FileSystems

    with FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED) as file:
        return file.read()


def write_text(path: str, text: str) -> None:
    """Writes a file."""
    if not is_remote(path):
        pathlib.Path(path).write_text(text, encoding="utf-8")
        return
    from apache_beam.io.filesystems import FileSystems

    with FileSystems.create(path) as file:
        file.write(text.encode())


def upload(local: str, path: str) -> None:
    """Copies a file of this machine to where Beam's file systems reach."""
    from apache_beam.io.filesystem import CompressionTypes
    from apache_beam.io.filesystems import FileSystems

    with open(local, "rb") as source, FileSystems.create(path, compression_type=CompressionTypes.UNCOMPRESSED) as file:
        shutil.copyfileobj(source, file, 1 << 20)


def size_of(path: str) -> int:
    """Bytes of a file; 0 if there is none."""
    from apache_beam.io.filesystems import FileSystems

    try:
        return FileSystems.match([path])[0].metadata_list[0].size_in_bytes if is_remote(path) else os.stat(path).st_size
    except (OSError, IndexError):
        return 0


def list_files(folder: str) -> list[str]:
    """All files below a folder, sorted; none if there is no such folder.

    Raises:
      OSError: if nobody can tell.
    """
    if not is_remote(folder):
        root = pathlib.Path(folder)
        return [os.path.join(folder, path.relative_to(root)) for path in sorted(root.rglob("*")) if path.is_file()]
    from apache_beam.io.filesystems import FileSystems

    (found,) = FileSystems.match([folder.rstrip("/") + "/**"])
    return sorted(metadata.path for metadata in found.metadata_list)


def delete(paths: list[str]) -> None:
    """Deletes files."""
    from apache_beam.io.filesystems import FileSystems

    if paths:
        FileSystems.delete(paths)


def move(sources: list[str], destinations: list[str]) -> None:
    """Renames files, one after the other where the file system has no better."""
    from apache_beam.io.filesystems import FileSystems

    if sources:
        FileSystems.rename(sources, destinations)


def join(folder: str, *names: str) -> str:
    """A path below a folder."""
    return "/".join([folder.rstrip("/"), *names]) if is_remote(folder) else os.path.join(folder, *names)
