"""Which format does a folder have? One must recognize it, and no other that does not give way to it."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

from data.base.errors import UserError
from data.contract import LABEL_MAP_FILE, SPLITS
from data.formats import FORMATS, Reader, Recognition
from data.inspection.other_tools import other_tool
from data.listing.items import EXTENSIONS, LEFT_BY_TOOLS


def which_format(folder: str, files: Sequence[str]) -> tuple[str, Recognition]:
    """The format that recognizes a folder, and why.

    Args:
      folder: the data set.
      files: paths of all files in it, relative.

    Raises:
      UserError: if none does, or several do; says what was looked for and what was found.
    """
    for is_fallback in (False, True):
        asked = {name: reader for name, reader in FORMATS.items() if reader.is_fallback == is_fallback}
        answers = {name: reader.recognize(folder, list(files)) for name, reader in asked.items()}
        found = {name: answer for name, answer in answers.items() if answer is not None}
        taken = {name: one for name, one in found.items() if not found.keys() & set(FORMATS[name].gives_way_to)}
        if len(taken) > 1:
            raise UserError(_ambiguous(folder, taken))
        for name, recognition in taken.items():
            others = (_also(other, one) for other, one in found.items() if other != name)
            return name, dataclasses.replace(recognition, assumptions=(*recognition.assumptions, *others))
    raise UserError(_unknown(folder, files))


def check_options(name: str, reader: type[Reader], given: Mapping[str, Any], folder: str) -> None:
    """Raises a UserError if an option was given that a format lacks; names the formats that have it.

    Args:
      name: of the format.
      reader: of the format.
      given: the options, by field.
      folder: what was recognized as this format.
    """
    for key in given:
        if key not in reader.model_fields:
            owners = [owner for owner, other in FORMATS.items() if key in other.model_fields]
            raise UserError(
                f"--{key.replace('_', '-')} is an option of --format {', '.join(owners)}, but {folder} is "
                f"recognized as --format {name}"
            )


def _also(name: str, recognition: Recognition) -> str:
    return f"the labels that --format {name} reads are left out: {'; '.join(recognition.reasons)}"


def _ambiguous(folder: str, found: Mapping[str, Recognition]) -> str:
    lines = [f"\n  --format {name}: {'; '.join(answer.reasons)}" for name, answer in found.items()]
    return f"{folder} is recognized as {' and as '.join(found)}; say which it is:{''.join(lines)}"


def _unknown(folder: str, files: Sequence[str]) -> str:
    if any(_is_records(file, split) for file in files for split in SPLITS):
        return (
            f"{folder} holds TFRecords, but not all that a run takes: files train*, eval* and test*, and a "
            f"{LABEL_MAP_FILE} with a line such as {{id: 0, name: road, color: [128, 64, 128]}} for each class"
        )
    looked_for = "".join(f"\n  {name}: {reader.looks_for}" for name, reader in FORMATS.items() if reader.looks_for)
    kinds = _kinds(files)
    first = {folder.partition("/")[0] for folder, _ in kinds} - {*LEFT_BY_TOOLS}
    inside = first.pop() if len(first) == 1 and len(kinds) > 1 else ""
    hint = f"\nIs {folder.rstrip('/')}/{inside} the data set? Then name that folder." if inside else ""
    if all(os.path.splitext(file)[1].lower() in EXTENSIONS for file in files):
        above = os.path.dirname(folder.rstrip("/")) or os.pardir
        hint = f"\nThese are images alone; name the folder that holds them and the labels, such as {above}.{hint}"
    if tool := other_tool(folder, files):
        hint = f"\n{tool}{hint}"
    return (
        f"{folder} is not recognized: {_summary(kinds)}.{hint}\nLooked for:{looked_for}\n"
        "`segpipe convert --format FORMAT --help` says how a format is read, and docs/extending.md how to add one."
    )


def _is_records(name: str, split: str) -> bool:
    return name.startswith(split) and (".tfrecord" in name or "-of-" in name)


def _kinds(files: Sequence[str]) -> dict[tuple[str, str], int]:
    """How many files of each kind are in each folder."""
    kinds: dict[tuple[str, str], int] = {}
    for file in files:
        folder, _, name = file.rpartition("/")
        kind = os.path.splitext(name)[1].lower() or "files without extension"
        kinds[folder, kind] = kinds.get((folder, kind), 0) + 1
    return kinds


def _summary(kinds: Mapping[tuple[str, str], int]) -> str:
    """What is in a folder, in a few words."""
    most = sorted(kinds.items(), key=lambda item: -item[1])[:4]
    listed = ", ".join(f"{count} {kind} in {folder or 'the folder itself'}" for (folder, kind), count in most)
    return f"it holds {listed}" + (" and others" if len(kinds) > len(most) else "")
