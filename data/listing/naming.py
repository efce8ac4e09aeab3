"""How the names of masks differ from those of their images: `a.jpg` and `a_mask.png`."""

from __future__ import annotations

import collections
import dataclasses
import os
import random
import re
import shlex
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Annotated

import pydantic

from data.listing.items import image_stem

# Masks that are looked at to find the pattern; each of its candidates is then tried on all.
_SAMPLED = 200
_CANDIDATES = 8


def _check_affix(affix: str) -> str:
    if "/" in affix:
        raise ValueError("is part of a file's name, without folders")
    if stem := image_stem(affix):
        raise ValueError(f"is given without the extension: {stem}")
    return unicodedata.normalize("NFC", affix)


# A prefix or suffix of names.
Affix = Annotated[str, pydantic.AfterValidator(_check_affix), pydantic.Field(title="TEXT")]


@dataclasses.dataclass(frozen=True)
class Affixes:
    """What surrounds the common part of a file's name, without its folder and extension."""

    prefix: str = ""
    suffix: str = ""

    def __bool__(self) -> bool:
        return bool(self.prefix or self.suffix)

    def cut(self, name: str) -> str:
        """The name without them, its folder kept; an empty string if it lacks one of them."""
        folder, slash, stem = name.rpartition("/")
        if not (stem.startswith(self.prefix) and stem.endswith(self.suffix)):
            return ""
        core = stem[len(self.prefix) : len(stem) - len(self.suffix)]
        return f"{folder}{slash}{core}" if core else ""

    def add(self, name: str) -> str:
        """The name with them."""
        folder, slash, stem = name.rpartition("/")
        return f"{folder}{slash}{self.prefix}{stem}{self.suffix}"


@dataclasses.dataclass(frozen=True)
class Naming:
    """How images and masks are named.

    Attributes:
      images: what the names of images have in addition to those of the examples.
      masks: likewise for masks.
    """

    images: Affixes = Affixes()
    masks: Affixes = Affixes()

    def options(self) -> str:
        """The options of `segpipe convert` that say so."""
        values = {
            "--image-prefix": self.images.prefix,
            "--image-suffix": self.images.suffix,
            "--mask-prefix": self.masks.prefix,
            "--mask-suffix": self.masks.suffix,
        }
        return " ".join(f"{flag} {shlex.quote(value)}" for flag, value in values.items() if value)

    def describe(self) -> str:
        """The same in words: the masks' names end in `_mask`."""
        facts = [
            f"the {kind}' names {verb} {value}"
            for kind, affixes in (("images", self.images), ("masks", self.masks))
            for verb, value in (("begin with", affixes.prefix), ("end in", affixes.suffix))
            if value
        ]
        return " and ".join(facts)


def find_naming(images: Sequence[str], masks: Sequence[str]) -> Naming | None:
    """How the names of masks differ from those of images, if most images have a mask that way.

    Args:
      images: names without extensions, with folders.
      masks: likewise; the same names if both kinds lie in the same folders.
    """
    all_masks = set(masks)
    is_one_folder = set(images) == all_masks
    best: tuple[int, int, int, Naming] | None = None
    for of_images in [*_affixes_of_all(images), *(_frequent_affixes(images) if is_one_folder else [])]:
        cores = {core for name in images if (core := of_images.cut(name))}
        for of_masks in _affixes_around(cores, masks, is_one_folder):
            # Numbers that differ in leading zeros are no pattern.
            if of_masks == of_images or of_masks.prefix[-1:].isdigit() or of_masks.suffix[:1].isdigit():
                continue
            paired = sum(of_masks.add(core) in all_masks for core in cores)
            naming = Naming(of_images, of_masks)
            # Of several kinds of masks, ids of classes are likelier meant than pictures of them.
            is_labels = bool(re.search("label|mask|seg", f"{of_masks.prefix}{of_masks.suffix}", re.IGNORECASE))
            rank = (paired, -len(naming.options().split("--")), int(is_labels), naming)
            if best is None or rank[:3] > best[:3]:
                best = rank
    # Half of the names are masks where both lie in the same folders.
    expected = len(images) / 2 if is_one_folder else len(images)
    return best[3] if best and best[0] > expected / 2 else None


def _affixes_of_all(names: Sequence[str]) -> Iterator[Affixes]:
    """What all names may have in common at their beginning, their end, or both; first of all nothing."""
    stems = [name.rpartition("/")[2] for name in names]
    prefix = re.match(r".*[^0-9]|", _common_start(stems), re.DOTALL)
    suffix = re.search(r"[_\-. ].*|$", _common_start([stem[::-1] for stem in stems])[::-1], re.DOTALL)
    yield Affixes()
    if suffix and suffix[0]:
        yield Affixes(suffix=suffix[0])
    if prefix and prefix[0]:
        yield Affixes(prefix=prefix[0])
    if prefix and prefix[0] and suffix and suffix[0]:
        yield Affixes(prefix[0], suffix[0])


def _frequent_affixes(names: Sequence[str]) -> list[Affixes]:
    """What many names have at their beginning or their end, up to a separator."""
    counts: collections.Counter[Affixes] = collections.Counter()
    for name in names:
        stem = name.rpartition("/")[2]
        if start := re.match(r"[^_\-. ]*[_\-. ]+", stem):
            counts[Affixes(prefix=start[0])] += 1
        if end := re.search(r"[_\-. ]+[^_\-. ]*$", stem):
            counts[Affixes(suffix=end[0])] += 1
    return [affixes for affixes, count in counts.most_common(4) if 4 * count > len(names)]


def _common_start(texts: Sequence[str]) -> str:
    return os.path.commonprefix(list(texts))  # noqa: RUF071 - characters are meant, not parts of paths.


def _affixes_around(cores: set[str], masks: Sequence[str], is_one_folder: bool) -> list[Affixes]:
    """What surrounds the longest of the names that occurs in each mask's name, most frequent first."""
    counts: collections.Counter[Affixes] = collections.Counter()
    for mask in random.Random(0).sample(masks, min(_SAMPLED, len(masks))):  # Not each n-th: kinds of files alternate.
        folder, slash, stem = mask.rpartition("/")
        for length in range(len(stem), 0, -1):
            found = [
                Affixes(stem[:at], stem[at + length :])
                for at in range(len(stem) - length + 1)
                if f"{folder}{slash}{stem[at : at + length]}" in cores and not (is_one_folder and length == len(stem))
            ]
            if found:
                counts.update(found)
                break
    return [affixes for affixes, _ in counts.most_common(_CANDIDATES)]
