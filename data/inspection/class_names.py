"""Names of classes in the files that tools leave beside masks."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable

from data.base.errors import UserError
from data.inspection.mask_values import Color
from data.label_map_files import MaskLabels, load_labels

_NAMES = re.compile(r"label|class|categor|legend|colou?r_?map|palette|codes", re.IGNORECASE)
_EXTENSIONS = (".yaml", ".yml", ".csv", ".tsv", ".json", ".txt")
# What labelme writes in place of a name for pixels that do not count.
_NO_CLASS = "__ignore__"


@dataclasses.dataclass(frozen=True)
class NameFile:
    """A file that names classes.

    Attributes:
      path: the file.
      labels: what it says.
    """

    path: str
    labels: MaskLabels

    @property
    def names(self) -> tuple[str, ...]:
        """The names, if it says no more than them and their order; otherwise nothing."""
        is_list = not self.labels.has_colors and all(value == id_ for value, id_ in self.labels.values.items())
        return tuple(name for name in self.labels.label_map.names if name != _NO_CLASS) if is_list else ()

    def has_values(self, values: Iterable[int]) -> bool:
        """Whether it says what each of these values is."""
        return set(values) <= {*self.labels.values, 255}

    def has_colors(self, colors: Iterable[Color]) -> bool:
        """Whether it says what each of these colors is."""
        return self.labels.has_colors and set(colors) <= {label.color for label in self.labels.label_map.root}

    def __len__(self) -> int:
        return len(self.labels.label_map)


def find_name_files(paths: Iterable[str]) -> list[NameFile]:
    """Of the files at some paths, those that name classes; those that say most come first."""
    found = []
    for path in paths:
        name = path.rpartition("/")[2]
        if name.lower().endswith(_EXTENSIONS) and _NAMES.search(name):
            try:
                found.append(NameFile(path, load_labels(path)))
            except UserError:
                continue
    return sorted(found, key=lambda file: (bool(file.names), file.path.count("/"), file.path))
