import gzip
import json
import os
import pathlib
import re

import pytest
import tensorflow as tf
from tfx.components.util import tfxio_utils
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils, standard_artifacts
from tfx.utils import proto_utils

from components.import_example_gen import Driver, Executor, read_conversions
from data.base.errors import UserError
from data.contract import compression_type
from data.label_map import LabelMap


def write(path, records):
    options = tf.io.TFRecordOptions(compression_type=compression_type(str(path)))
    with tf.io.TFRecordWriter(str(path), options) as writer:
        for record in records:
            writer.write(record)


def read(path):
    return [record.numpy() for record in tf.data.TFRecordDataset(str(path), compression_type(str(path)))]


def example(name):
    feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[name.encode()]))
    return tf.train.Example(features=tf.train.Features(feature={"name": feature})).SerializeToString()


def run(source, output, **properties):
    context = BaseBeamExecutor.Context(
        beam_pipeline_args=["--sdk_container_image=none"], tmp_dir=str(output / "tmp"), unique_id="1"
    )
    examples = standard_artifacts.Examples()
    examples.uri = str(output / "examples")
    splits = [example_gen_pb2.Input.Split(name=name, pattern=f"{name}*") for name in ("train", "test")]
    Executor(context).Do(
        {},
        {"examples": [examples]},
        {
            "input_base": str(source),
            "input_config": proto_utils.proto_to_json(example_gen_pb2.Input(splits=splits)),
            "output_data_format": example_gen_pb2.FORMAT_TF_EXAMPLE,
            **properties,
        },
    )
    return examples


def test_files_are_copied_as_they_are(tmp_path):
    write(tmp_path / "train-b.tfrecord", [example("b0"), example("b1")])
    write(tmp_path / "train-a.tfrecord.gz", [example("a0")])
    write(tmp_path / "test.tfrecord", [example("c0")])
    write(tmp_path / "train-empty.tfrecord", [])
    artifact = run(tmp_path, tmp_path / "output")
    assert artifact_utils.decode_split_names(artifact.split_names) == ["train", "test"]
    folder = pathlib.Path(artifact.uri)
    train = folder / "Split-train"
    names = ["data_tfrecord-00000-of-00003.gz", "data_tfrecord-00001-of-00003", "data_tfrecord-00002-of-00003"]
    assert sorted(path.name for path in train.iterdir()) == names
    assert [read(train / name) for name in names] == [[example("a0")], [example("b0"), example("b1")], []]
    assert read(folder / "Split-test" / "data_tfrecord-00000-of-00001") == [example("c0")]


def test_tfx_reads_what_was_imported(tmp_path):
    import apache_beam as beam

    write(tmp_path / "train-0.gz", [example("zipped")])
    write(tmp_path / "train-1", [example("plain")])
    write(tmp_path / "test", [example("other")])
    artifact = run(tmp_path, tmp_path / "output")
    source = tfxio_utils.get_split_tfxio([artifact], "train", telemetry_descriptors=["test"]).BeamSource()
    text = str(tmp_path / "names")
    with beam.Pipeline() as pipeline:
        batches = pipeline | source
        names = batches | beam.FlatMap(lambda batch: [row["name"][0].decode() for row in batch.to_pylist()])
        _ = names | beam.io.WriteToText(text, shard_name_template="")
    assert sorted(pathlib.Path(text).read_text().split()) == ["plain", "zipped"]


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        ("ends within a length", "truncated record at .*; write or copy the file again"),
        ("truncated", "truncated record at .*; write or copy the file again"),
        ("flipped", "corrupted record at .*; write or copy the file again"),
        ("text", "corrupted record at 0.*; write or copy the file again"),
        ("no example", r"holds a record that is not a tf\.train\.Example"),
        ("gzipped", r"is gzipped; only names of gzipped files end in \.gz"),
        ("dangling", "cannot be read and copied: .*No such file"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, damage, reason):
    write(tmp_path / "train-good", [example("a")])
    (tmp_path / "train-folder").mkdir()
    write(tmp_path / "test", [example("a")])
    bad = tmp_path / "train-bad"
    write(bad, [example("a" * 1000), example("b" * 1000), b"\xff" if damage == "no example" else example("c")])
    content = bytearray(bad.read_bytes())
    if damage == "ends within a length":
        bad.write_bytes(content + b"\x07")
    elif damage == "truncated":
        bad.write_bytes(content[:-10])
    elif damage == "flipped":
        content[1500] ^= 1
        bad.write_bytes(content)
    elif damage == "text":
        bad.write_bytes(b"id,name\n" * 100)
    elif damage == "gzipped":
        bad.write_bytes(gzip.compress(content))
    elif damage == "dangling":
        bad.unlink()
        bad.symlink_to(tmp_path / "nothing")
    with pytest.raises(UserError, match=r"^files that cannot be imported:\n") as caught:
        run(tmp_path, tmp_path / "output")
    assert re.fullmatch(rf"  {re.escape(str(bad))}: {reason}.*", str(caught.value).splitlines()[1]), caught.value
    assert len(str(caught.value).splitlines()) == 2


