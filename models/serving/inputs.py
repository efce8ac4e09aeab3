"""Which files does `predict` take, what is in them, and what are their results called?"""

from __future__ import annotations

import collections
import dataclasses
import glob
import os
import pathlib
import re
import stat
import unicodedata
from collections.abc import Iterator

from PIL import Image

from data import contract
from data.base.errors import UserError
from data.decoding.errors import BadImageError
from data.decoding.orientation import without_orientation
from data.formats.volume.files import NIFTI, is_part_of_series, volume_stem
from models.serving.results.files import Results, is_result
from models.serving.videos.files import is_video

_NO_NAME = re.compile(r"[/\x00-\x1f\x7f]")
_SPECIAL = {
    stat.S_ISDIR: "a folder",
    stat.S_ISFIFO: "a pipe",
    stat.S_ISSOCK: "a socket",
    stat.S_ISCHR: "a device",
    stat.S_ISBLK: "a device",
}


@dataclasses.dataclass(frozen=True)
class Inputs:
    """The files that were asked for.

    Attributes:
      files: each with the name that its results begin with.
      left_out: images in folders and patterns that are results of predict, or lie below its output folder.
    """

    files: dict[str, str]
    left_out: list[str]


def holds_records(path: str) -> bool:
    """Whether a file is a TFRecord file, by its name."""
    name = os.path.basename(path)
    return ".tfrecord" in name and not _is_image(name)


def find_inputs(inputs: list[str], output: str) -> Inputs:
    """The files that inputs stand for.

    What exists under the name given is taken literally, whatever characters it has; so are folders at the beginning of
    a pattern. Links are followed.

    Args:
      inputs: files, patterns such as `photos/*.jpg`, and folders, which stand for all images, volumes and TFRecords
        below them, but for no videos, which phones put beside photographs. A folder with the files of a DICOM series
        is a volume itself.
      output: folder of the results, which are no inputs unless they are given by name.

    Returns:
      The files. Their results are called as they are, without the suffix, and below the folder that was given; if
      several would be called the same, with the suffix, and with as many folders before it as tell them apart.

    Raises:
      UserError: if a folder or pattern has no files.
    """
    # By location, so that each file is taken once.
    found: dict[str, tuple[str, str]] = {}
    left_out: list[str] = []
    for given in inputs:
        paths = [given]
        is_pattern = glob.has_magic(given) and not os.path.lexists(given)
        if is_pattern:
            paths = _matches(given)
        files: dict[str, str] = {}
        for path in paths:
            if os.path.isdir(path):
                files.update((file, _name_below(file, path)) for file in _below(path, output, left_out))
            elif is_pattern and is_result(path):
                left_out.append(path)
            else:
                files[path] = os.path.basename(path)
        if not files and (is_pattern or os.path.isdir(given)):
            why = f"; {len(left_out)} files there are results of predict, which it does not take" if left_out else ""
            if os.path.isdir(given) and any(is_video(name) for name in os.listdir(given)):
                why += f"; videos are taken by name or pattern, such as '{os.path.join(given, '*')}'"
            raise UserError(f"{given}: no image found{why}")
        for path, name in files.items():
            found.setdefault(_location(path), (path, name))
    return Inputs(dict(zip((path for path, _ in found.values()), _distinct(found), strict=True)), left_out)


def _location(path: str) -> str:
    """Where a file or link is, however its path is spelled."""
    return os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))


def _name_below(path: str, folder: str) -> str:
    return os.path.basename(os.path.abspath(path)) if path == folder else os.path.relpath(path, folder)


def _matches(pattern: str) -> list[str]:
    """What a pattern matches; folders that exist by the name it begins with are no patterns."""
    parts = pathlib.Path(pattern).parts
    start = next(
        count for count in range(len(parts) - 1, -1, -1) if count == 0 or os.path.isdir(os.path.join(*parts[:count]))
    )
    escaped = [glob.escape(part) for part in parts[:start]]
    found = glob.glob(os.path.join(*escaped, *parts[start:]), recursive=True)
    if not found:  # Perhaps the brackets belong to a name.
        found = glob.glob(os.path.join(*escaped, *(part.replace("[", "[[]") for part in parts[start:])), recursive=True)
    return sorted(found)


