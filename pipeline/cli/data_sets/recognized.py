"""Says what a folder is taken for, and why: for all commands that are given one without its format."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click

from data.contract import SPLITS
from pipeline.cli.common import program
from pipeline.cli.data_sets.formats import as_options, given, unreadable

if TYPE_CHECKING:
    from data.formats import Reader
    from data.inspection.recognize import Recognized

_PROGRESS_SECONDS = 5.0
_MOST_CLASSES = 20


def recognized(
    source: str,
    options: Mapping[str, Any],
    chosen: tuple[str, type[Reader]] | None = None,
    is_addition: bool = False,
) -> Recognized:
    """Recognizes a folder, and prints what it is taken for.

    Args:
      source: the folder.
      options: those of formats; None if they were not typed.
      chosen: name and reader of the format, if the user said it.
      is_addition: it is added to data that is there already.

    Raises:
      UserError: if it is not recognized, or not with these options.
    """
    import pydantic

    from data.inspection.recognize import recognize

    try:
        found = recognize(source, progress(), given(options), chosen, is_addition)
    except pydantic.ValidationError as error:
        raise unreadable(error, source) from None
    click.echo(f"{found.folder} is read as --format {found.format}:")
    for reason in found.reasons:
        click.echo(f"  {reason}")
    names = found.label_map.names
    others = f", … and {len(names) - _MOST_CLASSES} others" if len(names) > _MOST_CLASSES else ""
    click.echo(f"  classes: {', '.join(names[:_MOST_CLASSES])}{others}")
    click.echo(f"  splits: {', '.join(f'{found.count(split)} {split}' for split in SPLITS)}")
    if found.assumptions:
        click.echo("Assumed:")
        for assumption in found.assumptions:
            click.echo(f"  {assumption}")
    return found


def conversion(found: Recognized, destination: str, labels_path: str | None = None) -> list[str]:
    """The command that converts a folder in this way, whatever is added to it later.

    Args:
      found: what the folder is.
      destination: folder for the TFRecords.
      labels_path: file with the classes, if they are an option.
    """
    options = {**found.options, **({"labels": labels_path} if labels_path else {})}
    return [program(), "convert", "--format", found.format, *as_options(options), found.folder, destination]


def progress() -> Callable[[str, int, int], None]:
    """Tells every few seconds how many files are done, and of how many if that is known and not 0."""
    last = time.monotonic()

    def show(what: str, done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last > _PROGRESS_SECONDS:
            last = time.monotonic()
            of_all = f" of {total:,}" if total else ""
            click.echo(f"{done:,}{of_all} {what} looked at", file=sys.stderr)

    return show
