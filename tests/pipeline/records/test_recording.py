import os
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


def test_the_digest_of_inputs_is_of_what_files_hold(brain_mri, small_config, tmp_path):
    data = tmp_path / "data [1]"
    shutil.copytree(brain_mri, data)
    config = small_config(tmp_path / "output", data={"input": str(data)})
    before = inputs_digest(config)
    for path in data.iterdir():
        os.utime(path, (1, 1))
    assert inputs_digest(config) == before
    # What belongs to none of the splits does not count.
    shutil.copy(next(data.glob("train-*")), data / "trainval-0")
    assert inputs_digest(config) == before
    for name in ("labels.yaml", next(data.glob("train-*")).name):
        content = bytearray((data / name).read_bytes())
        content[-1] ^= 1
        (data / name).write_bytes(content)
        os.utime(data / name, (1, 1))
        assert inputs_digest(config) != before
        before = inputs_digest(config)
