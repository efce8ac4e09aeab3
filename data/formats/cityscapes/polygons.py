"""Draws the polygons of Cityscapes by the rules of cityscapesScripts, which drew the published masks."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np
import pydantic

from data.annotations.shapes import Polygon
from data.contract import CROWD
from data.decoding.errors import BadImageError
from data.formats.cityscapes.classes import NEVER_DRAWN

_GROUP = "group"
# Outlines are as wide as a pixel, around its center; moved this way, all of them together cover what a pen would.
_PEN = ((0, 0.5), (1, 0.5), (0.5, 0), (0.5, 1), (0.3, 0.3), (0.7, 0.3), (0.3, 0.7), (0.7, 0.7))


class _Object(pydantic.BaseModel):
    label: str
    polygon: list[tuple[float, float]]
    deleted: Any = 0


class PolygonFile(pydantic.BaseModel):
    """A file with polygons.

    Attributes:
      width: of the image, in pixels.
      height: likewise.
      objects: the polygons, in the order in which they are drawn.
    """

    width: int = pydantic.Field(alias="imgWidth")
    height: int = pydantic.Field(alias="imgHeight")
    objects: list[_Object]

    @classmethod
    def parse(cls, content: bytes) -> PolygonFile:
        """Reads the content of a file.

        Raises:
          BadImageError: if it is none; names what is wrong.
        """
        try:
            return cls.model_validate_json(content)
        except pydantic.ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            raise BadImageError(f"{place + ': ' if place else ''}{first['msg']}") from None

    def drawn(self, names: Collection[str]) -> Iterator[tuple[str, str, bool, _Object]]:
        """The objects that are drawn: what messages call them, their class, and whether they are a group.

        Args:
          names: of the classes. A label that is none, such as `cargroup`, is a group of one, `car`.

        Raises:
          BadImageError: if a label is of no class.
        """
        for number, one in enumerate(self.objects):
            place = f"object {number} ({one.label})"
            is_group = one.label not in names and one.label.endswith(_GROUP)
            name = one.label.removesuffix(_GROUP) if is_group else one.label
            if one.deleted or name in NEVER_DRAWN:
                continue
            if name not in names:
                raise BadImageError(f"{place}: there is no such label; there are {', '.join(names)}")
            yield place, name, is_group, one


def draw_polygons(
    file: PolygonFile, ids: Mapping[str, int], things: Collection[str], unlabeled: int
) -> tuple[np.ndarray, np.ndarray]:
    """Draws polygons in their order, each over those before it, groups included.

    A corner is a pixel that belongs to the polygon, as do the pixels along its outline: in the tool's own drawing, what
    goes from 0 to 9 covers ten pixels.

    Args:
      file: the polygons.
      ids: the class id of each label.
      things: labels whose objects are told apart.
      unlabeled: the class id of what no polygon covers.

    Returns:
      Class ids, [height, width] uint8, and numbers of objects, [height, width] uint16, 65535 for groups.

    Raises:
      BadImageError: if an object cannot be drawn, which the message names.
    """
    class_ids = np.full((file.height, file.width), unlabeled, np.uint8)
    instances = np.zeros((file.height, file.width), np.uint16)
    count = 0
    for place, name, is_group, one in file.drawn(ids):
        rings = [[value for x, y in one.polygon for value in (x + right, y + down)] for right, down in _PEN]
        try:
            patch = Polygon(rings).patch(file.height, file.width)
        except BadImageError as error:
            raise BadImageError(f"{place}: {error}") from None
        number = 0
        if name in things:
            count += not is_group
            number = CROWD if is_group else count
        if number >= CROWD and not is_group:
            raise BadImageError(f"it has more than {CROWD - 1} objects")
        class_ids[patch.place][patch.pixels] = ids[name]
        instances[patch.place][patch.pixels] = number
    return class_ids, instances
