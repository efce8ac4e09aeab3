"""Folders that stand for splits: which split a path belongs to."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable

_WORDS = {
    "train": ("train", "training"),
    "eval": ("eval", "evaluation", "val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
_SPLITS = {word: split for split, words in _WORDS.items() for word in words}
_SHORT = ("tr", "va", "vl", "ev", "te", "ts")
_YEAR = re.compile(r"(.+?)[-_ ]?(?:19|20)\d\d")
# Part of a name that may speak of a split, such as in train_old, test2, ValSet, holdout and fold1.
_LIKE_A_SPLIT = re.compile(
    r"(train(ing|val)?|trn|val(id(ation|ate)?)?|eval(uation)?|dev(el(opment)?)?|test(ing)?|tst|hold(out)?|heldout|"
    r"fold|kfold|cv|split)s?(set|data|split|fold|images?|imgs?|masks?|labels?)?s?"
)


@dataclasses.dataclass(frozen=True)
class Placing:
    """What the folders of a name say about its split.

    Attributes:
      split: the split, or an empty string if no folder stands for one.
      rest: the name without the folders that stand for a split.
      doubtful: a folder that may stand for a split, but nobody knows which; otherwise an empty string.
    """

    split: str
    rest: str
    doubtful: str = ""


def split_of_word(word: str) -> str:
    """The split that a folder of this name stands for, such as `eval` for `Val` or `val2017`, or an empty string."""
    word = word.casefold()
    if year := _YEAR.fullmatch(word):
        word = year[1]
    return _SPLITS.get(word, "")


def looks_like_split(word: str) -> bool:
    """Whether a folder's name may mean a split without being one of the known words."""
    parts = re.findall(r"[^\W\d_]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", word))
    return any(_LIKE_A_SPLIT.fullmatch(part.casefold()) for part in [*parts, "".join(parts)])


def short_splits(words: Iterable[str]) -> list[str]:
    """Folders named `tr`, `va`, `te` and the like, if there are several; one alone may mean anything."""
    found = sorted({word for word in words if word.casefold() in _SHORT})
    return found if len({word.casefold() for word in found}) > 1 else []


def placing(name: str) -> Placing:
    """Reads the folders of a name.

    The outermost folder that stands for a split decides, unless one further in stands for another; what is above it
    may leave it in doubt, as `fold1/train` does, and what is below it may have any name.

    Args:
      name: path of an example within a data set, its parts separated by `/`.
    """
    *folders, file = name.split("/")
    splits = [split_of_word(folder) for folder in folders]
    known = next((split for split in splits if split), "")
    rest = "/".join([*(folder for folder, split in zip(folders, splits, strict=True) if not split), file])
    above = folders[: splits.index(known)] if known else folders
    doubtful = next((folder for folder in above if looks_like_split(folder)), "")
    if len({split for split in splits if split}) > 1:
        doubtful = "/".join(folder for folder, split in zip(folders, splits, strict=True) if split)
    return Placing(known, rest, doubtful)
