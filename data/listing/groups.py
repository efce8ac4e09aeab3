"""What must stay in one split: images of one patient, scene, video or field."""

from __future__ import annotations

import csv
import io
import os
import unicodedata
from typing import Annotated

import pydantic
import regex

from data.base.errors import UserError
from data.base.files import read_bytes

# For one name. A pattern such as (a+)+b may take years for a name; only this package, unlike `re`, can be stopped.
_SECONDS = 1.0


def _check_pattern(pattern: str) -> str:
    try:
        regex.compile(pattern)
    except regex.error as error:
        raise ValueError(f"is not a regular expression: {error}; quote it for the shell, in '…'") from None
    return unicodedata.normalize("NFC", pattern)


# A regular expression, or an empty string.
Pattern = Annotated[str, pydantic.AfterValidator(_check_pattern)]


def groups_by_pattern(pattern: str, names: dict[str, str]) -> dict[str, str]:
    """The group of each name: what the first parentheses of a pattern match in it, or the whole match.

    Args:
      pattern: a regular expression.
      names: what it is matched with, by the name of the image.

    Raises:
      UserError: if it does not match a name, matches nothing of it, or takes too long.
    """
    groups = {}
    for name, text in names.items():
        try:
            match = regex.search(pattern, text, timeout=_SECONDS)
        except TimeoutError:
            raise UserError(
                f"--group-by {pattern} takes more than {_SECONDS:g} second for {text}; write it without repetitions "
                r"inside of repetitions, such as (\w+)+, or name the groups in a CSV file with --groups FILE:COLUMN"
            ) from None
        group = (match[1] if match.re.groups else match[0]) if match else None
        if not group:
            raise UserError(
                f"--group-by {pattern} finds no group in {text}; write it so "
                "that it matches each name, or name the groups in a CSV file with --groups FILE:COLUMN"
            )
        groups[name] = group
    return groups


def groups_of_table(place: str, files: dict[str, str]) -> dict[str, str]:
    """The group of each image, from a column of a CSV file with a header.

    Its rows name the images in another column, whichever does: by path, with or without extension, or by as much of
    the end of it as no two images share.

    Args:
      place: `FILE:COLUMN`.
      files: path of each image below SOURCE, with its extension, by its name.

    Raises:
      UserError: if the file cannot be read, has no such column, or does not name the group of each image.
    """
    path, _, column = place.rpartition(":")
    column = unicodedata.normalize("NFC", column)
    try:
        text = unicodedata.normalize("NFC", read_bytes(path).decode("utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--groups {place}: cannot read {path}: {error}") from None
    header, rows = _read(text, f"--groups {place}: {path}")
    if header.count(column) != 1:
        times = f"{header.count(column)} columns" if column in header else "no column"
        raise UserError(f"--groups {place}: {path} has {times} {column}; its columns are {', '.join(header)}")
    at = header.index(column)
    if ragged := next((row for row in rows if len(row) != len(header)), None):
        raise UserError(f"--groups {place}: a row of {path} has {len(ragged)} cells instead of {len(header)}: {ragged}")
    keys = _ways_to_write({name: unicodedata.normalize("NFC", file) for name, file in files.items()})
    found = {
        title: _groups([(keys.get(row[index].removeprefix("./"), ""), row[at]) for row in rows])
        for index, title in enumerate(header)
        if index != at
    }
    title, groups = max(found.items(), key=lambda item: len(item[1]), default=("", {}))
    if missing := next((name for name in files if name not in groups), None):
        known = f"its column {title} names {len(groups)} of {len(files)} images" if groups else "no column names images"
        raise UserError(f"--groups {place}: {path} has no row for {files[missing]} ({known}); add what is missing")
    if other := next((one for one in found if len(found[one]) == len(groups) and found[one] != groups), None):
        raise UserError(f"--groups {place}: the columns {title} and {other} of {path} both name images; delete one")
    for name, values in groups.items():
        if len(values) > 1 or not all(values):
            wrong = " and ".join(sorted(values)) if all(values) else "an empty cell"
            raise UserError(f"--groups {place}: {path} has {wrong} as {column} of {files[name]}; it takes one value")
    return {name: values.pop() for name, values in groups.items()}


def _read(text: str, name: str) -> tuple[list[str], list[list[str]]]:
    header_line = text.partition("\n")[0]
    delimiter = max(",;\t", key=header_line.count)
    try:
        rows = [[cell.strip() for cell in row] for row in csv.reader(io.StringIO(text), delimiter=delimiter) if row]
    except csv.Error as error:
        raise UserError(f"{name} is not a CSV file: {error}") from None
    if not rows:
        raise UserError(f"{name} is empty; its first line names the columns")
    return rows[0], rows[1:]


def _groups(rows: list[tuple[str, str]]) -> dict[str, set[str]]:
    groups: dict[str, set[str]] = {}
    for name, group in rows:
        if name:
            groups.setdefault(name, set()).add(group)
    return groups


def _ways_to_write(files: dict[str, str]) -> dict[str, str]:
    """The name of an image by each way to write it that no other image shares: the end of its path or of its name."""
    ways: dict[str, str] = {}
    for name, path in files.items():
        texts = [name, path, os.path.splitext(path)[0]]
        for way in {text.split("/", cut)[-1] for text in texts for cut in range(text.count("/") + 1)}:
            ways[way] = "" if way in ways else name
    return ways | {name: name for name in files}
