"""Spans, as TFX calls them: numbered folders of data that arrived one after another."""

from __future__ import annotations

import dataclasses
import datetime
import glob
from collections.abc import Iterable

from data.base.errors import UserError
from data.base.files import exists, find_folders, join
from data.contract import LABEL_MAP_FILE, REPORT_FILE
from data.label_map import LabelMap

SPAN = "{SPAN}"
# Custom property of the Examples: the folders that they came from, by split, as JSON.
INPUTS_PROPERTY = "inputs"
# A split that a window adds to those of the data contract: the test examples of the newest span, beside the fixed ones.
NEWEST_SPLIT = "newest"


@dataclasses.dataclass(frozen=True)
class Window:
    """Which spans a run takes.

    Attributes:
      train: numbers of the spans whose train and eval splits are used, oldest first.
      test: the span whose test split decides, in every run.
      newest: the largest number; its test split is measured separately.
    """

    train: tuple[int, ...]
    test: int
    newest: int


def parse_span(text: str) -> int:
    """The number of a span: 0 and above, or a date, `2026-11-23` for 20261123.

    Raises:
      UserError: if it is neither.
    """
    if text.isascii() and text.isdigit():
        return int(text)
    try:
        return int(f"{datetime.date.fromisoformat(text):%Y%m%d}")
    except ValueError:
        raise UserError(f"--span {text}: takes a number, or a date such as 2026-11-23") from None


def span_path(pattern: str, number: int) -> str:
    """The folder of a span, which may not exist yet."""
    try:
        return find_spans(pattern).get(number) or pattern.replace(SPAN, str(number))
    except UserError:
        return pattern.replace(SPAN, str(number))


def spans_beside(pattern: str, number: int, label_map: LabelMap) -> bool:
    """Whether there are other spans; then this one need not have examples of each split.

    Raises:
      UserError: if the newest of them has other classes.
    """
    try:
        others = [path for other, path in find_spans(pattern).items() if other != number]
    except UserError:
        return False
    newest = next((path for folder in reversed(others) if exists(path := join(folder, LABEL_MAP_FILE))), None)
    if newest and (names := LabelMap.load(newest).names) != label_map.names:
        raise UserError(
            f"{newest} has the classes {', '.join(names)}; this data has {', '.join(label_map.names)}. Spans that are "
            "trained on together need the same classes in the same order"
        )
    return bool(others)


def converted_beside(pattern: str, number: int) -> str:
    """The newest of the other spans that a conversion made; empty if there is none.

    Args:
      pattern: path that contains `{SPAN}` once.
      number: of this span.
    """
    try:
        others = [path for other, path in find_spans(pattern).items() if other != number]
    except UserError:
        return ""
    return next((folder for folder in reversed(others) if exists(join(folder, REPORT_FILE))), "")


def find_spans(pattern: str) -> dict[int, str]:
    """The folders that stand for spans.

    Args:
      pattern: path that contains `{SPAN}` once.

    Returns:
      Paths by number, ascending. Folders with anything but a number in place of `{SPAN}` are ignored.

    Raises:
      UserError: if there is none, or two have the same number.
    """
    before, after = pattern.rstrip("/").split(SPAN)
    found: dict[int, str] = {}
    for path in find_folders(glob.escape(before) + "*" + glob.escape(after)):
        text = path[len(before) : len(path) - len(after)]
        if not (text.isascii() and text.isdigit()):
            continue
        if int(text) in found:
            raise UserError(f"{found[int(text)]} and {path} are the same span; rename or remove one of them")
        found[int(text)] = path
    if not found:
        raise UserError(f"no folder matches {pattern}; `segpipe convert --span` makes them")
    return dict(sorted(found.items()))


def choose_window(spans: Iterable[int], size: int | None, test: int | None = None, newest: int | None = None) -> Window:
    """Chooses from the existing spans.

    Args:
      spans: their numbers.
      size: how many of the newest ones to train on; 0 or None for all.
      test: the span that provides the test split; by default the oldest.
      newest: ignore newer spans than this; by default none are ignored.

    Raises:
      UserError: if a span that was asked for does not exist.
    """
    numbers = sorted(spans)
    for name, number in (("the newest span asked for", newest), ("data.test_span", test)):
        if number is not None and number not in numbers:
            shown = ", ".join(map(str, numbers[-10:]))
            raise UserError(f"{name} is {number}, but there is no such span; the newest are {shown}")
    if newest is not None:
        numbers = [number for number in numbers if number <= newest]
    train = numbers[-size:] if size else numbers
    return Window(tuple(train), numbers[0] if test is None else test, numbers[-1])
