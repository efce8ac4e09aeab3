"""Which split each image of a folder goes to: by folders, or by a hash of its name or its group."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from data.base.errors import UserError
from data.contract import SPLITS
from data.listing.split_folders import Placing, placing, short_splits
from data.splits import DEFAULT_SHARES, share_text, split_of, working_shares


@dataclasses.dataclass(frozen=True)
class Dealt:
    """What decides on the split of an image.

    Attributes:
      key: what is hashed: the image's name, or its group.
      stated: the split that the data set states, or an empty string.
    """

    key: str
    stated: str = ""


_ANEW = f"--split {share_text(DEFAULT_SHARES)}"


def stated_splits(
    paths: Mapping[str, str], shares: Mapping[str, float] | None, stated: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The images on whose split the data set itself decides, by folders or lists; a hash decides on the others.

    Args:
      paths: path of each image, for messages, by its name.
      shares: of the splits that are dealt anew by hash, whatever the data set says; None to deal only where it says
        nothing.
      stated: the split that a list states, by name; folders decide on other names.

    Returns:
      Split by name; not for images that are dealt by hash.

    Raises:
      UserError: if a folder may stand for a split but nobody knows which, or if an image is in no split's folder and
        others are.
    """
    known = stated or {}
    placings = {name: Placing(known[name], name) if known.get(name) else placing(name) for name in paths}
    stay = {
        name: place.split
        for name, place in placings.items()
        if place.split and (shares is None or place.split not in shares)
    }
    if shares is not None and not stay:
        return {}
    short = short_splits(folder for name in paths if not known.get(name) for folder in name.split("/")[:-1])
    doubts = {name: place.doubtful for name, place in placings.items()}
    for name in [name for name, place in placings.items() if short and not place.split]:
        doubts[name] = doubts[name] or next((folder for folder in name.split("/")[:-1] if folder in short), "")
    if doubtful := next((name for name, doubt in doubts.items() if doubt), None):
        raise UserError(
            f"{paths[doubtful]} is in the folder {doubts[doubtful]}, which may stand for a split: rename "
            f"it to train, eval or test, or deal all images by a hash of each name with {_ANEW}"
        )
    if stay and (outside := next((name for name, place in placings.items() if not place.split), None)):
        inside = next(iter(stay))
        raise UserError(
            f"{paths[outside]} lies outside the split folders, and {paths[inside]} in one; move it and its mask into "
            f"train, eval or test, or give shares with --split, such as {_ANEW}, so that a hash of each name decides"
        )
    return stay


def check_groups(splits: Mapping[str, str], groups: Mapping[str, str], paths: Mapping[str, str]) -> None:
    """Raises a UserError if images of one group are in two splits.

    Args:
      splits: split of each image, by its name.
      groups: its group, if images have groups.
      paths: its path, for the message.
    """
    first: dict[str, str] = {}
    for name, group in groups.items():
        split = splits[name]
        other = first.setdefault(group, name)
        if splits[other] != split:
            raise UserError(
                f"the group {group} is in two splits: {paths[other]} in {splits[other]} and {paths[name]} in "
                f"{split}; move all of it into one folder, or deal all images anew, by group, with {_ANEW}"
            )


def shares_that_work(dealt: Mapping[str, Dealt], shares: Mapping[str, float] | None) -> str:
    """What to do if a split is empty: the option that fills it, with the numbers it gives.

    Args:
      dealt: the images, by name.
      shares: what --split says, or None.
    """
    present, _, names = _to_deal(dealt, shares)
    has_groups = any(name != one.key for name, one in dealt.items())
    start = f"a hash of each {'group' if has_groups else 'name'} decides, and these are few; "
    if present:  # The data set says which images are of some splits, and others are missing.
        start = f"the data set has {' and '.join(present)} only; to divide the images of train by a hash, "
    try:
        working = working_split(dealt, shares)
    except ValueError as error:
        return f"{error}; add images"
    given = [split_of(dealt[name].key, working) for name in names]
    numbers = ", ".join(f"{given.count(name)} for {name}" for name in working)
    return (
        f"{start}--split {share_text(working)} gives {numbers}. With the same shares each image stays in its split "
        "when others are added"
    )


def working_split(dealt: Mapping[str, Dealt], shares: Mapping[str, float] | None) -> dict[str, float]:
    """Shares for --split that leave no split empty.

    Args:
      dealt: the images, by name.
      shares: what --split says now, or None.

    Raises:
      ValueError: if there are too few images.
    """
    _, splits, names = _to_deal(dealt, shares)
    return working_shares([dealt[name].key for name in names], splits)


def _to_deal(dealt: Mapping[str, Dealt], shares: Mapping[str, float] | None) -> tuple[list[str], list[str], list[str]]:
    """The splits that the data set states, if train is among them; the splits to deal to; and the names to deal."""
    stay = {
        name: one.stated for name, one in dealt.items() if one.stated and (shares is None or one.stated not in shares)
    }
    if "train" not in stay.values():
        return [], list(SPLITS), list(dealt)
    present = [split for split in SPLITS if split in stay.values()]
    splits = ["train", *(split for split in SPLITS if split not in present)]
    return present, splits, [name for name in dealt if stay.get(name, "train") == "train"]
