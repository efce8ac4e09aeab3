"""What is noticed while files are read, for decisions that no single file allows.

Whether a palette's indices are class ids, or whether all images have the same bands, only shows when all files of a
data set have been read. Whoever decodes a file notes what it saw; the conversion adds the notes up, judges them
(`data.consistency`) and keeps them in its report.
"""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
from collections.abc import Iterator
from typing import Any

_CURRENT: contextvars.ContextVar[tuple[Notes, str, str] | None] = contextvars.ContextVar("notes", default=None)


@dataclasses.dataclass
class Notes:
    """Notes of any number of inputs.

    Attributes:
      counts: how many inputs each thing was noticed in, or how many of it were.
      first: the first input, in the order of their names, that each thing was noticed in.
    """

    counts: dict[str, int] = dataclasses.field(default_factory=dict)
    first: dict[str, str] = dataclasses.field(default_factory=dict)

    def add(self, other: Notes) -> None:
        """Adds the notes of other inputs."""
        for kind, count in other.counts.items():
            self.counts[kind] = self.counts.get(kind, 0) + count
        for kind, name in other.first.items():
            self.first[kind] = min(name, self.first.get(kind, name))

    def of_kinds(self, prefix: str) -> Notes:
        """The counts of kinds whose names begin with `prefix`."""
        kinds = [kind for kind in self.counts if kind.startswith(prefix)]
        return Notes({kind: self.counts[kind] for kind in kinds}, {kind: self.first[kind] for kind in kinds})

    def to_json(self) -> dict[str, Any]:
        """What `from_json` reads."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Notes:
        """Reads what `to_json` returned, and JSON made of that."""
        return cls(value["counts"], value["first"])


@contextlib.contextmanager
def collecting(image: str, mask: str = "") -> Iterator[Notes]:
    """Collects what is noted inside the `with` block about an image, and about its mask if that is another file."""
    notes = Notes()
    token = _CURRENT.set((notes, image, mask or image))
    try:
        yield notes
    finally:
        _CURRENT.reset(token)


def note(kind: str, amount: int = 1) -> None:
    """Notes a thing about the input that is being read, once; outside of `collecting`, does nothing.

    Kinds of things that begin with "mask" are noted about the mask.
    """
    if current := _CURRENT.get():
        notes, image, mask = current
        name = mask if kind.startswith("mask") else image
        notes.add(Notes({kind: 0 if kind in notes.counts else amount}, {kind: name}))
