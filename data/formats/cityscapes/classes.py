"""The labels of Cityscapes (Cordts et al., "The Cityscapes Dataset for Semantic Urban Scene Understanding", CVPR 2016).

The numbers and colors are those that cityscapesScripts publishes, https://github.com/mcordts/cityscapesScripts.
"""

from __future__ import annotations

import dataclasses
import re

from data.base.errors import UserError

_LINE = re.compile(r"(\d{1,3})\s+(\d{1,3})\s+(\d{1,3})\s+(.+)")


@dataclasses.dataclass(frozen=True)
class CityscapesLabel:
    """A label.

    Attributes:
      name: what polygons call it.
      id: what labelIds hold; -1 if they never do.
      train_id: its place among the classes that are trained on; 255 or -1 for others.
      category: the kind of label.
      has_instances: whether its objects are told apart.
      ignore_in_eval: whether the benchmark ignores it.
      color: red, green and blue.
    """

    name: str
    id: int
    train_id: int
    category: str
    has_instances: bool
    ignore_in_eval: bool
    color: tuple[int, int, int]

    @property
    def shows_something(self) -> bool:
        """Whether it is something in the street, and not a part of the image without any."""
        return self.id not in range(4)


LABELS = tuple(
    CityscapesLabel(*row)
    for row in (
        ("unlabeled", 0, 255, "void", False, True, (0, 0, 0)),
        ("ego vehicle", 1, 255, "void", False, True, (0, 0, 0)),
        ("rectification border", 2, 255, "void", False, True, (0, 0, 0)),
        ("out of roi", 3, 255, "void", False, True, (0, 0, 0)),
        ("static", 4, 255, "void", False, True, (0, 0, 0)),
        ("dynamic", 5, 255, "void", False, True, (111, 74, 0)),
        ("ground", 6, 255, "void", False, True, (81, 0, 81)),
        ("road", 7, 0, "flat", False, False, (128, 64, 128)),
        ("sidewalk", 8, 1, "flat", False, False, (244, 35, 232)),
        ("parking", 9, 255, "flat", False, True, (250, 170, 160)),
        ("rail track", 10, 255, "flat", False, True, (230, 150, 140)),
        ("building", 11, 2, "construction", False, False, (70, 70, 70)),
        ("wall", 12, 3, "construction", False, False, (102, 102, 156)),
        ("fence", 13, 4, "construction", False, False, (190, 153, 153)),
        ("guard rail", 14, 255, "construction", False, True, (180, 165, 180)),
        ("bridge", 15, 255, "construction", False, True, (150, 100, 100)),
        ("tunnel", 16, 255, "construction", False, True, (150, 120, 90)),
        ("pole", 17, 5, "object", False, False, (153, 153, 153)),
        ("polegroup", 18, 255, "object", False, True, (153, 153, 153)),
        ("traffic light", 19, 6, "object", False, False, (250, 170, 30)),
        ("traffic sign", 20, 7, "object", False, False, (220, 220, 0)),
        ("vegetation", 21, 8, "nature", False, False, (107, 142, 35)),
        ("terrain", 22, 9, "nature", False, False, (152, 251, 152)),
        ("sky", 23, 10, "sky", False, False, (70, 130, 180)),
        ("person", 24, 11, "human", True, False, (220, 20, 60)),
        ("rider", 25, 12, "human", True, False, (255, 0, 0)),
        ("car", 26, 13, "vehicle", True, False, (0, 0, 142)),
        ("truck", 27, 14, "vehicle", True, False, (0, 0, 70)),
        ("bus", 28, 15, "vehicle", True, False, (0, 60, 100)),
        ("caravan", 29, 255, "vehicle", True, True, (0, 0, 90)),
        ("trailer", 30, 255, "vehicle", True, True, (0, 0, 110)),
        ("train", 31, 16, "vehicle", True, False, (0, 80, 100)),
        ("motorcycle", 32, 17, "vehicle", True, False, (0, 0, 230)),
        ("bicycle", 33, 18, "vehicle", True, False, (119, 11, 32)),
        ("license plate", -1, -1, "vehicle", False, True, (0, 0, 142)),
    )
)
NEVER_DRAWN = tuple(label.name for label in LABELS if label.id < 0)


def parse_labels(text: str, source: str) -> list[tuple[str, tuple[int, int, int]]]:
    """Reads the text of CVAT's label_colors.txt: name and color of each label, that of value 0 first.

    Returns:
      The labels; none if they are those of Cityscapes, whose names may be without blanks.

    Raises:
      UserError: if it is none; names the line.
    """
    labels: dict[str, tuple[int, int, int]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        found = _LINE.fullmatch(line.strip())
        color = tuple(int(channel) for channel in found.groups()[:3]) if found else ()
        if not found or max(color) > 255:
            raise UserError(
                f"{source}:{number}: {line.strip()!r} is not red, green, blue and a name, as in 128 64 128 road"
            )
        if found[4] in labels:
            raise UserError(f"{source}:{number}: {found[4]} is named twice; each line names another label")
        labels[found[4]] = (color[0], color[1], color[2])
    usual = [label.name.replace(" ", "") for label in LABELS if label.id >= 0]
    names = [name.replace(" ", "") for name in labels]
    return [] if names[: len(usual)] == usual else list(labels.items())
