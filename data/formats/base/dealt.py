"""The splits of a format's images: as the data set states them, or dealt by a stable hash of names or groups."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import pydantic

from data.base.section import Section
from data.formats.base.reader import Source
from data.listing.dealing import Dealt, check_groups, shares_that_work, stated_splits, working_split
from data.listing.groups import Pattern, groups_by_pattern, groups_of_table
from data.listing.split_folders import placing
from data.splits import DEFAULT_SHARES, Shares, split_of


class SplitOptions(Section):
    """The options of a format whose images may be dealt to the splits.

    Attributes:
      split: share of each split, by a stable hash of each name or group, such as train=0.8,eval=0.1,test=0.1, which is
        the default where the data set has no splits of its own. Where it has, the images of the splits that are named
        here are dealt anew, and others stay: train=0.9,eval=0.1 divides what is train and leaves test as it is.
      group_by: a regular expression; images in whose names (with subfolders, without those of splits) its first
        parentheses, or else all of it, match the same text are of one group, such as a patient, and in one split.
      groups: a CSV file and its column that has the group of each image; another column names the images.
    """

    split: Shares | None = pydantic.Field(None, title="SHARES")
    group_by: Pattern = pydantic.Field("", title="REGEX")
    groups: str = pydantic.Field("", title="FILE:COLUMN")

    @pydantic.model_validator(mode="after")
    def _check_groups(self) -> SplitOptions:
        if self.group_by and self.groups:
            raise ValueError("takes --group-by or --groups, not both")
        if self.groups and not all(self.groups.rpartition(":")):
            raise ValueError(f"--groups {self.groups}: name the column too, as in --groups patients.csv:patient")
        return self

    def stated_splits(self, paths: Mapping[str, str], stated: Mapping[str, str] | None = None) -> dict[str, str]:
        """The images on whose split the data set decides, and which --split does not deal anew.

        Args:
          paths: path of each image by its name, in which folders may stand for splits.
          stated: the split that a list of the data set states, by name; folders decide on other names.

        Raises:
          UserError: if it is doubtful which split an image belongs to.
        """
        return stated_splits(paths, self.split, stated)

    def deal(self, sources: Sequence[Source], stay: Mapping[str, str], folder: str) -> list[Source]:
        """The sources with their splits and, where an option says so, their groups.

        Args:
          sources: the examples; `stated_split` is what the data set says.
          stay: the splits that stay, by name, as `stated_splits` returns them.
          folder: the data set, to which the files in a table of groups are relative.

        Raises:
          UserError: if groups cannot be found, or are in two splits.
        """
        paths = {source.source_id: source.image for source in sources}
        groups = self._groups(paths, folder) or {source.source_id: source.group for source in sources if source.group}
        splits = {
            name: stay.get(name) or split_of(groups.get(name, name), self.split or DEFAULT_SHARES) for name in paths
        }
        check_groups(splits, groups, paths)
        return [
            dataclasses.replace(source, split=splits[source.source_id], group=groups.get(source.source_id, ""))
            for source in sources
        ]

    def _groups(self, paths: Mapping[str, str], folder: str) -> dict[str, str]:
        if self.group_by:
            return groups_by_pattern(self.group_by, {name: placing(name).rest for name in paths})
        if self.groups:
            start = len(folder.rstrip("/")) + 1
            return groups_of_table(self.groups, {name: path[start:] for name, path in paths.items()})
        return {}

    def fill_splits(self, sources: list[Source]) -> str:
        """What to do if these examples leave a split empty; the end of a message."""
        return shares_that_work(_dealt(sources), self.split)

    def working_split(self, sources: list[Source]) -> dict[str, float]:
        """Shares for the option `split` with which these examples leave no split empty.

        Raises:
          ValueError: if there are too few examples.
        """
        return working_split(_dealt(sources), self.split)


def _dealt(sources: Sequence[Source]) -> dict[str, Dealt]:
    return {source.source_id: Dealt(source.group or source.source_id, source.stated_split) for source in sources}
