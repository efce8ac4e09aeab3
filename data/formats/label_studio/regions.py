"""The regions of an annotation, and their shapes.

Places are in percent of the image as it is stored in upright form. That an annotator has turned the view
(`image_rotation`) does not change them, since Label Studio 1.0.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import math
from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec
import numpy as np

from data.annotations.brush_rle import decode_brush
from data.annotations.shapes import Bitmap, Polygon, Shape, ellipse
from data.decoding.errors import BadImageError
from data.decoding.images import open_image

# What the value of each kind of region with an area holds; the first of these tells the kind where the type does not.
_KINDS = {
    "brush": ("rle",),
    "bitmask": ("imageDataURL",),
    "polygon": ("points",),
    "ellipse": ("radiusX", "radiusY", "x", "y"),
    "vector": ("vertices",),
    "rectangle": ("width", "height", "x", "y"),
}
_ALSO = {"magicwand": "brush"}
# Results without an area, about a point, a region, the whole image or a text beside it.
_NO_AREA = (
    "keypoint", "keypointlabels", "choices", "textarea", "rating", "number", "datetime", "taxonomy", "pairwise",
    "ranker", "relation", "hypertextlabels", "paragraphlabels", "timeserieslabels",
)  # fmt: skip
# Percent of the image. A shape may be dragged somewhat over its border; what is further off is in other units.
_LOWEST, _HIGHEST = -100, 200

T = TypeVar("T")


class Result(msgspec.Struct):
    """A result of an annotation, as Label Studio writes it."""

    type: str
    value: dict[str, msgspec.Raw] = {}
    id: str | int | None = None
    to_name: str | None = None
    source: str | None = None
    item_index: int | None = None
    original_width: int | float | None = None
    original_height: int | float | None = None


@dataclasses.dataclass
class Region:
    """What is drawn on an image.

    Attributes:
      name: what messages call it.
      image: the result that says which image it is on.
      labels: the names it has.
      kind: what its shape is.
      value: its shape, in JSON.
      size: width and height of the image in pixels; None if it is not said.
    """

    name: str
    image: Result
    labels: list[str]
    kind: str = ""
    value: dict[str, msgspec.Raw] = dataclasses.field(default_factory=dict)
    size: tuple[int, int] | None = None


def parse(content: bytes | msgspec.Raw, kind: type[T], what: str) -> T:
    """JSON of a known kind.

    Raises:
      BadImageError: if it is something else; the message begins with what it should be.
    """
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise BadImageError(f"{what}: {error}") from None


def regions_of(results: Sequence[msgspec.Raw]) -> list[Region]:
    """The regions with an area, in the order in which they are drawn.

    A region may have several results, such as a `polygon` with its shape and `labels` with its name; they share an id.

    Raises:
      BadImageError: if a result is broken or of an unknown type; names it.
    """
    regions: dict[Any, Region] = {}
    for number, content in enumerate(results, 1):
        result = parse(content, Result, f"result {number} is not one of Label Studio's")
        name = f"result {number}" if result.id is None else f"result {number} ({result.id})"
        key = number if result.id is None else str(result.id)
        kind, labels = _kind(result, name), _labels(result, name)
        if result.type in _NO_AREA:
            continue
        region = regions.setdefault(key, Region(name, result, []))
        region.labels += [label for label in labels if label not in region.labels]
        if not kind:
            continue
        value = {part: result.value[part] for part in result.value if not part.endswith("labels")}
        if region.kind and not _is_same(region, kind, value):
            raise BadImageError(f"{name} and {region.name} have one id and two shapes; give each an id of its own")
        region.kind, region.value, region.image = kind, value, result
        region.size = _size(result, name)
    return [region for region in regions.values() if region.kind]


def _kind(result: Result, name: str) -> str:
    base = result.type.removesuffix("labels")
    if base == "vector" and bytes(result.value.get("closed", b"")) != b"true":
        return ""  # A line.
    if base in _KINDS or base in _ALSO:
        return _ALSO.get(base, base)
    if result.type == "labels":
        return next((kind for kind, parts in _KINDS.items() if set(parts) <= set(result.value)), "")
    if result.type in _NO_AREA:
        return ""
    raise BadImageError(f"{name} is of the type {result.type!r}, which is not read; delete it, or draw it as a polygon")


def _labels(result: Result, name: str) -> list[str]:
    key = result.type if result.type.endswith("labels") and result.type in result.value else "labels"
    if key not in result.value:
        return []
    names = parse(result.value[key], list[str], f"{name}: its labels are not a list of names")
    return [name for label in names if (name := " ".join(label.split()))]  # As in the configuration.


def _is_same(region: Region, kind: str, value: dict[str, msgspec.Raw]) -> bool:
    return kind == region.kind and all(
        bytes(value.get(part, b"")) == bytes(region.value.get(part, b"")) for part in _KINDS[kind]
    )


def _size(result: Result, name: str) -> tuple[int, int] | None:
    width, height = result.original_width, result.original_height
    if width is None or height is None:
        return None
    if not all(1 <= side < 2**31 and side == int(side) for side in (width, height)):
        raise BadImageError(f"{name}: its image has {width}x{height} pixels")
    return int(width), int(height)


class _Brush(msgspec.Struct):
    rle: list[int]
    format: str = "rle"


class _Polygon(msgspec.Struct):
    points: list[tuple[float, float]]
    closed: bool = True


class _Rectangle(msgspec.Struct):
    x: float
    y: float
    width: float
    height: float
    rotation: float | None = 0


class _Ellipse(msgspec.Struct):
    x: float
    y: float
    radius_x: float = msgspec.field(name="radiusX")
    radius_y: float = msgspec.field(name="radiusY")
    rotation: float | None = 0


class _Vertex(msgspec.Struct):
    x: float
    y: float
    id: str | None = None
    before: str | None = msgspec.field(name="prevPointId", default=None)
    is_curved: bool | None = msgspec.field(name="isBezier", default=False)


class _Vector(msgspec.Struct):
    vertices: list[_Vertex]


class _Bitmask(msgspec.Struct):
    url: str = msgspec.field(name="imageDataURL")


@dataclasses.dataclass(frozen=True)
class Brush(Shape):
    """What a brush has painted.

    Attributes:
      rle: as `data.annotations.brush_rle` reads it.
    """

    rle: Sequence[int]

    def patch(self, height: int, width: int) -> Bitmap:
        return Bitmap(decode_brush(self.rle, height, width))


def shape_of(kind: str, value: bytes | msgspec.Raw, height: int, width: int) -> Shape:
    """The shape of a region.

    Args:
      kind: what it is.
      value: in JSON.
      height: of its image, in pixels.
      width: likewise.

    Raises:
      BadImageError: if it is broken.
    """
    what = f"its {kind} is not one of Label Studio's"
    if kind == "brush":
        brush = parse(value, _Brush, what)
        if brush.format != "rle":
            raise BadImageError(f"its brush has the format {brush.format!r} instead of 'rle'")
        return Brush(brush.rle)
    if kind == "bitmask":
        return Bitmap(_painted(parse(value, _Bitmask, what).url, height, width))
    if kind == "ellipse":
        oval = parse(value, _Ellipse, what)
        _check([oval.x, oval.y, oval.radius_x, oval.radius_y])
        x, y, radius_x, radius_y = _pixels([(oval.x, oval.y), (oval.radius_x, oval.radius_y)], height, width)
        return ellipse(x, y, radius_x, radius_y, oval.rotation or 0)
    if kind == "rectangle":
        return Polygon([_corners(parse(value, _Rectangle, what), height, width)])
    if kind == "vector":
        points = _outline(parse(value, _Vector, what).vertices)
    else:
        polygon = parse(value, _Polygon, what)
        if not polygon.closed:
            raise BadImageError("its polygon is not closed; close it, or delete it")
        points = polygon.points
    _check([part for point in points for part in point])
    return Polygon([_pixels(points, height, width)])


def _check(values: Sequence[float]) -> None:
    if far := [value for value in values if not _LOWEST <= value <= _HIGHEST]:
        raise BadImageError(
            f"it lies far outside of the image, at {far[0]:g} percent of its size; are these pixels instead of percent?"
        )


def _pixels(points: Sequence[tuple[float, float]], height: int, width: int) -> list[float]:
    """Points in percent of the image, as x and y in turn in pixels."""
    return [part for x, y in points for part in (x * width / 100, y * height / 100)]


def _corners(box: _Rectangle, height: int, width: int) -> list[float]:
    """The corners of a rectangle, in pixels: it is turned clockwise about its upper left corner."""
    _check([box.x, box.y, box.width, box.height])
    x, y, across, down = _pixels([(box.x, box.y), (box.width, box.height)], height, width)
    turn = math.radians(box.rotation or 0)
    cos, sin = math.cos(turn), math.sin(turn)
    right, below = (across * cos, across * sin), (-down * sin, down * cos)
    return [
        x, y,
        x + right[0], y + right[1],
        x + right[0] + below[0], y + right[1] + below[1],
        x + below[0], y + below[1],
    ]  # fmt: skip


def _outline(vertices: Sequence[_Vertex]) -> list[tuple[float, float]]:
    """The corners of a closed vector of straight lines."""
    if any(vertex.is_curved for vertex in vertices):
        raise BadImageError("its vector has curves, which are not read; draw it as a polygon")
    before: str | None = None
    for vertex in vertices:
        if vertex.before != before and vertex is not vertices[0]:
            raise BadImageError("its vector has branches, so that it encloses no area; draw it as a polygon")
        before = vertex.id
    return [(vertex.x, vertex.y) for vertex in vertices]


def _painted(url: str, height: int, width: int) -> np.ndarray:
    """What is not transparent in an image that is written as text: [height, width] bool."""
    head, _, text = url.partition(",")
    if not head.startswith("data:image/") or not head.endswith(";base64"):
        raise BadImageError("its bitmask is not an image in base64")
    try:
        image = open_image(base64.b64decode(text, validate=True), ("PNG", "WEBP"))
        if image.size != (width, height):
            raise BadImageError(
                f"its bitmask is {image.size[0]}x{image.size[1]} pixels in size, and the image {width}x{height}"
            )
        if "A" not in image.mode and "transparency" not in image.info:
            raise BadImageError("its bitmask has no transparent pixels that tell what was not painted")
        return np.asarray(image.convert("RGBA"))[..., 3] > 0
    except BadImageError:
        raise
    except (binascii.Error, Exception) as error:  # Pillow raises nearly anything.
        raise BadImageError(f"its bitmask is broken: {error}") from None
