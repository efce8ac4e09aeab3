"""Whole runs on data sets other than the offline sample as it is: several spans, records of others, and broken ones."""

import io
import os
import pathlib
import re
import tempfile

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from rich.console import Console

from data import contract
from data.decoding.images import encode_png
from models.serving.inputs import find_inputs
from models.serving.predict import predict
from models.serving.signatures import read_facts
from pipeline.records.metadata import database_of
from pipeline.records.runs import load_runs
from pipeline.runners.local import RunFailedError, run_locally

pytestmark = pytest.mark.one_line


def run(config):
    return run_locally(config, Console(file=open(os.devnull, "w")))


def states(result):
    return {component.name: component.state for component in result.components}


def raw_examples(folder, split):
    records = tf.data.TFRecordDataset(sorted(map(str, pathlib.Path(folder).glob(f"{split}-*.tfrecord"))))
    return [record.numpy() for record in records]


def rewrite(source, destination, changes):
    """Copies a data set, with a change to each of its first training examples."""
    destination.mkdir()
    for path in source.iterdir():
        (destination / path.name).write_bytes(path.read_bytes())
    (path,) = destination.glob("train-*.tfrecord")
    records = raw_examples(source, "train")
    with tf.io.TFRecordWriter(str(path)) as writer:
        for index, record in enumerate(records):
            example = tf.train.Example.FromString(record)
            if index < len(changes):
                changes[index](example.features.feature)
            writer.write(example.SerializeToString())


def unknown_class(feature):
    mask = np.zeros((233, 197), np.uint8)
    mask[5, 5] = 9
    feature[contract.MASK].bytes_list.value[0] = encode_png(mask)


def wrong_type(feature):
    feature[contract.HEIGHT].ClearField("int64_list")
    feature[contract.HEIGHT].float_list.value.append(233.0)


def undecodable(feature):
    feature[contract.IMAGE].bytes_list.value[0] = b"no image"


def other_size(feature):
    buffer = io.BytesIO()
    Image.new("L", (20, 30)).save(buffer, "PNG")
    feature[contract.IMAGE].bytes_list.value[0] = buffer.getvalue()


def test_broken_examples_stop_the_run_at_the_data_gate(small_config, brain_mri, tmp_path):
    rewrite(brain_mri, tmp_path / "broken", [unknown_class, undecodable, undecodable, other_size])
    config = small_config(tmp_path / "output", data={"input": str(tmp_path / "broken")})
    with pytest.raises(RunFailedError, match="DataGate failed") as caught:
        run(config)
    for message in (
        r"split train, example icbm152/axial_\d+: class id 9 is not in the label map \(0 to 3\)",
        r"split train, example icbm152/axial_\d+: image/encoded is neither a JPEG nor a PNG image",
        r"the image has 20x30 pixels, the mask 197x233",
    ):
        assert re.search(message, str(caught.value))
    stopped_at_the_data_gate(config)


def test_a_feature_of_another_type_stops_the_run_at_the_data_gate(small_config, brain_mri, tmp_path):
    rewrite(brain_mri, tmp_path / "broken", [wrong_type] * 75)
    config = small_config(tmp_path / "output", data={"input": str(tmp_path / "broken")})
    with pytest.raises(RunFailedError, match=r"split train, feature image/height: "):
        run(config)
    stopped_at_the_data_gate(config)


def stopped_at_the_data_gate(config):
    failed = load_runs(database_of(config))[-1]
    assert failed.state == "failed"
    assert states(failed)["DataGate"] == "failed"
    assert not {"Transform", "Trainer"} & set(states(failed))
    assert "DataGate: " in failed.reasons[0]
    assert not os.path.exists(config.push_destination)


