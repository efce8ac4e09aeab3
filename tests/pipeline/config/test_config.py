import json
import pathlib

import pytest

from data.base.errors import UserError
from pipeline.config import load_config

ROOT = pathlib.Path(__file__).parents[3]
MINIMAL = "name: a\noutput: out\ndata: {input: in}\n"


@pytest.fixture
def write(tmp_path):
    def write_config(text):
        path = tmp_path / "run.yaml"
        path.write_text(text)
        return path

    return write_config


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_ready_made_configurations_are_complete(path):
    assert load_config(path).name == path.stem.replace("_", "-")


def test_set_overrides_the_file(write):
    config = load_config(
        write(MINIMAL), ("train.epochs=3", "gate.min.iou.pet=0.5", "train.augmentation.scale=2", "name=b")
    )
    assert (config.train.epochs, config.gate.min["iou"], config.name) == (3, {"pet": 0.5}, "b")
    assert config.train.augmentation.scale == 2
    assert config.train.augmentation.flip_horizontal


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ((), {"mean_iou": 0.5}),
        (("gate.min.pixel_accuracy=0.9",), {"mean_iou": 0.5, "pixel_accuracy": 0.9}),
        (("gate.min.mean_iou=0",), {"mean_iou": 0}),
    ],
)
def test_mean_iou_keeps_its_threshold_beside_others(write, overrides, expected):
    assert load_config(write(MINIMAL), overrides).gate.min == expected


def test_an_empty_section_has_its_defaults(write):
    config = load_config(write(MINIMAL + "train:\nmodel:\n"), ("train.epochs=3",))
    assert config.train.epochs == 3
    assert config.model.depth == 4


@pytest.mark.parametrize(
    ("text", "overrides", "message"),
    [
        (MINIMAL + "train: {epoch: 3}", (), "train.epoch: there is no such key; there are epochs, batch_size, loss"),
        (MINIMAL + "color: 3", (), "color: there is no such key; there are name, output, artifacts, data"),
        (MINIMAL + "train: {epochs: 2024-13-45}", (), "run.yaml is not YAML: month must be in"),
        (MINIMAL, ("train.epochs=2024-13-45",), "the value is not YAML: month must be in"),
        (
            MINIMAL + "model: {encoder: resnet50, depth: 3}",
            (),
            "model: depth is not an option of encoder resnet50 or decoder",
        ),
        (MINIMAL + "model: {encoder: resnet50, filters: 0}", (), "model.filters: .*; got 0"),
        (MINIMAL + "train: {loss: {focal: {gamma: 0}}}", (), "train.loss.focal.gamma: .*; got 0"),
        (MINIMAL + "train: {epochs: many}", (), r"train.epochs: .*integer.*; got 'many'"),
        (MINIMAL + "train: {strategy: two}", (), r"train.strategy: .*'mirrored' or 'multi_worker'; got 'two'"),
        (MINIMAL, ("gate.min.mean_iou=80",), r"gate.min.mean_iou: .*less than or equal to 1; got 80"),
        (
            MINIMAL,
            ("gate.min.mean_iu=0.3",),
            r"gate.min: there is no metric mean_iu; there are mean_iou, .*boundary_iou",
        ),
        (MINIMAL, ("gate.slices.a.iou=0.3",), r"gate.slices.a.iou: takes classes and their least values, .*; got 0.3"),
        (MINIMAL, ("gate.min=0.3",), r"gate.min: takes metrics and their least values, such as .*; got 0.3"),
        (MINIMAL + "gate: {slices: {7: {}}}", (), r"gate.slices.7.*: takes a name; .*quotes; got 7"),
        (MINIMAL, ("gate.min_mean_iou=0.3",), r"gate.min_mean_iou: write gate.min.mean_iou$"),
        (MINIMAL + "gate: {min_class_iou: {pet: 0.5}}", (), r"gate.min_class_iou: write gate.min.iou, such as"),
        (MINIMAL + "gate: {min_slice_mean_iou: {}}", (), r"gate.min_slice_mean_iou: write gate.slices, such as"),
        (MINIMAL, ("preprocessing.height=32", "model.depth=6"), "at least 64 pixels each way, not 32; a depth"),
        (MINIMAL + "tune: {space: {}}", (), "tune.space: .*at least 1 item"),
        (MINIMAL + "tune: {trials: 3}", (), "tune.space: missing"),
        (MINIMAL + "tune: {space: {train.seed: 3}}", (), r"train.seed: takes a list of values, or a range .*; got 3"),
        (MINIMAL + "tune: {space: {train.seed: {low: 3}}}", (), "train.seed.range.high: missing"),
        (MINIMAL + "tune: {space: {train.seed: {low: 3, high: 3}}}", (), "takes a low below high; got 3 and 3"),
        (MINIMAL + "tune: {space: {train.sed: [1, 2]}}", (), "train.sed: there is no such key"),
        (
            MINIMAL + "tune: {space: {train.seed: [1, 2]}}",
            ("train.strategy=multi_worker",),
            "trials run on one machine",
        ),
        ("name: a\n", (), "output: missing"),
        ("name: a b\noutput: o\ndata: {input: i}", (), r"name: .*; got 'a b'"),
        ("name: [", (), "not YAML"),
        ("- a", (), "keys and values"),
        (MINIMAL, ("train.epochs",), "--set train.epochs: takes key=value"),
        (MINIMAL, ("name.x=1",), "--set name.x=1: name is a value"),
        (MINIMAL, ("data.input=in-{SPAN}-{VERSION}",), "data.input"),
    ],
)
def test_errors_name_the_key_what_it_got_and_what_it_takes(write, text, overrides, message):
    with pytest.raises(UserError, match=message):
        load_config(write(text), overrides)


