"""What workers get of an instances file: for each image the text of its annotations, with class ids."""

from __future__ import annotations

import reprlib
from collections.abc import Sequence
from typing import Any

import msgspec

from data.annotations.drawing import AnnotatedObject
from data.annotations.shapes import Polygon, Runs, Shape, check_reach, check_units
from data.decoding.errors import BadImageError
from data.formats.coco.document import AnnotationEntry


class _Object(msgspec.Struct, array_like=True, gc=False):
    """An object; `area` is 0 if the file does not say it."""

    name: str
    class_id: int
    is_crowd: bool
    is_thing: bool
    area: float
    segmentation: msgspec.Raw


class _Labels(msgspec.Struct, array_like=True, gc=False):
    """The labels of an image; width and height are 0 if the file does not say them."""

    file: str
    width: int
    height: int
    objects: list[_Object]


class _Rle(msgspec.Struct, gc=False):
    """Run lengths; `size` is height and width."""

    size: tuple[int, int]
    counts: str | list[int]


_LABELS = msgspec.json.Decoder(_Labels)
_RINGS = msgspec.json.Decoder(list[list[float] | float])
_RLE = msgspec.json.Decoder(_Rle)
_BLANKS = b" \t\r\n"
_NOTHING = (b"null", b"[]", b"{}", b'""', b"[[]]")
_LONGEST_NOTHING = 20  # With spaces.
# Of an image, in pixels: no number that is larger is an area.
_LARGEST = 1e12


def has_shape(entry: AnnotationEntry) -> bool:
    """Whether an annotation has a segmentation, not only a box."""
    text = memoryview(entry.segmentation)
    return text.nbytes > _LONGEST_NOTHING or bytes(text).translate(None, _BLANKS) not in _NOTHING


def object_text(entry: AnnotationEntry, name: str, class_id: int, is_thing: bool) -> str:
    """An annotation for `labels_text`.

    Args:
      entry: the annotation.
      name: what messages call it.
      class_id: its class.
      is_thing: whether it can be counted.

    Raises:
      ValueError: if it is broken; the message is the reason.
    """
    is_crowd = _flag(entry.iscrowd, "iscrowd") or _flag(entry.ignore, "ignore")
    area = entry.area if type(entry.area) in (int, float) and 0 < entry.area < _LARGEST else 0
    try:
        # Without the blanks of files that are made to be read. In other shapes than outlines they may be an error.
        text = bytes(entry.segmentation)
        shape = (text.translate(None, _BLANKS) if text.startswith(b"[") else text).decode()
    except UnicodeDecodeError:
        raise ValueError("its segmentation is not UTF-8") from None
    start = msgspec.json.encode([name, class_id, is_crowd, is_thing, float(area)]).decode()
    return f"{start[:-1]},{shape}]"


def _flag(value: Any, name: str) -> bool:
    if value not in (None, 0, 1):
        raise ValueError(f"its {name} is {reprlib.repr(value)} instead of 0 or 1")
    return bool(value)


def labels_text(file: str, width: int, height: int, objects: Sequence[str]) -> str:
    """The labels of an image as `Source.labels`.

    Args:
      file: the annotation file, relative, for messages.
      width: of the image by that file, in pixels; 0 if it does not say.
      height: likewise.
      objects: what `object_text` returned.
    """
    return f"{msgspec.json.encode([file, width, height]).decode()[:-1]},[{','.join(objects)}]]"


def file_of(text: str) -> str:
    """The annotation file that labels are from."""
    return _LABELS.decode(text).file


def size_of(text: str) -> tuple[int, int] | None:
    """Width and height by the labels of an image, or None."""
    labels = _LABELS.decode(text)
    return (labels.width, labels.height) if labels.width and labels.height else None


def objects_of(text: str, height: int, width: int) -> list[AnnotatedObject]:
    """The objects of an image, in the order in which they are drawn: larger ones first.

    Args:
      text: its labels.
      height: of the image, in pixels.
      width: likewise.

    Raises:
      BadImageError: if one has a broken shape.
    """
    labels = _LABELS.decode(text)
    objects, areas = [], []
    # Areas of two origins, such as of boxes and of pixels, would not compare.
    has_areas = all(one.area for one in labels.objects)
    for one in labels.objects:
        name = f"{labels.file}: {one.name}"
        try:
            shape = _shape(one.segmentation)
            if isinstance(shape, Polygon):
                _check_units(shape.rings, None if labels.width and labels.height else (width, height))
            areas.append(one.area if has_areas else float(shape.patch(height, width).pixels.sum()))
        except BadImageError as error:
            raise BadImageError(f"{name}: {error}") from None
        objects.append(AnnotatedObject(name, one.class_id, shape, one.is_crowd, is_thing=one.is_thing))
    order = sorted(range(len(objects)), key=lambda index: -areas[index])
    return [objects[index] for index in order]


def _check_units(rings: Sequence[Sequence[float]], unstated: tuple[int, int] | None) -> None:
    """Raises a BadImageError if outlines do not seem to be in pixels of the image.

    Args:
      rings: x and y of the corners in turn, of each outline.
      unstated: width and height of the image in pixels if the file does not say them.
    """
    check_units(rings, "COCO's")
    if unstated is not None:
        remedy = "for which images has no width and height; was it resized after labeling? Give the size that it had"
        check_reach(rings, *unstated, remedy)


def _shape(raw: msgspec.Raw) -> Shape:
    """The shape that a segmentation is: run lengths, outlines, or, as some tools write it, one outline alone."""
    try:
        if bytes(raw).startswith(b"{"):
            runs = _RLE.decode(raw)
            return Runs(runs.counts, *runs.size)
        rings = _RINGS.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadImageError(f"its segmentation is neither outlines nor run lengths: {error}") from None
    is_one = bool(rings) and not isinstance(rings[0], list)
    if any(isinstance(ring, list) is is_one for ring in rings):
        raise BadImageError("its segmentation mixes numbers and outlines")
    return Polygon([rings] if is_one else rings)  # type: ignore[list-item, arg-type]
