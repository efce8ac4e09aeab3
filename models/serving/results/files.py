"""The files of results: what they are called, how they are known again, and that nothing else is overwritten."""

from __future__ import annotations

import collections
import json
import os
import pathlib
import stat
import zlib
from collections.abc import Mapping

from data.decoding.arrays import GZIP_SIGNATURE
from data.decoding.errors import BadImageError
from data.formats.geotiff.scene import opened
from data.writing.scenes import GEOPACKAGE_SIGNATURE, geopackage_software

RESULTS_FILE = "predictions.jsonl"
# Marks the images that predict writes, so that they are neither taken for photographs nor mistaken for someone else's.
MARK = ("Software", "segpipe predict")
# A text (1) without a language, in the atom of a comment.
_MARK_IN_VIDEO = b"data\0\0\0\1\0\0\0\0" + MARK[1].encode()
_MARK_IN_PNG = b"tEXt" + b"\0".join(part.encode() for part in MARK)
# The mark comes right after the header of a PNG, and in that of a NIfTI file, of which more is compressed in less.
_HEAD_BYTES = 1024
_TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# Places of the description in the headers of NIfTI-1 and NIfTI-2.
_DESCRIPTIONS, _DESCRIPTION_BYTES, _NIFTI_BYTES = (148, 240), 80, 540


class Results:
    """The masks and overlays that a `predictions.jsonl` lists; those of earlier releases have no mark.

    Args:
      folder: where it lies; there may be none.
    """

    def __init__(self, folder: str):
        self._folder = folder
        self._paths: dict[str, list[str]] = collections.defaultdict(list)
        path = pathlib.Path(folder, RESULTS_FILE)
        # Not a pipe, at which reading would wait.
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []:
            try:
                entry = json.loads(line)
                listed = [
                    entry[key]
                    for key in ("mask", "overlay", "instances", "panoptic", "polygons")
                    if isinstance(entry.get(key), str)
                ]
            except (ValueError, AttributeError):  # Someone else's file, or the last line of a run that was killed.
                continue
            for item in listed:
                self._paths[os.path.basename(item)].append(item)

    def has(self, path: str) -> bool:
        """Whether a file is one of them; their paths may have been relative to any folder."""
        relative = os.path.relpath(path, self._folder)
        return any(
            item == relative or item.endswith(os.sep + relative) for item in self._paths.get(os.path.basename(path), [])
        )


class Output:
    """The folder of the results, in which nothing is overwritten but results.

    Args:
      folder: where it is; it need not exist.
      inputs: the files that are predicted.
      names: what their results are called.
    """

    def __init__(self, folder: str, inputs: list[str], names: list[str]):
        self._folder = folder
        self._earlier = Results(folder)
        self._inputs = {os.path.realpath(path) for path in inputs}
        self._taken = set(names)

    def record_name(self, name: str) -> str:
        """The name of the results of an image in a TFRecord: its own, or with a number if that is taken."""
        number, free = 2, name
        while free in self._taken:
            number, free = number + 1, f"{name}_{number}"
        self._taken.add(free)
        return free

    def below(self, path: str) -> str:
        """The path of a result, in the folder."""
        return os.path.relpath(path, self._folder)

    def paths(self, name: str, kinds: Mapping[str, str]) -> dict[str, str]:
        """Where the results of an image, scene or volume go, by their kinds, of which each has an extension.

        Raises:
          BadImageError: if something else is there.
        """
        paths = {kind: os.path.join(self._folder, f"{name}_{kind}{end}") for kind, end in kinds.items()}
        for path in paths.values():
            if os.path.realpath(path) in self._inputs:
                raise BadImageError(f"its result would overwrite the input {path}; choose another --output")
            if os.path.lexists(path) and not is_result(path) and not self._earlier.has(path):
                raise BadImageError(f"{path} exists and is no result of predict; choose another --output")
        return paths


def is_result(path: str) -> bool:
    """Whether a file has the mark of what predict writes."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return False
        with open(path, "rb") as file:
            head = file.read(_HEAD_BYTES)
        if head.startswith(_TIFF_SIGNATURES):
            return _is_marked_tiff(path)
        if head[4:8] == b"ftyp":
            return _is_marked_video(path)
        if head.startswith(GEOPACKAGE_SIGNATURE):
            return geopackage_software(path) == MARK[1]
        return _MARK_IN_PNG in head or _is_marked_nifti(head)
    except OSError:  # Whoever reads it will say why.
        return False


def _is_marked_nifti(head: bytes) -> bool:
    if head.startswith(GZIP_SIGNATURE):
        try:
            head = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(head, _NIFTI_BYTES)
        except zlib.error:
            return False
    texts = (head[start : start + _DESCRIPTION_BYTES] for start in _DESCRIPTIONS)
    return any(text.rstrip(b"\0") == MARK[1].encode() for text in texts)


def _is_marked_tiff(path: str) -> bool:
    try:
        with opened(path) as raster:
            return bool(raster.tags().get("TIFFTAG_SOFTWARE") == MARK[1])
    except BadImageError:
        return False


def _is_marked_video(path: str) -> bool:
    """Whether an MP4 file has the mark in its box `moov`, wherever that is (ISO 14496-12, section 4.2)."""
    with open(path, "rb") as file:
        while len(head := file.read(16)) >= 8:
            size = int.from_bytes(head[:4], "big")
            if size == 1:
                size = int.from_bytes(head[8:], "big")
            if size < 8:
                return False
            start = file.seek(-len(head), os.SEEK_CUR)
            if head[4:8] == b"moov":
                return _MARK_IN_VIDEO in file.read(size)
            file.seek(start + size)
    return False