def test_missing_files_are_named(tmp_path, write):
    with pytest.raises(UserError, match=r"cannot read the configuration .*nowhere.yaml"):
        load_config(tmp_path / "nowhere.yaml")
    config = load_config(write(MINIMAL), (f"data.input={tmp_path}/none",))
    with pytest.raises(UserError, match=r"none is not a folder; `segpipe convert`"):
        config.data.newest_input()


def test_the_newest_span_is_the_largest_number(tmp_path, write):
    for span in (2, 10):
        (tmp_path / f"span-{span}" / "data").mkdir(parents=True)
        for split in ("train", "eval", "test"):
            (tmp_path / f"span-{span}" / "data" / f"{split}-0.tfrecord").touch()
    config = load_config(write(MINIMAL), (f"data.input={tmp_path}/span-{{SPAN}}/data",))
    assert config.data.newest_input() == f"{tmp_path}/span-10/data"
    # Not each span needs each split.
    (tmp_path / "span-10" / "data" / "eval-0.tfrecord").unlink()
    assert config.data.newest_input() == f"{tmp_path}/span-10/data"
    for key, message in (("window=1", "span-10/data has no files eval"), ("test_span=3", "data.test_span is 3")):
        config = load_config(write(MINIMAL), (f"data.input={tmp_path}/span-{{SPAN}}/data", f"data.{key}"))
        with pytest.raises(UserError, match=message):
            config.data.newest_input()


def test_the_model_scales_deep_images_as_the_conversion_did(tmp_path, write):
    config = load_config(write(MINIMAL), (f"data.input={tmp_path}/in",))
    assert config.with_intensity_range() == config  # Nothing is there yet.
    (tmp_path / "in").mkdir()
    for split in ("train", "eval", "test"):
        (tmp_path / "in" / f"{split}-0.tfrecord").touch()
    own = load_config(write(MINIMAL), (f"data.input={tmp_path}/in", "preprocessing.intensity_range=[0, 1000]"))
    for report in (None, {"splits": {}}):
        if report:
            (tmp_path / "in" / "conversion.json").write_text(json.dumps(report))
        assert config.with_intensity_range().preprocessing.intensity_range is None
        assert own.with_intensity_range().preprocessing.intensity_range == (0, 1000)
    (tmp_path / "in" / "conversion.json").write_text('{"intensity_range": [0.0, 4095.0]}')
    assert config.with_intensity_range().preprocessing.intensity_range == (0, 4095)
    with pytest.raises(UserError, match=r"is \[0.0, 1000.0\], but .*/in was converted with \[0.0, 4095.0\]"):
        own.with_intensity_range()
    for value in ("[5, 5]", "[1, 0]", "[0, .inf]", "[1]"):
        with pytest.raises(UserError, match=r"preprocessing\.intensity_range"):
            load_config(write(MINIMAL), (f"preprocessing.intensity_range={value}",))


def test_the_gate_may_only_name_classes_of_the_label_map(brain_mri, write):
    config = load_config(write(MINIMAL), (f"data.input={brain_mri}", "gate.slices.night.dice.tumor=0.5"))
    with pytest.raises(UserError, match=r"gate\.slices\.night\.dice\.tumor: .* has no class tumor; .*white_matter"):
        config.load_label_map()


def test_the_data_set_may_be_in_a_bucket(bucket, write):
    config = load_config(write(MINIMAL), ("data.input=gs://segpipe/pets",))
    with pytest.raises(UserError, match="gs://segpipe/pets has no files train"):
        config.data.newest_input()
    for span in (2, 10):
        for split in ("train", "eval", "test"):
            bucket.blob(f"pets/{span}/{split}-0.tfrecord").upload_from_string(b"12345")
    config = load_config(write(MINIMAL), ("data.input=gs://segpipe/pets/{SPAN}", "data.window=1"))
    label_map = bucket.blob("pets/10/labels.yaml")
    with pytest.raises(UserError, match=r"cannot read the label map gs://segpipe/pets/10/labels\.yaml"):
        config.load_label_map()
    text = "- {id: 0, name: pet, color: [0, 0, 0]}\n- {id: 1, name: rest, color: [0, 0, 1]}\n"
    label_map.upload_from_string(text)
    assert config.data.newest_input() == "gs://segpipe/pets/10"
    assert config.load_label_map().names == ("pet", "rest")
    found = {file.path.removeprefix("gs://segpipe/pets/"): file.size for file in config.data.input_files()}
    assert found.pop("10/labels.yaml") == len(text)
    assert found == dict.fromkeys(
        ("10/train-0.tfrecord", "10/eval-0.tfrecord", "2/test-0.tfrecord", "10/test-0.tfrecord"), 5
    )
