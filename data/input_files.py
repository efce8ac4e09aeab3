"""Which TFRecord files of a folder belong to which split: each to one, by its name, or to none, which is said."""

from __future__ import annotations

import dataclasses
import glob
import os
import re

from data.base.errors import UserError
from data.base.files import FileInfo, find, join
from data.contract import SPLITS

_SHOWN = 10
# What other tools call the splits. A name that holds words of two splits belongs to neither for sure.
_WORDS = {
    "train": {"train", "training"},
    "eval": {"eval", "evaluation", "val", "valid", "validation", "dev", "minival"},
    "test": {"test", "testing"},
}
_RECORDS = re.compile(r"\.(tfrecords?|tfrec|tfr|records?)\b|-\d+-of-\d+", re.IGNORECASE)
# Indexes, checksums and notes that lie beside TFRecords.
_BESIDE = re.compile(
    r"\.(txt|csv|tsv|jsonl?|ya?ml|md|html?|log|idx|index|tfindex|md5|sha\d+|crc(32c?)?|pb|pbtxt)$", re.IGNORECASE
)
_UNFINISHED = re.compile(r"\.(part|partial|tmp|temp|incomplete|crdownload|filepart)$", re.IGNORECASE)
_COPY = re.compile(r"(~|\.(bak|backup|old|orig|save)|\(\d+\)|[-_. (]copy\b.*)(\.|$)", re.IGNORECASE)
_PACKED = re.compile(r"\.(zip|tar|tgz|bz2|xz|zst|7z)$", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class InputFiles:
    """The TFRecords of a folder.

    Attributes:
      of_split: the files of each split, sorted by path; none where a split has no files.
      left_out: paths of files that are taken for another set, or for no TFRecords, sorted.
    """

    of_split: dict[str, list[FileInfo]]
    left_out: list[str]


def find_input_files(folder: str) -> InputFiles:
    """Assigns the files of a folder to the splits.

    A file belongs to a split if its name is the split's, or begins with it and `-`, `_` or `.`, or a number:
    `train-00000-of-00002`, `train_night.tfrecord`, `train.tfrecord.gz`, `train00.tfrecord`. `trainval-…` and
    `training-…` are other sets, and so is `test2-…` beside `test-…`.

    Raises:
      UserError: if the name of a file does not tell what to do with it, such as `train-val-…`; it says what to do.
    """
    sets: dict[str, list[FileInfo]] = {}
    left_out, doubts = [], []
    for file in find(join(glob.escape(folder), "*")):
        name = os.path.basename(file.path)
        begins = next((split for split in SPLITS if name.startswith(split)), None)
        if begins is None:
            left_out += [file.path] if _RECORDS.search(name) and not _BESIDE.search(name) else []
        elif _BESIDE.search(name):
            left_out.append(file.path)
        else:
            of_set = _set_of(name)
            if of_set.rstrip("0123456789") != begins:
                left_out.append(file.path)
            elif doubt := _doubt(name, begins):
                doubts.append(f"  {name}: {doubt}")
            else:
                sets.setdefault(of_set, []).append(file)
    of_split: dict[str, list[FileInfo]] = {}
    for split in SPLITS:
        numbered = [name for name in sets if name != split and name.rstrip("0123456789") == split]
        if split not in sets and len(numbered) > 1:
            doubts.append(f"  {', '.join(sorted(numbered))}: which of them is {split}? Leave one in this folder")
        chosen = split if split in sets or not numbered else numbered[0]
        of_split[split] = sets.get(chosen, [])
        left_out += [file.path for name in numbered if name != chosen for file in sets[name]]
    if doubts:
        more = [f"  … and {len(doubts) - _SHOWN} more"] if len(doubts) > _SHOWN else []
        raise UserError("\n".join([f"{folder} has files whose names leave doubts:", *doubts[:_SHOWN], *more]))
    return InputFiles(of_split, sorted(left_out))


def describe_left_out(paths: list[str]) -> str:
    """Files that are left out, in one line."""
    names = [os.path.basename(path) for path in paths]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{', '.join(names[:_SHOWN])}{more}"


def _set_of(name: str) -> str:
    """What a file's name begins with: letters, and a number where that is not the file's own."""
    letters, number, rest = re.match(r"([A-Za-z]*)(\d*)(.*)", name, re.DOTALL).groups()  # type: ignore[union-attr]
    if rest and rest[0] not in "-_. (~":  # Such as `trainé`.
        return letters + number + rest
    is_own = not rest or rest.startswith(".") or re.match(r"-of-\d", rest)
    return letters if is_own else letters + number


def _doubt(name: str, split: str) -> str:
    """Why a file that seems to belong to a split perhaps does not; "" if it does."""
    words = set(re.split(r"[-_. ]+", name.lower()))
    for other, others in _WORDS.items():
        if other != split and words & others:
            return f"is it of {split} or of {other}? Rename it, or move it out of this folder"
    if _UNFINISHED.search(name):
        return "it seems to be unfinished; wait for it, or delete it"
    if _COPY.search(name):
        return "it seems to be a copy, which would count twice; rename it, or move it out of this folder"
    if _PACKED.search(name):
        return "it seems to be an archive; unpack it, and move it out of this folder"
    return ""