def test_a_split_without_files_is_a_mistake(tmp_path):
    write(tmp_path / "train.tfrecord", [example("a")])
    with pytest.raises(UserError, match=re.escape(f"no TFRecord file matches {tmp_path}/test*")):
        run(tmp_path, tmp_path / "output")


def test_each_file_is_of_one_split_and_the_others_are_told(tmp_path, caplog):
    for name in ("train-0", "trainval-0", "test-0", "training.tfrecord"):
        write(tmp_path / name, [example(name)])
    (tmp_path / "train-0.idx").write_text("0 17")
    artifact = run(tmp_path, tmp_path / "output")
    (copied,) = (pathlib.Path(artifact.uri) / "Split-train").iterdir()
    assert read(copied) == [example("train-0")]
    assert f"left out of {tmp_path}: train-0.idx, training.tfrecord, trainval-0" in caplog.text
    write(tmp_path / "train-val", [example("both")])
    with pytest.raises(UserError, match=r"train-val: is it of train or of eval\?"):
        run(tmp_path, tmp_path / "again")
    with pytest.raises(UserError, match=r"train-val: is it of train or of eval\?"):
        resolve(tmp_path, pattern="{}*")


def test_a_folder_may_have_any_characters_in_its_path(tmp_path):
    for folder in ("[1] a*?", "ü 'b' \"c\" #%", "-d"):
        for name in ("train-[0]*", "test"):
            (tmp_path / folder).mkdir(exist_ok=True)
            write(tmp_path / folder / name, [example(name)])
        # A folder that the path would match as a pattern.
        (tmp_path / "1 abc").mkdir(exist_ok=True)
        write(tmp_path / "1 abc" / "train-0", [example("another")])
        found = resolve(tmp_path / folder, pattern="{}*")
        artifact = run(tmp_path / folder, tmp_path / "output" / folder[:2], **found)
        (copied,) = (pathlib.Path(artifact.uri) / "Split-train").iterdir()
        assert read(copied) == [example("train-[0]*")]


@pytest.mark.parametrize("pattern", ["{}*", "s{{SPAN}}/{}*"])
def test_contents_count_and_times_do_not(tmp_path, pattern):
    make_spans(tmp_path, s1=["train", "test"])
    folder = tmp_path if "SPAN" in pattern else tmp_path / "s1"
    file = tmp_path / "s1" / "train.tfrecord"
    times = file.stat().st_mtime_ns

    def fingerprint():
        return resolve(folder, pattern=pattern, digests=str(tmp_path / "digests.json"))["input_fingerprint"]

    before = fingerprint()
    os.utime(file, (1, 1))
    assert fingerprint() == before
    write(file, [example("s9 train")])
    os.utime(file, ns=(times, times))
    assert fingerprint() != before


def test_the_report_of_the_conversion_goes_along(tmp_path):
    for split in ("train", "test"):
        write(tmp_path / f"{split}.tfrecord", [example("a")])
    assert read_conversions(run(tmp_path, tmp_path / "without")) == []
    (tmp_path / "conversion.json").write_text('{"set_aside": []}')
    assert read_conversions(run(tmp_path, tmp_path / "with")) == [{"folder": str(tmp_path), "set_aside": []}]


def make_spans(folder, **splits):
    for span, names in splits.items():
        for name in names:
            (folder / span).mkdir(parents=True, exist_ok=True)
            write(folder / span / f"{name}.tfrecord", [example(f"{span} {name}")])


def resolve(folder, pattern="s{{SPAN}}/{}*", **properties):
    """What the driver puts into the properties."""
    splits = [example_gen_pb2.Input.Split(name=name, pattern=pattern.format(name)) for name in ("train", "test")]
    config = proto_utils.proto_to_json(example_gen_pb2.Input(splits=splits))
    given = {"input_base": str(folder), "input_config": config, **properties}
    return Driver(None).resolve_exec_properties(given, None, None)


