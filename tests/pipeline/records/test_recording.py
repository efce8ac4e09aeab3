import shutil

import pytest

from data.base.errors import UserError
from pipeline.records.recording import claim_artifacts, inputs_digest


def test_a_folder_of_artifacts_belongs_to_one_output_folder(small_config, tmp_path):
    config = small_config(tmp_path / "a", artifacts=str(tmp_path / "artifacts"))
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    claim_artifacts(config)
    claim_artifacts(config)
    with pytest.raises(UserError, match="holds the artifacts of another output folder than"):
        claim_artifacts(small_config(tmp_path / "b", artifacts=config.artifacts))
    # A new output folder numbers its artifacts from 1 again.
    shutil.rmtree(tmp_path / "a")
    (tmp_path / "a").mkdir()
    with pytest.raises(UserError, match="or of one that was deleted"):
        claim_artifacts(config)
    assert config.artifacts_path == str(tmp_path / "artifacts")


def test_the_digest_of_inputs_leaves_out_what_results_do_not_depend_on(small_config, tmp_path):
    config = small_config(tmp_path)
    same = small_config(tmp_path, beam={"options": {"workers": 2}}, retrain={"max_drift": 0.2})
    assert inputs_digest(same) == inputs_digest(config)
    assert inputs_digest(small_config(tmp_path, train={"epochs": 7})) != inputs_digest(config)
