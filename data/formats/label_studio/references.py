"""How tasks name their images: by URLs of uploads, storages and web servers, and by paths."""

from __future__ import annotations

import base64
import binascii
import collections
import os
import re
import unicodedata
import urllib.parse
from typing import Any

from data.annotations.image_files import ImageFiles
from data.decoding.errors import BadImageError
from data.listing.items import EXTENSIONS

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
# The name of an uploaded file, after what Label Studio puts before it.
_UPLOAD = re.compile(r"[0-9a-f]{8}-(.+)", re.IGNORECASE)


def image_names(reference: str) -> list[str]:
    """The names that the file of an image may have, the likeliest first; none if it is no image's name.

    Args:
      reference: as the task has it, such as `/data/local-files/?d=cats/a.jpg` or `s3://bucket/cats/a.jpg`.
    """
    path, _ = _path(reference)
    names = [path, urllib.parse.unquote(path)]
    return [name for name in dict.fromkeys(names) if os.path.splitext(name)[1].lower() in EXTENSIONS]


def _path(reference: str) -> tuple[str, bool]:
    """The path in a reference, and whether it is an upload's."""
    try:
        parts = urllib.parse.urlsplit(reference)
        query = dict(urllib.parse.parse_qsl(parts.query))
    except ValueError:  # Such as brackets that are no address of a host.
        return reference, False
    if parts.path.rstrip("/").endswith("/data/local-files") and query.get("d"):
        return query["d"], False
    if parts.path.rstrip("/").endswith("/resolve") and query.get("fileuri"):
        try:
            return _path(base64.b64decode(query["fileuri"]).decode())
        except (binascii.Error, UnicodeDecodeError):
            return reference, False
    if "/data/upload/" in parts.path:
        # The number of the project is no folder of the images.
        rest = parts.path.partition("/data/upload/")[2]
        return re.sub(r"^\d+/", "", rest), True
    return (parts.path.lstrip("/"), False) if _SCHEME.match(reference) else (reference, False)


def images_of(data: dict[str, Any]) -> dict[str, list[str]]:
    """The references to images in a task's data, by key; an image tag may show one or a list of them."""
    found = {}
    for key, value in data.items():
        texts = value if isinstance(value, list) else [value]
        if texts and all(isinstance(text, str) and image_names(text) for text in texts):
            found[key] = texts
    return found


class FoundByReference:
    """Finds images of a data set by the references of tasks."""

    def __init__(self, images: ImageFiles):
        self._images = images
        self._uploads: dict[str, list[str]] = collections.defaultdict(list)
        for path in images.relative:
            self._uploads[_name_of_upload(path.rpartition("/")[2])].append(path)

    def find(self, reference: str, beside: str) -> str:
        """The path of an image below the data set.

        Args:
          reference: as the task has it.
          beside: folder of the file with the task, relative.

        Raises:
          BadImageError: if there is no such image, several are meant, or it lies outside of the data set.
        """
        problems = []
        for name in image_names(reference):
            try:
                return self._images.find(name, beside)
            except BadImageError as error:
                problems.append(error)
        path, is_upload = _path(reference)
        original = _UPLOAD.fullmatch(urllib.parse.unquote(path).rpartition("/")[2])
        # Before Label Studio put something before it and left out some characters.
        found = self._uploads.get(_name_of_upload(original[1]), []) if is_upload and original else []
        if len(found) > 1:
            raise BadImageError(f"{path} may be {' or '.join(sorted(found)[:3])}; rename the right one to {path}")
        if found:
            return found[0]
        raise problems[0]


def _name_of_upload(name: str) -> str:
    """What Label Studio makes of the name of an uploaded file."""
    return re.sub(r"[^-\w.]", "", unicodedata.normalize("NFC", name).strip().replace(" ", "_"))


def canonical(reference: str) -> str:
    """What is the same in all references to one image, whatever signatures a URL has."""
    return urllib.parse.unquote(_path(reference)[0])
