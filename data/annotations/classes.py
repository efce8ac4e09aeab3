"""Which classes are learned from the names that annotations have: selected, merged and put in order by `--classes`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

import pydantic
import yaml

from data.base.errors import UserError, did_you_mean, explain
from data.base.section import Section
from data.contract import IGNORE_LABEL
from data.label_map import Kind, LabelMap, distinct_colors

BACKGROUND = "background"
# What tools call pixels of no object, and those that do not count.
_BACKGROUNDS = ("background", "_background_", "__background__")
_IGNORED = ("__ignore__", "ignore", "void", "unlabeled")


def is_background(name: str) -> bool:
    """Whether a class is that of pixels of no object, by its name."""
    return name.casefold() in _BACKGROUNDS


@dataclasses.dataclass(frozen=True)
class Category:
    """A class as the annotations name it.

    Attributes:
      name: its name.
      color: red, green and blue, if they say.
      kind: whether it has objects, if they say.
    """

    name: str
    color: tuple[int, int, int] | None = None
    kind: Kind | None = dataclasses.field(default=None, kw_only=True)


@dataclasses.dataclass(frozen=True)
class ChosenClasses:
    """The classes that are learned.

    Attributes:
      label_map: the classes.
      ids: the class id of each name that annotations have; 255 for "ignore".
      background: the class id of pixels of no object; 255 for "ignore".
    """

    label_map: LabelMap
    ids: Mapping[str, int]
    background: int


def _parse(value: Any) -> Any:
    """`car, vehicle: [truck, bus]` as pairs of a class and the names that are merged in it."""
    if not isinstance(value, str):
        return value
    try:
        entries = yaml.load(f"[{value}]", yaml.BaseLoader)  # For which all values are text.
    except yaml.YAMLError as error:
        raise ValueError(f"takes names with commas, such as 'person, vehicle: [car, truck]': {error}") from None
    chosen: list[tuple[str, tuple[str, ...]]] = []
    for entry in entries:
        for name, merged in entry.items() if isinstance(entry, dict) else [(entry, entry)]:
            names = merged if isinstance(merged, list) else [merged]
            if not all(isinstance(one, str) and one for one in (name, *names)):
                raise ValueError("takes names, and merges them as in 'person, vehicle: [car, truck]'")
            chosen.append((name, tuple(names)))
    return tuple(chosen)


# Classes in the order of their ids, each with the names in the annotations that belong to it.
ClassChoice = Annotated[
    tuple[tuple[str, tuple[str, ...]], ...],
    pydantic.BeforeValidator(_parse),
    pydantic.Field(title="'A, B: [C, D], …'"),
]


class ClassOptions(Section):
    """The options of a format whose files name the classes.

    Attributes:
      classes: the classes to learn, in the order of their ids, by the names in the annotations; names in brackets
        become one class, as in 'person, vehicle: [car, truck, bus]'. By default all of them, with pixels of no object
        as background.
      others: what becomes of the classes that --classes leaves out.
    """

    on_missing_class: ClassVar[str] = "--classes leaves classes out, or merges them as in 'vehicle: [car, truck]'"
    on_ignored: ClassVar[str] = (
        "they are what the annotations mark so, or of classes that --classes leaves out with --others ignore, of which "
        "--others background makes background"
    )

    classes: ClassChoice = ()
    others: Literal["background", "ignore"] = "background"

    def choose(self, categories: Sequence[Category], has_background: bool = True) -> ChosenClasses:
        """The classes that are learned.

        Args:
          categories: those of the annotations, in their order; equal names are one.
          has_background: whether pixels may belong to no object, so that a class for these is needed.

        Raises:
          UserError: if --classes names a class that there is not or names one twice, or there are too few or too many.
        """
        known = {category.name: category.color for category in categories}
        ignored = [name for name in known if name.casefold() in _IGNORED]
        backgrounds = [name for name in known if is_background(name)]
        chosen = dict(self.classes) or {
            name: (name,) for name in known if name not in ignored and name not in backgrounds
        }
        self._check(chosen, known)
        names = list(chosen)
        needs_background = has_background or bool(backgrounds) or (bool(self.classes) and self.others == BACKGROUND)
        if needs_background and BACKGROUND not in names:
            names.insert(0, BACKGROUND)
        if len(names) > IGNORE_LABEL:
            raise UserError(
                f"{len(names)} classes are too many: there may be {IGNORE_LABEL}; select or merge some with --classes"
            )
        if len(names) < 2:
            raise UserError(f"there is only one class, {', '.join(names)}, and at least two are needed")
        background = names.index(BACKGROUND) if BACKGROUND in names else IGNORE_LABEL
        other = background if self.others == BACKGROUND else IGNORE_LABEL
        ids = dict.fromkeys(known, other) | dict.fromkeys(backgrounds, background)
        ids |= dict.fromkeys(ignored, IGNORE_LABEL)
        ids |= {name: names.index(target) for target, merged in chosen.items() for name in merged}
        kinds = {category.name: category.kind for category in categories}
        return ChosenClasses(_label_map(names, chosen, known, kinds), ids, background)

    def _check(self, chosen: Mapping[str, Sequence[str]], known: Mapping[str, Any]) -> None:
        if len(chosen) < len(self.classes):
            raise UserError("--classes: each class may occur only once")
        owners: dict[str, str] = {}
        for target, merged in chosen.items():
            for name in merged:
                if name not in known and target != BACKGROUND:
                    guess = did_you_mean(name, known)
                    raise UserError(f"--classes: there is no class {name}{guess}; there are {', '.join(known)}")
                if owners.setdefault(name, target) != target:
                    raise UserError(f"--classes: {name} belongs to {owners[name]} and to {target}")


def _label_map(
    names: Sequence[str],
    chosen: Mapping[str, Sequence[str]],
    known: Mapping[str, tuple[int, int, int] | None],
    kinds: Mapping[str, Kind | None],
) -> LabelMap:
    """The classes, with their own colors where all have different ones, and the kind that all merged in one have."""
    own = [next((known.get(name) for name in chosen.get(target, ())), None) for target in names]
    if BACKGROUND in names and (place := names.index(BACKGROUND)) is not None and own[place] is None:
        own[place] = (0, 0, 0)
    is_usable = None not in own and len(set(own)) == len(own)
    colors = own if is_usable else distinct_colors(len(names))
    labels = zip(names, colors, strict=True)
    values = [
        {"id": index, "name": name, "color": color, "kind": of_merged.pop() if len(of_merged) == 1 else None}
        for index, (name, color) in enumerate(labels)
        for of_merged in [{kinds.get(one) for one in chosen.get(name, ())}]
    ]
    try:
        return LabelMap.model_validate(values)
    except pydantic.ValidationError as error:  # Of names that no file can hold.
        raise UserError(explain(error, "the list of classes")) from None
