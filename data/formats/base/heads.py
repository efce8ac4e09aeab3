"""What kind of JSON or XML is a file? Its first and last part tell, however large it is."""

from __future__ import annotations

import dataclasses
import glob
import json
import os
import re
from collections.abc import Iterable

from data.base.files import UnreachableError, find, is_remote, join, read_bytes

_PART = 1 << 16
# A string with the colon that makes it a key, a bracket, or a quotation mark whose other one is not there.
_TOKEN = re.compile(rb'"((?:[^"\\]|\\.)*)"(\s*:)?|([{\[])|([}\]])|(")', re.DOTALL)
# The same, read backwards: a quotation mark belongs to the string if an odd number of backslashes is before it.
_TOKEN_BACKWARDS = re.compile(
    rb'(:\s*)?"((?:[^"]|"(?=(?:\\\\)*\\(?!\\)))*)"|([}\]])|([{\[])|(")',
)
_ELEMENT = re.compile(rb"<([A-Za-z_][\w.-]*)")
_NO_ELEMENTS = re.compile(rb"<!--.*?-->|<!\[CDATA\[.*?\]\]>", re.DOTALL)


@dataclasses.dataclass(frozen=True)
class JsonKeys:
    """The keys that the first and the last 64 KB of a JSON file show.

    Attributes:
      outermost: those of the outermost object, or of the objects in the outermost list or in JSON lines. One whose
        value begins and ends in the middle of a large file is not seen: of COCO's `images`, `annotations` and
        `categories`, this may be any but the first and the last.
      all: those of all objects.
      is_list: whether the outermost value is a list.
    """

    outermost: frozenset[str] = frozenset()
    all: frozenset[str] = frozenset()
    is_list: bool = False


def json_keys(folder: str, file: str) -> JsonKeys:
    """What keys a JSON file has, as far as its beginning and its end show them; none if it cannot be read.

    A truncated or otherwise broken file shows those that it has.

    Args:
      folder: the data set.
      file: path below it.

    Raises:
      UnreachableError: if the place where the file is cannot be reached.
    """
    head, tail = _parts(join(folder, file))
    outermost, every = _scan((bool(one[2]), one[1], one[3], one[4]) for one in _TOKEN.finditer(head))
    if tail.rstrip().endswith((b"}", b"]")):
        backwards = _TOKEN_BACKWARDS.finditer(tail[::-1])
        more = _scan((bool(one[1]), one[2] and one[2][::-1], one[3], one[4]) for one in backwards)
        outermost, every = outermost | more[0], every | more[1]
    return JsonKeys(outermost, every, head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"["))


def _scan(tokens: Iterable[tuple[bool, bytes | None, bytes | None, bytes | None]]) -> tuple[frozenset[str], ...]:
    """The keys of the outermost objects and those of all; a token is (is a key, text, bracket in, bracket out)."""
    outermost, every = set(), set()
    around = b""
    for is_key, text, opens, closes in tokens:
        if opens:
            around += opens
        elif closes:
            around = around[:-1]
        elif text is None:  # The part ends within a text.
            break
        elif is_key:
            key = _text(text)
            every.add(key)
            if around in (b"{", b"[{", b"}", b"]}"):
                outermost.add(key)
    return frozenset(outermost), frozenset(every)


def _text(escaped: bytes) -> str:
    text = escaped.decode("utf-8", "replace")
    try:
        return str(json.loads(f'"{text}"', strict=False))
    except ValueError:
        return text


def xml_elements(folder: str, file: str) -> tuple[str, ...]:
    """The names of an XML file's elements in its first and last 64 KB, the root's first; none if it cannot be read.

    Args:
      folder: the data set.
      file: path below it.

    Raises:
      UnreachableError: if the place where the file is cannot be reached.
    """
    head, tail = _parts(join(folder, file))
    names = _ELEMENT.findall(_NO_ELEMENTS.sub(b"", head)) + _ELEMENT.findall(tail)
    return tuple(dict.fromkeys(name.decode() for name in names))


def is_empty(folder: str, file: str) -> bool:
    """Whether a file holds nothing but blanks, as what is left of a copy that was interrupted.

    Args:
      folder: the data set.
      file: path below it.

    Raises:
      UnreachableError: if the place where the file is cannot be reached.
    """
    head, _ = _parts(join(folder, file))
    return not head.strip()


def _parts(path: str) -> tuple[bytes, bytes]:
    """The beginning and the end of a file; the end is empty if the beginning is all of it."""
    try:
        head = read_bytes(path, 0, 2 * _PART)
        if len(head) < 2 * _PART:
            return head, b""
        # Without Beam, whose import takes seconds, where it is not needed.
        size = find(glob.escape(path))[0].size if is_remote(path) else os.path.getsize(path)
        return head[:_PART], read_bytes(path, max(_PART, size - _PART))
    except UnreachableError:
        raise
    except (OSError, IndexError):  # A link to nothing, or one that was removed since it was listed.
        return b"", b""
