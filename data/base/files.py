"""Files on this machine, or wherever Beam's file systems reach, such as `gs://`."""

from __future__ import annotations

import dataclasses
import glob
import os
import pathlib
import shutil


class UnreachableError(OSError):
    """Nobody can tell what is there now; another try may."""


@dataclasses.dataclass(frozen=True)
class Found:
    """A file that is there.

    Attributes:
      path: where it is.
      size: bytes.
      changed: when it last did, in seconds since 1970.
    """

    path: str
    size: int
    changed: float


def is_remote(path: str) -> bool:
    """Whether a path has a scheme."""
    return "://" in path


def read_bytes(path: str, start: int = 0, size: int = -1) -> bytes:
    """What a file holds.

    Args:
      path: of the file.
      start: the first byte.
      size: how many bytes; all that follow by default.

    Raises:
      FileNotFoundError: if there is no such file.
      UnreachableError: if where it should be cannot be reached.
      OSError: if it cannot be read.
    """
    if not is_remote(path):
        with open(path, "rb") as file:
            if start:
                file.seek(start)
            return file.read(size)
    from apache_beam.io.filesystem import CompressionTypes
    from apache_beam.io.filesystems import FileSystems

    try:
        with FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED) as file:
            if start:
                file.seek(start)
            return file.read(size)
    except Exception as error:  # Each cloud's client has errors of its own.
        if not exists(path):
            raise FileNotFoundError(f"{path}: there is no such file") from error
        raise _unreachable(path, error) from error


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


def list_files(folder: str) -> list[str]:
    """All files below a folder, sorted; none if there is no such folder.

    Raises:
      OSError: if nobody can tell.
    """
    if is_remote(folder):
        return [file.path for file in find(glob.escape(folder.rstrip("/")) + "/**")]
    root = pathlib.Path(folder)
    return [os.path.join(folder, path.relative_to(root)) for path in sorted(root.rglob("*")) if path.is_file()]


def find(pattern: str) -> list[Found]:
    """The files whose paths match a pattern of the shell's, by path.

    Raises:
      UnreachableError: if nobody can tell.
    """
    if not is_remote(pattern):
        files = [(path, os.stat(path)) for path in sorted(glob.glob(pattern)) if os.path.isfile(path)]
        return [Found(path, status.st_size, status.st_mtime) for path, status in files]
    from apache_beam.io.filesystems import FileSystems

    try:
        (found,) = FileSystems.match([pattern])
    except Exception as error:
        raise _unreachable(pattern, error) from error
    files_there = [Found(file.path, file.size_in_bytes, file.last_updated_in_seconds) for file in found.metadata_list]
    return sorted(files_there, key=lambda file: file.path)


def find_folders(pattern: str) -> list[str]:
    """The folders whose paths match a pattern of the shell's, sorted; in a bucket, those that hold files.

    Raises:
      UnreachableError: if nobody can tell.
    """
    if is_remote(pattern):
        return sorted({os.path.dirname(file.path) for file in find(pattern.rstrip("/") + "/*")})
    return sorted(path for path in glob.glob(pattern) if os.path.isdir(path))


def exists(path: str) -> bool:
    """Whether there is such a file.

    Raises:
      UnreachableError: if nobody can tell.
    """
    return bool(find(glob.escape(path)))


def _unreachable(path: str, error: Exception) -> UnreachableError:
    reason = getattr(error, "exception_details", None) or error
    if isinstance(reason, dict):  # Beam's, by path.
        reason = next(iter(reason.values()))
    return UnreachableError(f"{path}: {reason}")


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


def copy(sources: list[str], destinations: list[str]) -> None:
    """Copies files."""
    from apache_beam.io.filesystems import FileSystems

    if sources:
        FileSystems.copy(sources, destinations)


def join(folder: str, *names: str) -> str:
    """A path below a folder."""
    return "/".join([folder.rstrip("/"), *names]) if is_remote(folder) else os.path.join(folder, *names)
