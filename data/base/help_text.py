"""The help that a section's docstring holds: what it is, and what each of its keys means."""

from __future__ import annotations

import docstring_parser

from data.base.section import Section


def summary(section: type[Section]) -> str:
    """The first line of the docstring."""
    return docstring_parser.parse(section.__doc__ or "").short_description or ""


def description(section: type[Section]) -> str:
    """The paragraphs between the first line of the docstring and its `Attributes:`."""
    return docstring_parser.parse(section.__doc__ or "").long_description or ""


def key_help(section: type[Section]) -> dict[str, str]:
    """The help of each key, by name, from the `Attributes:` of the section and of those that it derives from."""
    found: dict[str, str] = {}
    for base in reversed(section.__mro__):
        if issubclass(base, Section):
            for entry in docstring_parser.parse(base.__dict__.get("__doc__") or "").params:
                found[entry.arg_name] = " ".join((entry.description or "").split())
    return found