def patterns(properties):
    config = proto_utils.json_to_proto(properties["input_config"], example_gen_pb2.Input())
    return [(split.name, split.pattern) for split in config.splits]


def test_a_window_of_spans_becomes_one_artifact(tmp_path):
    make_spans(tmp_path, s08=["train", "test"], s9=["train"], s10=["train", "test"])
    found = resolve(tmp_path, window=2)
    assert patterns(found) == [
        ("train", "s9/train*"),
        ("train", "s10/train*"),
        ("test", "s08/test*"),
        ("newest", "s10/test*"),
    ]
    assert found["span"] == 10
    artifact = run(tmp_path, tmp_path / "output", **found)
    assert artifact_utils.decode_split_names(artifact.split_names) == ["train", "test", "newest"]
    assert artifact.get_int_custom_property("span") == 10
    inputs = json.loads(artifact.get_string_custom_property("inputs"))
    assert inputs["train"] == [str(tmp_path / "s10"), str(tmp_path / "s9")]
    folder = pathlib.Path(artifact.uri)
    names = ["data_tfrecord-00000-of-00002", "data_tfrecord-00001-of-00002"]
    assert [read(folder / "Split-train" / name) for name in names] == [[example("s9 train")], [example("s10 train")]]
    assert read(folder / "Split-newest" / "data_tfrecord-00000-of-00001") == [example("s10 test")]


def test_spans_may_lack_splits_but_not_all_of_them(tmp_path):
    make_spans(tmp_path, s1=["train", "test"], s2=["train"])
    assert [name for name, _ in patterns(resolve(tmp_path))] == ["train", "train", "test"]
    assert patterns(resolve(tmp_path, newest_span=1)) == [("train", "s1/train*"), ("test", "s1/test*")]
    with pytest.raises(UserError, match=r"no TFRecord file matches .*/s\{SPAN\}/test\* in span 2"):
        resolve(tmp_path, test_span=2)


def test_the_fingerprint_is_of_the_window_alone(tmp_path):
    make_spans(tmp_path, s1=["train", "test"], s2=["train", "test"], s3=["train", "test"])
    before = resolve(tmp_path, window=1)["input_fingerprint"]
    write(tmp_path / "s2" / "train.tfrecord", [example("more"), example("of it")])
    assert resolve(tmp_path, window=1)["input_fingerprint"] == before
    write(tmp_path / "s1" / "test.tfrecord", [example("more"), example("of it")])
    assert resolve(tmp_path, window=1)["input_fingerprint"] != before


def test_spans_with_other_classes_are_refused(tmp_path):
    make_spans(tmp_path, s1=["train", "test"], s2=["train"])
    for span, names in (("s1", ["road", "car"]), ("s2", ["car", "road"])):
        (tmp_path / span / "labels.yaml").write_text(LabelMap.from_names(names).to_yaml())
    with pytest.raises(UserError, match=r"s2/labels\.yaml has other classes than .*s1/labels\.yaml"):
        run(tmp_path, tmp_path / "output", **resolve(tmp_path))


def test_spans_of_other_images_are_refused(tmp_path):
    make_spans(tmp_path, s1=["train", "test"], s2=["train"], s3=["train"])
    deep, gray = {"type": "uint16", "bands": 13, "nodata": 0}, {"type": "uint8", "bands": 1}

    def write(**images):
        for span, image in images.items():
            (tmp_path / span / "conversion.json").write_text(json.dumps({"splits": {}, "image": image}))

    write(s1=deep, s3=gray)
    with pytest.raises(UserError, match=r"s3 have 1 band of uint8, those in .*s1 have 13 bands of uint16, 0 for no"):
        run(tmp_path, tmp_path / "output", **resolve(tmp_path))
    write(s3=deep)
    run(tmp_path, tmp_path / "output", **resolve(tmp_path))
    # Gray and colors of 8 bits go together, as do conversions of earlier releases if the images had no more.
    write(s1={"type": "uint8", "bands": 3}, s3=gray)
    (tmp_path / "s2" / "conversion.json").write_text("{}")
    run(tmp_path, tmp_path / "output", **resolve(tmp_path))
    (tmp_path / "s2" / "conversion.json").write_text('{"intensity_range": [0, 4095]}')
    with pytest.raises(UserError, match="s2 was converted by an earlier release, which scaled images to 8 bits; conv"):
        run(tmp_path, tmp_path / "output", **resolve(tmp_path))
