import gzip
import pathlib
import re

import pytest
import tensorflow as tf
from tfx.components.util import tfxio_utils
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils, standard_artifacts
from tfx.utils import proto_utils

from components.import_example_gen import Executor
from data.contract import compression_type
from data.errors import UserError


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


def run(source, output):
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
            "output_config": "{}",
            "output_data_format": example_gen_pb2.FORMAT_TF_EXAMPLE,
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
        ("truncated", "truncated record at .*; write or copy the file anew"),
        ("flipped", "corrupted record at .*; write or copy the file anew"),
        ("text", "corrupted record at 0.*; write or copy the file anew"),
        ("no example", r"holds a record that is no tf\.train\.Example"),
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
    if damage == "truncated":
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


def test_the_report_of_the_conversion_goes_along(tmp_path):
    for split in ("train", "test"):
        write(tmp_path / f"{split}.tfrecord", [example("a")])
    (tmp_path / "conversion.json").write_text("{}")
    artifact = run(tmp_path, tmp_path / "output")
    assert (pathlib.Path(artifact.uri) / "conversion.json").read_text() == "{}"
