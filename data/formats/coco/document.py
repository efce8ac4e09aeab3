"""COCO's JSON files, as far as an instances file has to be understood: parsed without making objects of its numbers.

The format is described at https://cocodataset.org/#format-data.
"""

from __future__ import annotations

import codecs
import json
import re
import sys
from typing import Any, TypeVar

import msgspec

from data.base.errors import UserError
from data.base.files import read_bytes

# Python's json writes these, and no other parser reads them.
_NOT_JSON = re.compile(rb'"(?:[^"\\]|\\.)*"|-?\b(?:NaN|Infinity)\b', re.DOTALL)
# What is shown of a file where it is broken.
_AROUND = 30
_LARGEST = 1 << 64

Model = TypeVar("Model")


class Document(msgspec.Struct, gc=False):
    """A file. Each entry stays text until it is looked at, so that one that is broken does not break the others."""

    images: list[msgspec.Raw]
    categories: list[msgspec.Raw]
    annotations: list[msgspec.Raw] = []


class CategoriesAlone(msgspec.Struct, gc=False):
    """The classes of a file."""

    categories: list[msgspec.Raw]


class AnnotationsAlone(msgspec.Struct, gc=False):
    """The annotations of a file."""

    annotations: list[msgspec.Raw] = []


class ImageEntry(msgspec.Struct, gc=False):
    """An image. Of the fields of all entries any may have any type."""

    id: Any = None
    file_name: Any = None
    coco_url: Any = None
    width: Any = None
    height: Any = None


class CategoryEntry(msgspec.Struct, gc=False):
    """A class; `isthing` is 0 for what cannot be counted, such as grass."""

    id: Any = None
    name: Any = None
    supercategory: Any = None
    color: Any = None
    isthing: Any = None


class AnnotationEntry(msgspec.Struct, gc=False):
    """An object; its shape stays text."""

    id: Any = None
    image_id: Any = None
    category_id: Any = None
    iscrowd: Any = None
    ignore: Any = None
    area: Any = None
    segmentation: msgspec.Raw = msgspec.Raw(b"null")


def load(path: str, model: type[Model]) -> Model:
    """Reads a JSON file.

    UTF-8 with or without a byte order mark, UTF-16 and UTF-32 are read, and numbers that are none (NaN) as null.

    Raises:
      UserError: if it is no JSON, or holds something else; says where.
      OSError: if it cannot be read.
    """
    content = read_bytes(path)
    encoding = json.detect_encoding(content[:4])
    try:
        if encoding == "utf-8-sig":
            content = content[len(codecs.BOM_UTF8) :]
        elif encoding != "utf-8":
            content = content.decode(encoding).encode()
        try:
            return msgspec.json.decode(content, type=model)
        except msgspec.ValidationError:
            raise
        except msgspec.DecodeError as error:
            if not content[_byte(error) :].startswith((b"NaN", b"Infinity")):
                raise
            content = _NOT_JSON.sub(lambda found: found[0] if found[0].startswith(b'"') else b"null", content)
            return msgspec.json.decode(content, type=model)
    except msgspec.ValidationError as error:
        raise UserError(f"{path} is not in COCO's format: {plain(error)}") from None
    except msgspec.DecodeError as error:
        raise UserError(f"{path} is not complete JSON: {_place(content, error)}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not {error.encoding} at byte {error.start}; save it as UTF-8") from None
    except RecursionError:
        raise UserError(f"{path} is not in COCO's format: its lists lie in one another too deep") from None


def parse(raw: msgspec.Raw, model: type[Model]) -> Model:
    """Reads an entry.

    Raises:
      ValueError: if it is no such thing; the message is the reason.
    """
    try:
        return msgspec.json.decode(raw, type=model)
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None
    except msgspec.DecodeError as error:
        raise ValueError(plain(error)) from None


def key_of(value: Any) -> str | None:
    """An id as text, as some tools write numbers and others text; None if it is no id."""
    if isinstance(value, str):
        return value
    is_id = type(value) in (int, float) and abs(value) < _LARGEST and value == int(value)
    return str(int(value)) if is_id else None


def plain(error: Exception) -> str:
    """What msgspec says, in words of JSON's users."""
    what, _, place = str(error).replace("`", "").replace("Expected", "expected", 1).partition(" - at ")
    return f"{place.removeprefix('$.')}: {what}" if place else what


def _byte(error: Exception) -> int:
    """Where msgspec stopped; the end if it wanted more."""
    found = re.search(r"\(byte (\d+)\)", str(error))
    return int(found[1]) if found else sys.maxsize


def _place(content: bytes, error: Exception) -> str:
    byte = _byte(error)
    if byte == sys.maxsize:
        return f"it ends after {len(content)} bytes, before its last bracket; copy or export it again"
    around = content[max(byte - _AROUND, 0) : byte + _AROUND].decode(errors="replace")
    what = re.sub(r"^JSON is malformed: | \(byte \d+\)$", "", str(error))
    return f"{what} at byte {byte}, in {around!r}; export it again"
