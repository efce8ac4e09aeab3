"""Files on this machine, or wherever Beam's file systems reach, such as `gs://`.

All of segpipe's own code goes through this module, which imports Beam for remote paths alone. What TensorFlow or TFX
itself reads or writes (SavedModels, datasets of TFRecords, checkpoints, what TFX's components leave) stays theirs.
"""

from __future__ import annotations

import contextlib
import dataclasses
import glob
import os
import pathlib
import shutil
import stat
from collections.abc import Iterable, Sequence


class UnreachableError(OSError):
    """What is there cannot be found out now; another try may succeed."""


@dataclasses.dataclass(frozen=True)
class FileInfo:
    """A file that exists.

    Attributes:
      path: where it is.
      size: bytes.
      changed: when it last changed, in seconds since 1970.
    """

    path: str
    size: int
    changed: float


def is_remote(path: str) -> bool:
    """Whether a path has a scheme."""
    return "://" in path


def join(folder: str, *names: str) -> str:
    """A path below a folder."""
    return "/".join([folder.rstrip("/"), *names]) if is_remote(folder) else os.path.join(folder, *names)


def read_bytes(path: str, start: int = 0, size: int = -1) -> bytes:
    """Reads a file, or a part of it.

    Args:
      path: the file.
      start: the first byte.
      size: how many bytes; by default all that follow.

    Raises:
      FileNotFoundError: if there is no such file.
      UnreachableError: if its place cannot be reached.
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
    except Exception as error:  # Each cloud's client has its own errors.
        if not exists(path):
            raise FileNotFoundError(f"{path}: there is no such file") from error
        raise _unreachable(path, error) from error


def write_text(path: str, text: str) -> None:
    """Writes a file, in UTF-8, and makes the folder that it goes to."""
    if not is_remote(path):
        make_folder(os.path.dirname(path))
        pathlib.Path(path).write_text(text, encoding="utf-8")
        return
    from apache_beam.io.filesystems import FileSystems

    with FileSystems.create(path) as file:
        file.write(text.encode())


def write_lines(path: str, lines: Iterable[str]) -> list[int]:
    """Writes a file line by line, in UTF-8, so that never all of it is in memory, and makes the folder that it goes to.

    Returns:
      The bytes of each line with its end.
    """
    encoded = (f"{line}\n".encode() for line in lines)
    if not is_remote(path):
        make_folder(os.path.dirname(path))
        with open(path, "wb") as file:
            return [file.write(line) for line in encoded]
    from apache_beam.io.filesystems import FileSystems

    sizes = []
    with FileSystems.create(path) as file:
        for line in encoded:
            file.write(line)
            sizes.append(len(line))
    return sizes


def find(pattern: str) -> list[FileInfo]:
    """The files whose paths match a shell pattern, sorted by path.

    Raises:
      UnreachableError: if that cannot be found out.
    """
    if not is_remote(pattern):
        return _describe(sorted(glob.glob(pattern)))
    from apache_beam.io.filesystems import FileSystems

    try:
        (found,) = FileSystems.match([pattern])
    except Exception as error:
        raise _unreachable(pattern, error) from error
    files = [FileInfo(file.path, file.size_in_bytes, file.last_updated_in_seconds) for file in found.metadata_list]
    # Consoles make empty objects that stand for folders.
    return sorted((file for file in files if not file.path.endswith("/")), key=lambda file: file.path)


def checksum(path: str) -> str:
    """The checksum that a store keeps of a file's content, "" if it keeps none.

    Raises:
      UnreachableError: if it cannot be asked.
    """
    from apache_beam.io.filesystems import FileSystems

    try:
        return str(FileSystems.checksum(path) or "")
    except NotImplementedError:  # How Beam's file systems say that their store keeps none.
        return ""
    except Exception as error:  # Each cloud's client has its own errors.
        raise _unreachable(path, error) from error


def find_below(folder: str) -> list[FileInfo]:
    """All files below a folder, sorted by path; none if there is no such folder.

    Raises:
      UnreachableError: if that cannot be found out.
    """
    if is_remote(folder):
        return find(glob.escape(folder.rstrip("/")) + "/**")
    root = pathlib.Path(folder)
    return _describe([os.path.join(folder, path.relative_to(root)) for path in sorted(root.rglob("*"))])


def _describe(paths: list[str]) -> list[FileInfo]:
    files = []
    for path in paths:
        with contextlib.suppress(FileNotFoundError):  # Removed since it was listed.
            # A link to nothing counts as a file, so that its content is missed and not left out.
            status = os.stat(path) if os.path.exists(path) else os.lstat(path)
            if not stat.S_ISDIR(status.st_mode):
                files.append(FileInfo(path, status.st_size, status.st_mtime))
    return files


def list_files(folder: str) -> list[str]:
    """The paths of all files below a folder, as `find_below`."""
    return [file.path for file in find_below(folder)]


def list_names(folder: str) -> list[str]:
    """The names of the files and folders in a folder, sorted; none if there is no such folder.

    Raises:
      UnreachableError: if that cannot be found out.
    """
    if is_remote(folder):
        start = len(folder.rstrip("/")) + 1
        return sorted({path[start:].partition("/")[0] for path in list_files(folder)})
    return sorted(os.listdir(folder)) if os.path.isdir(folder) else []


def find_folders(pattern: str) -> list[str]:
    """The folders whose paths match a shell pattern, sorted; in a bucket, those that hold files.

    Raises:
      UnreachableError: if that cannot be found out.
    """
    if is_remote(pattern):
        return sorted({os.path.dirname(file.path) for file in find(pattern.rstrip("/") + "/*")})
    return sorted(path for path in glob.glob(pattern) if os.path.isdir(path))


def exists(path: str) -> bool:
    """Whether there is such a file.

    Raises:
      UnreachableError: if that cannot be found out.
    """
    return bool(find(glob.escape(path))) if is_remote(path) else os.path.isfile(path)


def is_folder(path: str) -> bool:
    """Whether there is such a folder; in a bucket, whether any file is below it.

    Raises:
      UnreachableError: if that cannot be found out.
    """
    return bool(find_below(path)) if is_remote(path) else os.path.isdir(path)


def _unreachable(path: str, error: Exception) -> UnreachableError:
    reason = getattr(error, "exception_details", None) or error
    if isinstance(reason, dict):  # Beam's, by path.
        reason = next(iter(reason.values()))
    return UnreachableError(f"{path}: {reason}")


def make_folder(path: str) -> None:
    """Makes a folder and those above it; buckets need none."""
    if not is_remote(path):
        os.makedirs(path or os.curdir, exist_ok=True)


def copy_file(source: str, destination: str) -> None:
    """Copies a file, and makes the folder that it goes to."""
    make_folder(os.path.dirname(destination))
    if not is_remote(source) and not is_remote(destination):
        shutil.copyfile(source, destination)
        return
    from apache_beam.io.filesystem import CompressionTypes
    from apache_beam.io.filesystems import FileSystems

    plain = CompressionTypes.UNCOMPRESSED
    with (
        FileSystems.open(source, compression_type=plain) as reader,
        FileSystems.create(destination, compression_type=plain) as writer,
    ):
        shutil.copyfileobj(reader, writer, 1 << 20)


def copy_tree(source: str, destination: str, last: Sequence[str] = ()) -> None:
    """Copies all files below a folder.

    Args:
      source: the folder.
      destination: where its files go.
      last: paths relative to the folder of files that are copied after all others, in this order.
    """
    for paths in _in_order(source, last):
        copy(paths, [join(destination, _relative(path, source)) for path in paths])


def copy(sources: list[str], destinations: list[str]) -> None:
    """Copies files, and makes the folders that they go to; within a store nothing passes through this machine."""
    if not sources or not _share_a_store(sources[0], destinations[0]):
        for source, destination in zip(sources, destinations, strict=True):
            copy_file(source, destination)
        return
    from apache_beam.io.filesystems import FileSystems

    # Beam's file systems for S3 and Azure return errors, where the others raise them.
    for source, _, error in FileSystems.copy(sources, destinations) or ():
        if error is not None:
            raise _unreachable(source, error)


def _share_a_store(one: str, other: str) -> bool:
    return is_remote(one) and one.partition("://")[0] == other.partition("://")[0]


def _in_order(folder: str, last: Sequence[str]) -> list[list[str]]:
    paths, final = list_files(folder), [join(folder, name) for name in last]
    return [[path for path in paths if path not in final], *([path] for path in final if path in paths)]


def _relative(path: str, folder: str) -> str:
    return path[len(folder.rstrip("/")) + 1 :]


def move(sources: list[str], destinations: list[str]) -> None:
    """Renames files, one after the other where the file system has nothing better."""
    if sources and not is_remote(sources[0]):
        for source, destination in zip(sources, destinations, strict=True):
            os.replace(source, destination)
    elif sources:
        from apache_beam.io.filesystems import FileSystems

        FileSystems.rename(sources, destinations)


def move_folder(source: str, destination: str, last: Sequence[str] = ()) -> None:
    """Renames a folder; in a bucket, whose folders cannot be renamed, by copying all files and deleting the old ones.

    Args:
      source: the folder.
      destination: its new path, in the same store.
      last: paths relative to the folder of files that must not be anywhere without the others: in a bucket they are
        copied after all others, in this order, and deleted before them.

    Raises:
      FileExistsError: if the new path is taken.
    """
    if is_folder(destination):
        raise FileExistsError(f"{destination} exists already")
    if not is_remote(source):
        make_folder(os.path.dirname(destination))
        os.rename(source, destination)
        return
    copy_tree(source, destination, last)
    for paths in reversed(_in_order(source, last)):
        delete(paths)


def delete(paths: list[str]) -> None:
    """Deletes files."""
    if paths and not is_remote(paths[0]):
        for path in paths:
            os.remove(path)
    elif paths:
        from apache_beam.io.filesystems import FileSystems

        # Beam's file system for Google Cloud Storage takes them for patterns.
        FileSystems.delete([glob.escape(path) if path.startswith("gs://") else path for path in paths])


def delete_tree(folder: str) -> None:
    """Deletes a folder with all that is in it, if it exists."""
    if is_remote(folder):
        delete(list_files(folder))
    elif os.path.isdir(folder):
        shutil.rmtree(folder)
