"""Shapes as CVAT stores them, made objects that can be drawn.

Coordinates are in pixels of the image as it is shown, and the first pixel covers 0 to 1. CVAT's own exports of masks
are drawn by pycocotools, as here: polygons as they are, boxes as rectangles, turned clockwise by their rotation. Their
ellipses have a center and radii that are rounded to whole pixels first, which is not done here.
"""

from __future__ import annotations

import collections
import dataclasses
import json
import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from data.annotations.drawing import AnnotatedObject
from data.annotations.shapes import Bitmap, Polygon, Shape, check_units, ellipse
from data.decoding.errors import BadImageError

BOX = "box"
# The attributes of each kind of shape that covers an area.
AREAS = {
    "polygon": ("points",),
    "mask": ("rle", "left", "top", "width", "height"),
    BOX: ("xtl", "ytl", "xbr", "ybr", "rotation"),
    "ellipse": ("cx", "cy", "rx", "ry", "rotation"),
}
NO_AREAS = ("polyline", "points", "cuboid", "skeleton")
# How far the sides of a box may be from those of an outline, in pixels, that it was drawn around.
_AROUND = 2.0


class Annotation(NamedTuple):
    """A shape as it is handed to a worker, which checks the numbers; a tuple, since very many become JSON.

    Attributes:
      kind: `polygon`, `mask`, `box` or `ellipse`.
      line: where it is in the file.
      label: its label.
      class_id: the class; 255 for "ignore".
      instance: what tells its object from others in the image; empty for an object of its own.
      z_order: what is higher lies over what is lower.
      values: its attributes, in the order of `AREAS`.
      problem: why it cannot be used, or an empty string.
    """

    kind: str
    line: int
    label: str
    class_id: int
    instance: str
    z_order: str
    values: Sequence[str]
    problem: str = ""


