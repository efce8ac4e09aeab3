"""labelme's files, one JSON for each image: what the listing needs of them, and their shapes.

As labelme 5.5 and 6 write them (https://github.com/wkentaro/labelme); others, such as X-AnyLabeling, write the same.
"""

from __future__ import annotations

import base64
import binascii
import concurrent.futures
import dataclasses
import unicodedata
from collections.abc import Mapping, Sequence
from typing import TypeVar

import msgspec

from data.base.files import UnreachableError, join, read_bytes
from data.decoding.errors import BadImageError

_THREADS = 16
_BOM = b"\xef\xbb\xbf"

T = TypeVar("T")


class LabelmeShape(msgspec.Struct):
    """An object, or a part of one.

    Attributes:
      label: the name of its class.
      points: x and y of each, in pixels; the first pixel of the image covers 0 to 1.
      shape_type: what the points mean.
      group_id: what shapes of one label have in common that are one object.
      mask: pixels between two points, a PNG in base64.
    """

    label: str
    points: list[tuple[float, float]]
    shape_type: str | None = None
    group_id: int | str | None = None
    mask: str | None = None


class _ShapeLabel(msgspec.Struct):
    label: str


class _Listed(msgspec.Struct, rename="camel"):
    shapes: list[_ShapeLabel] | msgspec.UnsetType = msgspec.UNSET
    image_path: str | None = None
    # It may be most of the file, and is only looked at.
    image_data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    image_height: int | None = None
    image_width: int | None = None


class _Shapes(msgspec.Struct):
    shapes: list[msgspec.Raw]


class _ImageData(msgspec.Struct, rename="camel"):
    image_data: str | None = None


@dataclasses.dataclass(frozen=True)
class LabelFile:
    """What the listing needs of a file.

    Attributes:
      file: its path below the data set.
      image: the path of its image, as it says it.
      has_image: whether it holds the image itself, too.
      size: width and height of the image in pixels, if it says them.
      labels: the labels of its shapes, each with the name of its first shape.
      broken: why it cannot be used, if so.
      is_other: whether it is not of labelme at all.
    """

    file: str
    image: str = ""
    has_image: bool = False
    size: tuple[int, int] | None = None
    labels: Mapping[str, str] = dataclasses.field(default_factory=dict)
    broken: str = ""
    is_other: bool = False


def read_label_files(folder: str, files: Sequence[str]) -> list[LabelFile]:
    """Reads what the listing needs of label files; images in them are passed over.

    Raises:
      UnreachableError: if their place cannot be reached.
    """
    with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(lambda file: _listed(folder, file), files))


def _listed(folder: str, file: str) -> LabelFile:
    try:
        content = read_bytes(join(folder, file))
    except UnreachableError:
        raise
    except OSError as error:
        return LabelFile(file, broken=f"it cannot be read: {error.strerror}")
    try:
        found = _decode(content, _Listed)
    except msgspec.ValidationError as error:
        return _unusable(file, content, error)
    except BadImageError as error:
        return LabelFile(file, broken=str(error))
    if isinstance(found.shapes, msgspec.UnsetType):
        return LabelFile(file, is_other=True)
    labels: dict[str, str] = {}
    for number, shape in enumerate(found.shapes, 1):
        label = plain_label(shape.label)
        if not label:
            return LabelFile(file, broken=f"shape {number}: it has no label")
        labels.setdefault(label, shape_name(number, label))
    size = None
    if found.image_height is not None and found.image_width is not None:
        size = found.image_width, found.image_height
    has_image = isinstance(found.image_data, msgspec.Raw) and bytes(found.image_data).startswith(b'"')
    return LabelFile(file, found.image_path or "", has_image, size, labels)


def _unusable(file: str, content: bytes, error: Exception) -> LabelFile:
    """A file whose values are of wrong types."""
    try:
        top = msgspec.json.decode(content.removeprefix(_BOM))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as reason:
        return LabelFile(file, broken=f"it cannot be read as JSON: {reason}")
    if not isinstance(top, dict) or "shapes" not in top:
        return LabelFile(file, is_other=True)
    try:
        read_shapes(content)
    except BadImageError as reason:
        return LabelFile(file, broken=str(reason))
    return LabelFile(file, broken=str(error))


def plain_label(text: str) -> str:
    """A label without blanks around it, which labelme itself cuts off, and in Unicode's form NFC."""
    return unicodedata.normalize("NFC", text.strip())


def shape_name(number: int, label: str) -> str:
    """What messages call a shape, the first one by 1."""
    return f"shape {number} ({label})"


def read_shapes(content: bytes) -> list[LabelmeShape]:
    """The shapes of a label file.

    Raises:
      BadImageError: if they cannot be read; names the shape.
    """
    try:
        raw = _decode(content, _Shapes).shapes
    except msgspec.ValidationError as error:
        raise BadImageError(str(error)) from None
    shapes = []
    for number, one in enumerate(raw, 1):
        try:
            shapes.append(msgspec.json.decode(one, type=LabelmeShape))
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise BadImageError(f"shape {number}: {error}") from None
    return shapes


def read_image_data(content: bytes) -> bytes:
    """The image that a label file holds.

    Raises:
      BadImageError: if there is none, or it is not in base64.
    """
    try:
        data = _decode(content, _ImageData).image_data
    except msgspec.ValidationError as error:
        raise BadImageError(str(error)) from None
    return from_base64(data or "", "its imageData")


def from_base64(text: str, what: str) -> bytes:
    """Bytes of a text in base64.

    Raises:
      BadImageError: if it is none.
    """
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise BadImageError(f"{what} is not in base64") from None


def _decode(content: bytes, kind: type[T]) -> T:
    """JSON as what it should be.

    Raises:
      ValidationError: if it is something else.
      BadImageError: if it is no JSON.
    """
    try:
        return msgspec.json.decode(content.removeprefix(_BOM), type=kind)
    except msgspec.ValidationError:
        raise
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadImageError(f"it cannot be read as JSON: {error}") from None


def label_names(content: bytes) -> list[str] | None:
    """The labels in labelme's list of them, in its order; None if it is no text."""
    try:
        lines = content.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        return None
    return [plain_label(line) for line in lines if line.strip()]
