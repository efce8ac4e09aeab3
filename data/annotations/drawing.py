"""Draws annotated objects: class ids and numbered objects, pixel by pixel."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from data.annotations.shapes import Shape
from data.contract import CROWD, IGNORE_LABEL
from data.decoding.errors import BadImageError


@dataclasses.dataclass(frozen=True)
class AnnotatedObject:
    """An object in an image.

    Attributes:
      name: what messages call it, such as `annotation 17`.
      class_id: its class; 255 for "ignore".
      shape: where it is.
      is_crowd: whether it stands for many objects that nobody told apart. These pixels are ignored.
      instance: what tells it from others: shapes of one text are parts of one object; empty for an object of its own.
      is_thing: whether it is an object that can be counted; sky or grass is not.
    """

    name: str
    class_id: int
    shape: Shape
    is_crowd: bool = False
    instance: str = ""
    is_thing: bool = True


def draw(
    objects: Sequence[AnnotatedObject], height: int, width: int, background: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Draws objects in their order, each over those before it, crowds below all of them.

    Objects whose class is not learned have no number, as what is not an object.

    Args:
      objects: the objects.
      height: of the image, in pixels.
      width: likewise.
      background: the class id of what no object covers; 255 for "ignore".

    Returns:
      Class ids, [height, width] uint8, and the number of each pixel's object, [height, width] uint16: 0 where there is
      none, 65535 in a crowd.

    Raises:
      BadImageError: if an object cannot be drawn, which the message names, or there are too many.
    """
    class_ids = np.full((height, width), background, np.uint8)
    instances = np.zeros((height, width), np.uint16)
    numbers: dict[str, int] = {}
    for one in sorted(objects, key=lambda item: not item.is_crowd):
        try:
            patch = one.shape.patch(height, width)
        except BadImageError as error:
            raise BadImageError(f"{one.name}: {error}") from None
        number = 0
        if one.is_crowd:
            number = CROWD
        elif one.is_thing and one.class_id not in (background, IGNORE_LABEL):
            number = numbers.setdefault(one.instance or f"\0{len(numbers)}", len(numbers) + 1)
        if number == CROWD and not one.is_crowd:
            raise BadImageError(f"it has more than {CROWD - 1} objects")
        np.copyto(class_ids[patch.place], IGNORE_LABEL if one.is_crowd else one.class_id, where=patch.pixels)
        np.copyto(instances[patch.place], number, where=patch.pixels)
    return class_ids, instances