def test_a_damaged_file_stops_the_run_and_is_named(small_config, brain_mri, tmp_path):
    rewrite(brain_mri, tmp_path / "broken", [])
    (path,) = (tmp_path / "broken").glob("train-*.tfrecord")
    path.write_bytes(path.read_bytes()[:-100])
    config = small_config(tmp_path / "output", data={"input": str(tmp_path / "broken")})
    with pytest.raises(RunFailedError, match="ImportExampleGen failed: files that cannot be imported") as caught:
        run(config)
    assert str(path) in str(caught.value)
    assert str(path) in load_runs(database_of(config))[-1].reasons[0]


@pytest.mark.nightly  # Retraining is tested with spans, too.
def test_a_second_span_is_trained_on_and_measured_apart(small_config, brain_mri, tmp_path):
    for span, splits in (("1", contract.SPLITS), ("2", ("train", "test"))):
        (tmp_path / "spans" / span).mkdir(parents=True)
        for path in brain_mri.iterdir():
            if path.name.startswith((*splits, "labels", "conversion")):
                (tmp_path / "spans" / span / path.name).symlink_to(path)
    config = small_config(tmp_path / "output", data={"input": f"{tmp_path}/spans/{{SPAN}}"})
    result = run(config)
    assert result.state == "pushed", result.reasons
    # Both hold the same images here.
    assert result.newest_span == 2
    assert result.newest_mean_iou == pytest.approx(result.mean_iou)
    facts = read_facts(result.pushed_path)
    counts = {split: values["examples"] for split, values in facts["statistics"]["splits"].items()}
    assert counts == {"train": 150, "eval": 10, "test": 20, "newest": 20}
    page = pathlib.Path(result.report).read_text()
    assert "On the test images of the newest data, span 2" in page
    # The newest span says nothing new of a model that the first alone made.
    assert run(config).state == "unchanged"


@pytest.mark.nightly
def test_records_of_others_train_with_workers_a_cache_on_disk_weights_and_bfloat16(
    small_config, brain_mri, tmp_path, monkeypatch
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / contract.LABEL_MAP_FILE).write_text((brain_mri / contract.LABEL_MAP_FILE).read_text())
    for split in contract.SPLITS:
        for shard in range(2):
            with tf.io.TFRecordWriter(str(foreign / f"{split}-{shard}.tfrecord.gz"), "GZIP") as writer:
                for record in raw_examples(brain_mri, split)[shard::2]:
                    example = tf.train.Example.FromString(record)
                    feature = example.features.feature
                    for name in (contract.SOURCE_ID, contract.HEIGHT, contract.WIDTH, contract.SLICE):
                        del feature[name]
                    feature[contract.IMAGE_FORMAT].bytes_list.value[0] = b"jpg"
                    feature["image/filename"].bytes_list.value.append(b"a.jpg")
                    writer.write(example.SerializeToString())
    config = small_config(
        tmp_path / "output",
        data={"input": str(foreign)},
        train={
            "cache": "disk",
            "class_weights": "root_median_frequency",
            "precision": "mixed_bfloat16",
            "small_sizes": 0.8,
        },
        beam={"options": {"workers": 2}},
    )
    result = run(config)
    assert result.state == "pushed", result.reasons
    (log,) = (tmp_path / "output" / "logs").iterdir()
    assert "decoded images are kept: disk" in log.read_text()
    assert "mixed_bfloat16, 1 replica(s)" in log.read_text()
    assert "epoch 1/6 at 1/4 of the size" in log.read_text()
    assert not list(tmp_path.glob("segpipe-cache-*"))
    report = " ".join(pathlib.Path(result.report).read_text().split())
    assert "¼ of the height and width from epoch 1 to 2, ½ of the height and width from epoch 3 to 4." in report
    assert report.count(">¼</text>") == report.count(">½</text>") == report.count(">full size</text>") == 2

    # Without names of their own, predictions are numbered.
    test_file = str(foreign / "test-0.tfrecord.gz")
    found = list(predict(result.pushed_path, find_inputs([test_file], "").files, str(tmp_path / "predictions")))
    assert [prediction.image for prediction in found[:2]] == ["test-0_00000", "test-0_00001"]
    assert (tmp_path / "predictions" / "test-0_00001_mask.png").exists()
