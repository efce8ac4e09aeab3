import json
import os
import pathlib

import pytest

from data.base.errors import UserError
from pipeline.config import load_config
from pipeline.runners.beam.settings import BeamSettings

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
        (("gate={min: {iou: {a.b: 0.5}}}",), {"mean_iou": 0.5, "iou": {"a.b": 0.5}}),
        (("gate.slices={a.b: {mean_iou: 0.1}}",), {"mean_iou": 0.5}),
    ],
)
def test_mean_iou_keeps_its_threshold_beside_others(write, overrides, expected):
    assert load_config(write(MINIMAL), overrides).gate.min == expected


@pytest.mark.parametrize("text", ["1e1", "10.0", "1_0", "'10'", "0xa", "+10"])
def test_a_whole_number_may_be_written_in_any_way(write, text):
    assert load_config(write(MINIMAL + f"train: {{epochs: {text}}}")).train.epochs == 10
    assert load_config(write(MINIMAL), (f"train.epochs={text}",)).train.epochs == 10


@pytest.mark.parametrize("text", ["1e-3", "1.e-3", ".001", "'1e-3'"])
def test_a_number_may_be_written_in_any_way(write, text):
    keys = ("train.learning_rate", "gate.regression", "tune.space.'train.learning_rate'.low")
    overrides = ("tune.space={train.learning_rate: {low: 0, high: 1}}", *(f"{key}={text}" for key in keys))
    for config in (
        load_config(write(MINIMAL), overrides),
        load_config(
            write(
                f"{MINIMAL}train: {{learning_rate: {text}}}\ngate: {{regression: {text}}}\n"
                f"tune: {{space: {{train.learning_rate: {{low: {text}, high: 1}}}}}}"
            )
        ),
    ):
        found = (config.train.learning_rate, config.gate.regression, config.tune.space["train.learning_rate"].low)
        assert found == (0.001, 0.001, 0.001)


def test_classes_and_slices_may_have_any_name(write):
    names = ["traffic.light", "traffic", "no", "1", "1e1", "a=b", "~", "2026-11-23", "iou"]
    in_file = ", ".join(f"{name}: 0.5" for name in names)
    config = load_config(write(MINIMAL + f"gate: {{min: {{iou: {{{in_file}}}}}, slices: {{no: {{mean_iou: 0.1}}}}}}"))
    assert config.gate.min["iou"] == dict.fromkeys(names, 0.5)
    assert config.gate.slices == {"no": {"mean_iou": 0.1}}
    quoted = [f'"{name}"' if "=" in name else name for name in names]
    overrides = [f"gate.min.iou.{name}=0.25" for name in quoted]
    overrides += ["gate.slices.st.george.mean_iou=0.5", "gate.slices.st.george.iou.traffic.light=0.75"]
    config = load_config(write(MINIMAL + "gate: {min: {iou: {traffic: 0.5}}}"), tuple(overrides))
    assert config.gate.min["iou"] == dict.fromkeys(names, 0.25)
    assert config.gate.slices == {"st.george": {"mean_iou": 0.5, "iou": {"traffic.light": 0.75}}}
    assert "gate.min.iou.traffic.light" in [threshold.key for threshold in config.gate.thresholds()]


