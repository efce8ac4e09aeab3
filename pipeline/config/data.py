"""Which TFRecords a run takes."""

from __future__ import annotations

import glob
import os
from typing import Annotated, Literal

import pydantic

from data.base.errors import UserError
from data.base.files import FileInfo, find, is_remote
from data.base.section import Section
from data.contract import LABEL_MAP_FILE, SPLITS
from data.input_files import InputFiles, describe_left_out, find_input_files
from data.spans import SPAN, choose_window, find_spans


class DataSettings(Section):
    """The data set.

    Attributes:
      input: folder of the TFRecords `train-*`, `eval-*` and `test-*`; `{SPAN}` in it stands for the numbers of spans.
      window: how many of the newest spans to train on; 0 for all.
      test_span: the span whose test split decides; by default the oldest there is. That of the newest span is measured
        apart.
      label_map: the label map; by default `labels.yaml` in the folder of the newest span.
      near_duplicates: what the data gate does about images of different splits that look alike: report them (`warn`),
        stop the run (`error`), or not look for them (`ignore`).
    """

    input: Annotated[str, pydantic.Field(min_length=1)]
    window: Annotated[int, pydantic.Field(ge=0)] = 0
    test_span: Annotated[int, pydantic.Field(ge=0)] | None = None
    label_map: str = ""
    near_duplicates: Literal["warn", "error", "ignore"] = "warn"

    @pydantic.field_validator("input")
    @classmethod
    def _check_input(cls, value: str) -> str:
        if "{" in value.replace(SPAN, "", 1):
            raise ValueError(f"takes one {SPAN} and no other braces; rename the folder, or make a link to it")
        return value.rstrip("/") or value

    def newest_input(self) -> str:
        """The input folder; of the newest span, where there are spans.

        Raises:
          UserError: if there is no such folder, a split has no files, or the name of a file leaves doubts.
        """
        folder, of_split = self._folders()
        if not is_remote(folder) and not os.path.isdir(folder):
            raise UserError(f"data.input: {folder} is not a folder; `segpipe convert` makes one from images and masks")
        for split, places in of_split.items():
            found = [_files_in(place) for place in places]
            if not any(files.of_split[split] for files in found):
                others = describe_left_out([path for files in found for path in files.left_out])
                hint = f"; it has {others}, whose names would have to begin with {split}-" if others else ""
                raise UserError(f"data.input: {', '.join(places)} has no files {split}*{hint}")
        return folder

    def input_files(self) -> list[FileInfo]:
        """The TFRecords of all splits and spans that a run takes, and the label map.

        Raises:
          UserError: if there is no span, or the name of a file leaves doubts.
        """
        folder, of_split = self._folders()
        chosen = [(split, place) for split, places in of_split.items() for place in places]
        return [
            *(file for split, place in [*chosen, ("test", folder)] for file in _files_in(place).of_split[split]),
            *find(glob.escape(self.label_map or os.path.join(folder, LABEL_MAP_FILE))),
        ]

    def files_by_split(self) -> dict[str, list[str]]:
        """Paths of the TFRecords of each split.

        Raises:
          UserError: as `newest_input`.
        """
        self.newest_input()
        _, of_split = self._folders()
        return {
            split: [file.path for place in places for file in _files_in(place).of_split[split]]
            for split, places in of_split.items()
        }

    def labeled_files(self) -> list[str]:
        """Paths of the TFRecords of all splits and all spans, whatever the window.

        Raises:
          UserError: if there is no span, or the name of a file leaves doubts.
        """
        folders = find_spans(self.input).values() if SPAN in self.input else [self.input]
        found = [_files_in(folder).of_split for folder in folders]
        return [file.path for of_split in found for files in of_split.values() for file in files]

    def notices(self) -> list[str]:
        """What a person should know about the input, one line for each folder: the files that are left out."""
        _, of_split = self._folders()
        folders = dict.fromkeys(place for places in of_split.values() for place in places)
        left_out = {folder: _files_in(folder).left_out for folder in folders}
        return [
            f"data.input: left out of {folder}, as they are of none of the splits: {describe_left_out(paths)}"
            for folder, paths in left_out.items()
            if paths
        ]

    def _folders(self) -> tuple[str, dict[str, list[str]]]:
        """The folder of the newest span, and those of each split."""
        if SPAN not in self.input:
            return self.input, {split: [self.input] for split in SPLITS}
        try:
            folders = find_spans(self.input)
            window = choose_window(folders, self.window, self.test_span)
        except UserError as error:
            raise UserError(f"data.input: {error}") from None
        of_split = {split: [folders[span] for span in window.train] for split in ("train", "eval")}
        return folders[window.newest], {**of_split, "test": [folders[window.test]]}


def _files_in(folder: str) -> InputFiles:
    try:
        return find_input_files(folder)
    except UserError as error:
        raise UserError(f"data.input: {error}") from None
