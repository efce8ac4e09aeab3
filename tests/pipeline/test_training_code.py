"""A user's own encoder and the pretrained weights take part in the cache key."""

import dataclasses
import hashlib
import json
import sys

import pytest

from data.base.errors import UserError
from models.encoders.applications.resnet50 import ResNet50
from pipeline.pipeline import create_pipeline
from pipeline.records.recording import inputs_digest

ENCODER = "from models.encoders.applications.resnet50 import ResNet50\nclass Own(ResNet50):\n    pass\n"


@pytest.fixture
def own(tmp_path, monkeypatch):
    path = tmp_path / "own_encoders.py"
    path.write_text(ENCODER)
    monkeypatch.syspath_prepend(tmp_path)
    yield path
    sys.modules.pop("own_encoders", None)


def test_the_trainer_and_the_tuner_notice_a_changed_encoder_and_changed_weights(own, small_config, tmp_path):
    weights = tmp_path / "weights.h5"
    weights.write_bytes(b"1")
    model = {"encoder": "own_encoders:Own", "encoder_weights": str(weights)}
    sections = {"name": "own", "preprocessing": {"height": 48, "width": 48}, "tune": {"space": {"train.seed": [1, 2]}}}
    config = small_config(tmp_path / "output", **sections)
    config = type(config).model_validate({**config.model_dump(), "model": model})

    def keys():
        components = {component.id: component for component in create_pipeline(config).components}
        custom = {name: components[name].spec.exec_properties["custom_config"] for name in ("Trainer", "Tuner")}
        return [*(json.loads(text)["code"] for text in custom.values()), inputs_digest(config)]

    before = keys()
    assert keys() == before
    own.write_text(ENCODER + "# changed\n")
    edited = keys()
    weights.write_bytes(b"2 and longer")
    for old, new in ((before, edited), (edited, keys())):
        assert all(one != other for one, other in zip(old, new, strict=True))


def test_weights_in_a_bucket_count_by_what_they_hold(small_config, tmp_path, bucket):
    config = small_config(tmp_path / "output", preprocessing={"height": 48, "width": 48})
    model = {"encoder": "resnet50", "encoder_weights": "gs://segpipe/weights.h5"}
    config = type(config).model_validate({**config.model_dump(), "model": model})

    def key():
        components = {component.id: component for component in create_pipeline(config).components}
        return json.loads(components["Trainer"].spec.exec_properties["custom_config"])["code"]

    keys = []
    for content in (b"1", b"2", b"1"):
        bucket.blob("weights.h5").upload_from_string(content)
        keys.append(key())
    assert keys[0] == keys[2] != keys[1]


def test_weights_of_encoders_that_a_search_may_choose_count_too(small_config, tmp_path):
    weights = [tmp_path / name / "weights.h5" for name in ("one", "other")]
    for path in weights:
        path.parent.mkdir()
        path.write_bytes(b"1")
    sections = {"name": "searched", "preprocessing": {"height": 48, "width": 48}}
    space = {"model.encoder": ["resnet50", "plain"], "model.encoder_weights": [*map(str, weights), "none"]}
    config = small_config(tmp_path / "output", tune={"space": space}, **sections)
    config = type(config).model_validate({**config.model_dump(), "model": {"encoder": "resnet50"}})

    def keys():
        components = {component.id: component for component in create_pipeline(config).components}
        custom = {name: components[name].spec.exec_properties["custom_config"] for name in ("Trainer", "Tuner")}
        return [*(json.loads(text)["code"] for text in custom.values()), inputs_digest(config)]

    assert [model.own_weights for model in config.models] == ["", *map(str, weights), ""]
    before = keys()
    for path in weights:
        path.write_bytes(b"2 and longer")
        after = keys()
        assert all(one != other for one, other in zip(before, after, strict=True))
        before = after
    weights[0].unlink()
    with pytest.raises(UserError, match=f"there is no file {weights[0]}"):
        config.prepare_weights()


def test_published_weights_count_where_this_machine_trains(small_config, tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    path = tmp_path / "keras" / "models" / ResNet50.published.name
    path.parent.mkdir(parents=True)
    config = small_config(tmp_path / "output", preprocessing={"height": 48, "width": 48})
    config = type(config).model_validate({**config.model_dump(), "model": {"encoder": "resnet50"}})

    def key(**where):
        components = {component.id: component for component in create_pipeline(config, **where).components}
        return json.loads(components["Trainer"].spec.exec_properties["custom_config"])["code"]

    here, elsewhere, inputs = key(), key(runs_here=False), inputs_digest(config)
    path.write_bytes(b"weights")
    published = dataclasses.replace(ResNet50.published, digest=hashlib.md5(b"weights").hexdigest())
    monkeypatch.setattr(ResNet50, "published", published)
    assert key() != here
    assert inputs_digest(config) != inputs
    assert key(runs_here=False) == elsewhere