def test_an_output_folder_with_any_characters_has_a_plain_path(write, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    config = load_config(write(MINIMAL), (f"output={tmp_path}/a[1] b*?",))
    config.check_output()
    for path in (config.artifacts_path, config.checkpoints_path, config.tuning_path):
        assert os.path.dirname(os.path.realpath(path)) == f"{tmp_path}/a[1] b*?"
        assert not set("[]*?").intersection(path)
    assert config.push_destination == f"{tmp_path}/a[1] b*?/serving"
    on_flink = {"runner": "flink", "options": {"job_server": "localhost:8099"}}
    with pytest.raises(UserError, match=r"output: .* holds \* \? \[ \], which the workers of a cluster take"):
        config.model_copy(update={"beam": BeamSettings.model_validate(on_flink)}).check_output()
    several = config.train.model_copy(update={"strategy": "multi_worker"})
    with pytest.raises(UserError, match=r"output: .*, which the workers of a cluster take"):
        config.model_copy(update={"train": several}).check_output()


def test_files_that_are_left_out_are_told(write, tmp_path):
    for name in ("train-0", "eval-0", "trainval-0", "train-0.idx"):
        (tmp_path / name).touch()
    config = load_config(write(MINIMAL), (f"data.input={tmp_path}",))
    with pytest.raises(UserError, match=r"has no files test\*; it has train-0.idx, trainval-0, whose names would"):
        config.data.newest_input()
    (tmp_path / "test-0").touch()
    assert config.data.newest_input() == str(tmp_path)
    assert config.data.notices() == [
        f"data.input: left out of {tmp_path}, as they are of none of the splits: train-0.idx, trainval-0"
    ]
    assert [os.path.basename(file.path) for file in config.data.input_files()][:2] == ["train-0", "eval-0"]
    (tmp_path / "train-val").touch()
    with pytest.raises(UserError, match=r"data.input: .*names leave doubts:\n  train-val: is it of train or of eval"):
        config.data.newest_input()


def test_an_empty_section_has_its_defaults(write):
    config = load_config(write(MINIMAL + "train:\nmodel:\n"), ("train.epochs=3",))
    assert config.train.epochs == 3
    assert (config.model.encoder, config.model.decoder) == ("efficientnet_lite0", "unet")


@pytest.mark.parametrize(
    ("text", "overrides", "message"),
    [
        (
            MINIMAL + "train: {epoch: 3}",
            (),
            r"train.epoch: there is no such key \(did you mean epochs\?\); there are epochs, minutes, folds",
        ),
        (MINIMAL + "color: 3", (), "color: there is no such key; there are name, output, artifacts, task, data"),
        (MINIMAL + "train: {epochs: 2024-13-45}", (), "train.epochs: .*integer.*; got '2024-13-45'"),
        (MINIMAL + "train: {epochs: 1e-1}", (), "train.epochs: .*integer.*; got 0.1"),
        (MINIMAL + "train: {epochs: yes}", (), "train.epochs: .*integer.*; got 'yes'"),
        (MINIMAL, ("train.epochs=true",), "train.epochs: takes a number; got True"),
        (MINIMAL, ("train.learning_rate=true",), "train.learning_rate: takes a number; got True"),
        (MINIMAL, ("name=007",), "name: .*string; got 7; put it in quotes"),
        (MINIMAL + "output: twice", (), "run.yaml is not YAML: output is there twice; remove one"),
        (MINIMAL, ("train.epochs={a: 1, a: 2}",), "the value is not YAML: a is there twice"),
        (MINIMAL, ("gate.min.iou.a=b=0.5",), "--set gate.min.iou.a=b=0.5: a name that holds . or = goes in quotes"),
        (MINIMAL, ('gate.min.iou.""=0.5',), "a name that holds . or = goes in quotes"),
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
            r"gate.min: there is no metric mean_iu \(did you mean mean_iou\?\); there are mean_iou, .*boundary_iou",
        ),
        (MINIMAL, ("gate.slices.a.iou=0.3",), r"gate.slices.a.iou: takes classes and their least values, .*; got 0.3"),
        (MINIMAL, ("gate.min=0.3",), r"gate.min: takes metrics and their least values, such as .*; got 0.3"),
        (MINIMAL, ("gate.min_mean_iou=0.3",), r"gate.min_mean_iou: write gate.min.mean_iou$"),
        (MINIMAL + "gate: {min_class_iou: {pet: 0.5}}", (), r"gate.min_class_iou: write gate.min.iou, such as"),
        (MINIMAL + "gate: {min_slice_mean_iou: {}}", (), r"gate.min_slice_mean_iou: write gate.slices, such as"),
        (
            MINIMAL,
            ("preprocessing.height=32", "model.encoder=plain", "model.depth=6"),
            "at least 64 pixels each way, not 32; a depth",
        ),
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


def test_what_is_labeled_is_in_all_spans_and_splits(tmp_path, write):
    files = ["1/test-0.tfrecord", "1/train-0.tfrecord", "20/eval-0.tfrecord", "20/train-0.tfrecord"]
    for file in [*files, "20/notes.txt"]:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).touch()
    config = load_config(write(MINIMAL), (f"data.input={tmp_path}/{{SPAN}}", "data.window=1"))
    assert sorted(config.data.labeled_files()) == [f"{tmp_path}/{file}" for file in files]
    config = load_config(write(MINIMAL), (f"data.input={tmp_path}/20",))
    assert sorted(config.data.labeled_files()) == [f"{tmp_path}/{file}" for file in files[2:]]


def test_the_model_takes_images_as_they_were_converted(tmp_path, write):
    def config(*overrides):
        return load_config(write(MINIMAL), (f"data.input={tmp_path}/in", *overrides))

    assert config().with_image_type() == config()  # Nothing is there yet.
    (tmp_path / "in").mkdir()
    for split in ("train", "eval", "test"):
        (tmp_path / "in" / f"{split}-0.tfrecord").touch()
    for report in ({"splits": {}}, {"image": {"type": "uint8", "bands": 1}}):
        (tmp_path / "in" / "conversion.json").write_text(json.dumps(report))
        shape = config().with_image_type().preprocessing
        assert (shape.num_channels, shape.type, shape.is_usual) == (3, "uint8", True)
        assert config("preprocessing.channels=1").with_image_type().preprocessing.num_channels == 1
        with pytest.raises(UserError, match=r"preprocessing\.channels is 4, but the images are gray or RGB; leave"):
            config("preprocessing.channels=4").with_image_type()
    (tmp_path / "in" / "conversion.json").write_text('{"intensity_range": [0, 4095]}')
    with pytest.raises(UserError, match="in was converted by an earlier release, which scaled images to 8 bits; conv"):
        config().with_image_type()
    names = ["B02", "B03", "B04", "B08"]
    report = {"image": {"type": "uint16", "bands": 4, "names": names, "nodata": 0}}
    (tmp_path / "in" / "conversion.json").write_text(json.dumps(report))
    found = config().with_image_type()
    shape = found.preprocessing
    assert (shape.channels, shape.type, shape.bands, shape.nodata) == (4, "uint16", names, 0)
    assert found.with_image_type() == found
    chosen = config("preprocessing.channels=[B08, 1]").with_image_type().preprocessing
    assert (chosen.num_channels, chosen.chosen_bands(), chosen.stored_type) == (2, [3, 0], "uint16")
    for override, message in (
        ("channels=3", "preprocessing.channels is 3, but the images have 4 bands"),
        ("channels=[B01]", "the images have no band B01; there are 4, and their names are B02, B03, B04, B08"),
        ("channels=[5]", "the images have no band 5"),
        ("type=float32", "preprocessing.type is float32, but images in .*/in have 4 bands"),
        ("nodata=1", "preprocessing.nodata is 1.0, but images in"),
        ("bands=5", "preprocessing.bands is 5, but images in"),
    ):
        with pytest.raises(UserError, match=message):
            config(f"preprocessing.{override}").with_image_type()
    with pytest.raises(UserError, match="preprocessing: images keep their values, so leave intensity_range out; pre"):
        config("preprocessing.intensity_range=[0, 4095]")
    for override in ("channels=0", "channels=65", "channels=[]", "percentiles=[99, 1]", "percentiles=[0.55, 99]"):
        with pytest.raises(UserError, match=rf"preprocessing\.{override.partition('=')[0]}"):
            config(f"preprocessing.{override}")


def test_images_of_other_tfrecords_are_described_by_hand(write):
    shape = load_config(
        write(MINIMAL), ("preprocessing.type=float32", "preprocessing.channels=5", "data.input=nowhere")
    ).preprocessing
    assert (shape.num_bands, shape.has_pictures, shape.stored_type) == (5, False, "float32")
    shape = load_config(write(MINIMAL), ("preprocessing.type=uint16", "data.input=nowhere")).preprocessing
    assert (shape.num_bands, shape.has_pictures, shape.is_usual) == (3, True, False)
    shape = load_config(write(MINIMAL), ("preprocessing.channels=[3, 2]", "data.input=nowhere")).preprocessing
    assert (shape.num_channels, shape.chosen_bands(), shape.has_pictures) == (2, [2, 1], True)


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