def _below(folder: str, output: str, left_out: list[str]) -> Iterator[str]:
    """All images, volumes and TFRecords below a folder, and folders that cannot be read, to be tried for the reason."""
    top, apart = os.path.realpath(folder), os.path.realpath(output)
    # Predicting into the folder itself, or into one above it, sets nothing apart.
    is_apart = apart != top and _is_below(apart, top)
    unreadable: list[str] = []
    visited: set[str] = set()
    results: dict[str, list[Results]] = {}
    for root, folders, names in os.walk(
        folder, followlinks=True, onerror=lambda error: unreadable.append(str(error.filename))
    ):
        here = os.path.realpath(root)
        # Links may lead around for ever.
        if here in visited:
            folders.clear()
            continue
        visited.add(here)
        folders.sort()
        results[root] = [*results.get(os.path.dirname(root), []), Results(root)]
        if any(is_part_of_series(os.path.join(root, name)) for name in names):
            yield root
        for name in sorted(names):
            path = os.path.join(root, name)
            # macOS keeps notes on x.jpg in ._x.jpg.
            if name.startswith("._") or not (_is_image(name) or holds_records(name)):
                continue
            is_own = is_result(path) or any(listed.has(path) for listed in results[root])
            if is_own or (is_apart and _is_below(here, apart)):
                left_out.append(path)
            else:
                yield path
    yield from unreadable


def _is_below(path: str, folder: str) -> bool:
    """Whether a path is a folder or below it; both are real paths."""
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def _is_image(name: str) -> bool:
    if is_video(name):  # Pillow knows MPEG files by name alone.
        return False
    return (
        name.lower().endswith(NIFTI)
        or Image.registered_extensions().get(pathlib.Path(name).suffix.lower()) in Image.OPEN
    )


def _distinct(found: dict[str, tuple[str, str]]) -> list[str]:
    """What the results of each file are called: names without suffixes, longer where several files would share one.

    Args:
      found: by location, a file's path and its name.
    """
    levels = dict.fromkeys(found, 0)

    def result_name(location: str) -> str:
        name, level = found[location][1], levels[location]
        if level == 0:
            return volume_stem(name)
        if level == 1:
            return name
        parents = pathlib.Path(location).parts[1:-1]
        folders = name.count(os.sep) + level - 1
        # They differ in case alone, or in how accents are written.
        number = f"_{list(found).index(location)}" if folders > len(parents) else ""
        return os.path.join(*parents[-folders:], os.path.basename(name) + number)

    while True:
        names = {location: result_name(location) for location in found}
        # Some file systems know no case, and some compose accents.
        groups = collections.defaultdict(list)
        for location, name in names.items():
            groups[unicodedata.normalize("NFC", name).casefold()].append(location)
        clashing = [group for group in groups.values() if len(group) > 1]
        if not clashing:
            return list(names.values())
        for group in clashing:
            lowest = min(levels[location] for location in group)
            for location in group:
                levels[location] += levels[location] == lowest


def read_images(path: str, name: str) -> Iterator[tuple[str, bytes]]:
    """Name and content of an image file, or of every image in a TFRecord; content is empty where there is none.

    Raises:
      BadImageError: if it is no file, or holds nothing.
    """
    import tensorflow as tf  # Takes seconds, and finding files needs none of it.
    from google.protobuf.message import DecodeError

    mode = _mode(path)
    # Reading from a pipe would wait.
    if not stat.S_ISREG(mode):
        what = next((what for is_it, what in _SPECIAL.items() if is_it(mode)), "something else")
        raise BadImageError(f"it is {what}, not a file")
    if not holds_records(path):
        yield name, pathlib.Path(path).read_bytes()
        return
    index = -1
    for index, record in enumerate(tf.data.TFRecordDataset(path, contract.compression_type(path))):
        try:
            features = tf.train.Example.FromString(record.numpy()).features.feature
            names = features[contract.SOURCE_ID].bytes_list.value
            contents = features[contract.IMAGE].bytes_list.value
        except DecodeError:
            names, contents = [], []
        if names and names[0]:
            # So that it can leave neither the folder nor the line on the terminal.
            record_name = _NO_NAME.sub("_", names[0].decode(errors="replace"))
        else:
            record_name = f"{name.partition('.tfrecord')[0]}_{index:05d}"
        # Masks in TFRecords belong to the images as they are stored, so nothing turns these.
        yield record_name, without_orientation(contents[0]) if contents else b""
    if index < 0:
        raise BadImageError("it holds no examples")


def _mode(path: str) -> int:
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        if os.path.islink(path):
            raise BadImageError(f"it is a link to {os.readlink(path)}, which does not exist") from None
        raise
    if stat.S_ISDIR(mode):
        os.listdir(path)  # Says why a folder could not be searched.
    return mode
