"""How choices become a file: YAML with the reasons beside the values."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

from pipeline.planning.choice import Choice

_COLUMN = 34
_WIDTH = 120
_NARROWEST = 30


def lay_out(choices: Iterable[Choice]) -> list[str]:
    """Lines with a blank line between sections, and reasons in a column of their own."""
    laid: list[str] = []
    above: list[str] = []
    for choice in choices:
        *sections, _ = choice.key.split(".")
        shared = 0
        while shared < min(len(above), len(sections)) and above[shared] == sections[shared]:
            shared += 1
        if sections and not shared:
            laid.append("")
        laid += [f"{'  ' * depth}{sections[depth]}:" for depth in range(shared, len(sections))]
        above = sections
        laid += _with_reason(f"{'  ' * len(sections)}{choice.in_yaml}", choice.reason)
    return laid


def _with_reason(text: str, reason: str) -> list[str]:
    if not reason:
        return [text]
    column = max(_COLUMN, len(text) + 2)
    if column > _WIDTH - _NARROWEST:  # A long path, such as that of the data: its reason goes above it.
        indent = " " * (len(text) - len(text.lstrip()))
        return [*(f"{indent}# {part}" for part in textwrap.wrap(reason, _WIDTH - len(indent) - 2)), text]
    first, *others = textwrap.wrap(reason, _WIDTH - column - 2)
    return [f"{text.ljust(column)}# {first}", *(f"{' ' * column}# {part}" for part in others)]
