"""What the values and colors of a data set's masks mean: its label map, and what the user says beside it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
import pydantic

from data.base.section import Section
from data.contract import IGNORE_LABEL
from data.label_map import ClassNames, LabelMap
from data.label_map_files import LabelMapFile, MaskLabels

Kind = Literal["auto", "ids", "colors"]


@dataclasses.dataclass(frozen=True)
class Meaning:
    """How masks become class ids.

    Attributes:
      label_map: the classes, with the colors that masks may have.
      values: the class id of each value that masks may hold; 255 is ignored unless it is among them.
      has_colors: whether the colors are the user's, so that they may decide.
      kind: whether values or colors count where a file allows both, or `auto`.
      foreground: the value of the second of two classes, if the user named it.
      transparent: the class id of transparent pixels, if the user named it.
      nearest: whether other values and colors become the nearest of a class.
    """

    label_map: LabelMap
    values: Mapping[int, int]
    has_colors: bool = True
    kind: Kind = "auto"
    foreground: int | None = None
    transparent: int | None = None
    nearest: bool = False

    @classmethod
    def of(cls, label_map: LabelMap) -> Meaning:
        """Masks that hold the ids or the colors of a label map."""
        return cls(label_map, MaskLabels.of(label_map).values)

    @property
    def is_white_said(self) -> bool:
        """Whether the user said what 255 means."""
        return IGNORE_LABEL in self.values or self.foreground is not None

    @functools.cached_property
    def all_values(self) -> dict[int, int]:
        """`values`, and 255."""
        return {IGNORE_LABEL: IGNORE_LABEL, **self.values}

    @functools.cached_property
    def white(self) -> int | None:
        """The class id of white in black and white files of one bit; None if 1 and 255 are of different classes."""
        if self.foreground is not None:
            return 1
        said = [self.values[value] for value in (1, IGNORE_LABEL) if value in self.values]
        said = [class_id for class_id in said if class_id != IGNORE_LABEL]
        return said[0] if len(set(said)) == 1 else None

    def name(self, class_id: int) -> str:
        """What messages call a class."""
        if class_id < 0:
            return "of no class"
        return "ignored" if class_id == IGNORE_LABEL else self.label_map.names[class_id]

    def ids_of_values(self, values: np.ndarray) -> np.ndarray:
        """The class id of each of some whole numbers, -1 where there is none."""
        return np.array([self.all_values.get(int(value), -1) for value in values], np.int64)

    @functools.cached_property
    def has_ambiguous_grays(self) -> bool:
        """Whether the label map has a gray that as a value is another class."""
        grays = {label.color[0]: label.id for label in self.label_map.root if len(set(label.color)) == 1}
        return any(self.values.get(gray, class_id) != class_id for gray, class_id in grays.items())

    @functools.cached_property
    def _sorted_colors(self) -> tuple[np.ndarray, np.ndarray]:
        colors = packed(np.array([label.color for label in self.label_map.root]))
        order = np.argsort(colors)
        return colors[order], np.array([label.id for label in self.label_map.root])[order]

    def ids_of_colors(self, colors: np.ndarray) -> np.ndarray:
        """The class id of each of some packed colors, -1 where there is none."""
        known, ids = self._sorted_colors
        found = np.minimum(np.searchsorted(known, colors), len(known) - 1)
        return np.where(known[found] == colors, ids[found], -1)


def packed(colors: np.ndarray) -> np.ndarray:
    """Colors [..., 3] as one int32 number each; -1 for what is no color."""
    red, green, blue = (colors[..., channel].astype(np.int32) for channel in range(3))
    return red << 16 | green << 8 | blue


class MaskOptions(Section):
    """The options of a format whose masks hold ids or colors.

    Attributes:
      classes: class names, in the order of the ids in the masks.
      labels: a file with names and colors instead of --classes, such as labels.yaml, CVAT's labelmap.txt, a CSV or JSON
        file; it may also say which values of the masks each class has, and which are ignored, in entries such as
        {name: road, value: [4, 7]} and {ignore: [0]}.
      foreground: the value that means the second of two classes, such as 255 in masks of 0 and 255.
      masks_hold: what counts where masks could be read both by values (or a palette's indices) and by colors.
      transparent: the class of transparent pixels, or "ignore"; without it such masks are set aside.
      nearest: read values or colors of no class, as JPEG and smoothing leave them, as the nearest that is one;
        conversion.json counts the pixels.
    """

    on_ignored: ClassVar[str] = (
        "255 in masks is ignored unless it is a class's, by --foreground 255 or by value: 255 in a labels.yaml, and so "
        "is what the labels.yaml or --transparent says to ignore"
    )

    classes: ClassNames = ()
    labels: LabelMapFile | None = pydantic.Field(None, title="FILE")
    foreground: int | None = pydantic.Field(None, ge=1, title="VALUE")
    masks_hold: Kind = "auto"
    transparent: str | None = pydantic.Field(None, title="CLASS")
    nearest: bool = False

    @pydantic.model_validator(mode="after")
    def _check_options(self) -> MaskOptions:
        if bool(self.classes) == bool(self.labels):
            raise ValueError("needs --classes with the names of the classes, or --labels with a labels.yaml")
        if self.foreground is not None and len(self.label_map) != 2:  # Which says what is wrong with the names.
            raise ValueError(
                f"--foreground is for two classes, and there are {len(self.label_map)}; give values in a labels.yaml, "
                "such as {id: 1, name: road, value: 255}"
            )
        if self.transparent not in (None, "ignore", *self.label_map.names):
            raise ValueError(f"--transparent takes ignore, or a class: {', '.join(self.label_map.names)}")
        return self

    @functools.cached_property
    def label_map(self) -> LabelMap:
        return self.labels.label_map if self.labels else LabelMap.from_names(self.classes)

    @functools.cached_property
    def meaning(self) -> Meaning:
        """What the options say about the masks."""
        labels = self.labels or MaskLabels.of(self.label_map, has_colors=False)
        values = labels.values
        if self.foreground is not None:
            values = {value: class_id for value, class_id in values.items() if class_id != 1} | {self.foreground: 1}
        transparent = None
        if self.transparent is not None:
            names = self.label_map.names
            transparent = IGNORE_LABEL if self.transparent == "ignore" else names.index(self.transparent)
        return Meaning(
            label_map=self.label_map,
            values=values,
            has_colors=labels.has_colors,
            kind=self.masks_hold,
            foreground=self.foreground,
            transparent=transparent,
            nearest=self.nearest,
        )