@dataclasses.dataclass(frozen=True)
class ImageLabels:
    """All that a worker needs to know of an image.

    Attributes:
      file: the file with the annotations, for messages.
      width: of the image as the file states it, or an empty string.
      height: likewise.
      annotations: its shapes, in the order of the file.
    """

    file: str
    width: str
    height: str
    annotations: Sequence[Annotation]

    def to_text(self) -> str:
        """A text that `from_text` reads."""
        content = [self.file, self.width, self.height, self.annotations]
        return json.dumps(content, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_text(cls, text: str) -> ImageLabels:
        """What `to_text` wrote."""
        file, width, height, shapes = json.loads(text)
        return cls(file, width, height, [Annotation(*shape) for shape in shapes])

    @property
    def size(self) -> tuple[int, int] | None:
        """Width and height that the file states; None if it states none."""
        if not self.width and not self.height:
            return None
        try:
            return _whole(self.width, "width"), _whole(self.height, "height")
        except BadImageError as error:
            raise BadImageError(f"{self.file}: {error}") from None


def annotated_objects(labels: ImageLabels, height: int, width: int, are_boxes_drawn: bool) -> list[AnnotatedObject]:
    """The objects of an image, from the lowest to the highest.

    Args:
      labels: the annotations.
      height: of the image, in pixels.
      width: likewise.
      are_boxes_drawn: whether it is said that boxes are outlines, even if they frame another one.

    Raises:
      BadImageError: if an annotation is broken or doubtful, which the message names.
    """
    drawn: list[tuple[float, AnnotatedObject]] = []
    for annotation in labels.annotations:
        name = f"{labels.file}, line {annotation.line}: the {annotation.kind} {annotation.label}".rstrip()
        try:
            if annotation.problem:
                raise BadImageError(annotation.problem)
            shape = _shape(annotation, height, width)
            z_order = _number(annotation.z_order or "0", "z_order")
        except BadImageError as error:
            raise BadImageError(f"{name}: {error}") from None
        drawn.append((z_order, AnnotatedObject(name, annotation.class_id, shape, instance=annotation.instance)))
    if not are_boxes_drawn:
        _check_boxes(labels.annotations, [one for _, one in drawn])
    drawn.sort(key=lambda item: item[0])
    return [one for _, one in drawn]


def _shape(annotation: Annotation, height: int, width: int) -> Shape:
    named = dict(zip(AREAS[annotation.kind], annotation.values, strict=True))
    if annotation.kind == "polygon":
        ring = _points(named["points"])
        check_units([ring], "CVAT's")
        return Polygon([ring])
    if annotation.kind == "mask":
        return _bitmap(named, height, width)
    numbers = {key: _number(value or ("0" if key == "rotation" else ""), key) for key, value in named.items()}
    if annotation.kind == BOX:
        return _box(*numbers.values())
    for key in ("rx", "ry"):
        if numbers[key] <= 0:
            raise BadImageError(f"its {key} is {numbers[key]:g}, and a radius is more than 0")
    return ellipse(*numbers.values())


def _box(left: float, top: float, right: float, bottom: float, degrees: float) -> Polygon:
    """A rectangle, turned clockwise about its center."""
    center_x, center_y, turn = (left + right) / 2, (top + bottom) / 2, math.radians(degrees)
    ring: list[float] = []
    for x, y in ((left, top), (right, top), (right, bottom), (left, bottom)):
        if degrees:
            x, y = x - center_x, y - center_y
            x, y = x * math.cos(turn) - y * math.sin(turn), x * math.sin(turn) + y * math.cos(turn)
            x, y = x + center_x, y + center_y
        ring += [x, y]
    return Polygon([ring])


def _points(text: str) -> list[float]:
    """The corners in `x,y;x,y;…`."""
    ring: list[float] = []
    for pair in text.strip().rstrip(";").split(";"):
        parts = pair.split(",")
        if len(parts) != 2:
            raise BadImageError(f"its points hold {_short(pair)} where x,y should be")
        ring += [_number(part, "points") for part in parts]
    return ring


def _bitmap(named: dict[str, str], height: int, width: int) -> Bitmap:
    """Run lengths along the rows of a box, from left to right and downward, first those outside."""
    left, top = (_whole(named[key], key, least=0) for key in ("left", "top"))
    columns, rows = (_whole(named[key], key) for key in ("width", "height"))
    if left + columns > width or top + rows > height:
        raise BadImageError(
            f"it covers {columns}x{rows} pixels from {left},{top} on, more than the image of {width}x{height} has"
        )
    counts = [_whole(part, "rle", least=0) for part in named["rle"].split(",")]
    if sum(counts) != columns * rows:
        raise BadImageError(f"its rle covers {sum(counts)} pixels; its box of {columns}x{rows} has {columns * rows}")
    values = np.arange(len(counts)) % 2 == 1
    return Bitmap(np.repeat(values, counts).reshape(rows, columns), left, top)


def _number(text: str, key: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise BadImageError(
            f"its {key} is missing" if not text else f"its {key}: {_short(text)} is not a number"
        ) from None
    if not math.isfinite(number):
        raise BadImageError(f"its {key}: {_short(text)} is not a finite number")
    return number


def _whole(text: str, key: str, least: int = 1) -> int:
    try:
        number = int(text)
    except ValueError:
        what = f"its {key} is missing" if not text else f"its {key}: {_short(text)} is not a whole number"
        raise BadImageError(what) from None
    if number < least:
        raise BadImageError(f"its {key}: {number} is less than {least}")
    return number


def _short(text: str) -> str:
    return repr(text if len(text) <= 20 else f"{text[:20]}…")


def _check_boxes(annotations: Sequence[Annotation], objects: Sequence[AnnotatedObject]) -> None:
    """Raises a BadImageError if a box frames an outline of the same label, of which it may only say where it is."""
    pairs = list(zip(annotations, objects, strict=True))
    outlines = [(annotation.label, _bounds(one.shape)) for annotation, one in pairs if annotation.kind != BOX]
    for annotation, one in pairs:
        if annotation.kind != BOX:
            continue
        bounds = _bounds(one.shape)
        for label, other in outlines:
            distances = (abs(side - side_of_other) for side, side_of_other in zip(bounds, other, strict=True))
            if label == annotation.label and max(distances) <= _AROUND:
                raise BadImageError(
                    f"{one.name}: it frames an outline of the same label, so it may only say where that object is; "
                    "--boxes leave-out leaves out all boxes, --boxes draw fills them"
                )


def _bounds(shape: Shape) -> tuple[float, float, float, float]:
    """Left, top, right and bottom."""
    if isinstance(shape, Bitmap):
        rows, columns = np.flatnonzero(shape.pixels.any(axis=1)), np.flatnonzero(shape.pixels.any(axis=0))
        if not len(rows):
            return math.inf, math.inf, math.inf, math.inf
        left, top = shape.left + int(columns[0]), shape.top + int(rows[0])
        return left, top, shape.left + int(columns[-1]) + 1, shape.top + int(rows[-1]) + 1
    assert isinstance(shape, Polygon)
    x, y = shape.rings[0][::2], shape.rings[0][1::2]
    return min(x), min(y), max(x), max(y)


def area_values(kind: str, attributes: dict[str, str]) -> list[str]:
    """The attributes of a shape that a worker needs."""
    return [attributes.get(key, "") for key in AREAS[kind]]


def kinds_of(kinds: Iterable[str]) -> str:
    """How many shapes of each kind, in words."""
    counts = collections.Counter(kinds)
    return ", ".join(f"{kind} ({count})" for kind, count in counts.most_common())
