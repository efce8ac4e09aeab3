import pathlib

import pytest

from data.base.errors import UserError
from pipeline.records.metadata import sqlite_database
from pipeline.records.runs import load_runs


@pytest.mark.parametrize("content", [b"", b"this is no database" * 1000])
def test_a_damaged_metadata_file_is_named_with_the_remedy(tmp_path, content):
    path = pathlib.Path(tmp_path, "metadata.sqlite")
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"metadata.sqlite cannot be used.*\nIf the file is damaged, move it"):
        load_runs(sqlite_database(str(path)))


def test_no_run_yet_says_how_to_start_one(tmp_path):
    with pytest.raises(UserError, match=r"no run yet: .* `segpipe run`"):
        load_runs(sqlite_database(str(tmp_path / "metadata.sqlite")))
