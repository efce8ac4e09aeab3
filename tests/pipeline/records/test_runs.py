import pathlib
import shutil

import pytest

from data.base.errors import UserError
from pipeline.records.metadata import sqlite_database
from pipeline.records.runs import claim_artifacts, load_runs


@pytest.mark.parametrize("content", [b"", b"this is no database" * 1000])
def test_a_damaged_metadata_file_is_named_with_the_remedy(tmp_path, content):
    path = pathlib.Path(tmp_path, "metadata.sqlite")
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"metadata.sqlite cannot be used.*\nIf it is damaged, move it"):
        load_runs(sqlite_database(str(path)))


def test_no_run_yet_says_how_to_start_one(tmp_path):
    with pytest.raises(UserError, match=r"no run yet: .* `segpipe run`"):
        load_runs(sqlite_database(str(tmp_path / "metadata.sqlite")))


def test_a_folder_of_artifacts_belongs_to_one_output_folder(small_config, tmp_path):
    config = small_config(tmp_path / "a", artifacts=str(tmp_path / "artifacts"))
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    claim_artifacts(config)
    claim_artifacts(config)
    with pytest.raises(UserError, match="has artifacts of another output folder than"):
        claim_artifacts(small_config(tmp_path / "b", artifacts=config.artifacts))
    # What was deleted begins to number its artifacts anew.
    shutil.rmtree(tmp_path / "a")
    (tmp_path / "a").mkdir()
    with pytest.raises(UserError, match="or of one that was deleted"):
        claim_artifacts(config)
    assert config.artifacts_path == str(tmp_path / "artifacts")
