import io
import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.types import artifact_utils, standard_artifacts

from components.data_gate import DataGateError, DataStatistics, Executor, read_statistics
from data import contract
from data.decoding.images import encode_png
from data.label_map import LabelMap

LABEL_MAP = LabelMap.from_names(("road", "car"))


def encoded(pixels, kind):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def cmyk():
    buffer = io.BytesIO()
    Image.new("CMYK", (2, 4)).save(buffer, "JPEG")
    return buffer.getvalue()


def features(mask, name="one", **changes):
    image = np.zeros((*mask.shape, 3), np.uint8)
    values = {
        contract.IMAGE: encoded(image, "JPEG"),
        contract.MASK: encode_png(mask),
        contract.SOURCE_ID: name.encode(),
    }
    values.update(changes)
    return {key: value for key, value in values.items() if value is not None}


def serialized(values):
    feature = {
        key: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
        if isinstance(value, bytes)
        else tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
        for key, value in values.items()
    }
    return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()


def run(folder, train, evaluation, anomalies=(), **properties):
    artifacts = {}
    for kind, artifact in (
        ("examples", standard_artifacts.Examples()),
        ("anomalies", standard_artifacts.ExampleAnomalies()),
        ("statistics", DataStatistics()),
    ):
        artifact.uri = str(folder / kind)
        artifacts[kind] = artifact
    for kind in ("examples", "anomalies"):
        artifacts[kind].split_names = artifact_utils.encode_split_names(["train", "eval"])
    for split, records in (("train", train), ("eval", evaluation)):
        path = folder / "examples" / f"Split-{split}" / "records"
        path.parent.mkdir(parents=True)
        with tf.io.TFRecordWriter(str(path)) as writer:
            for record in records:
                writer.write(record)
        found = anomalies_pb2.Anomalies()
        for feature, kinds in dict(anomalies).items():
            info = found.anomaly_info[feature]
            info.description = f"about {feature}"
            for kind in kinds:
                info.reason.add(type=kind)
        path = folder / "anomalies" / f"Split-{split}" / "SchemaDiff.pb"
        path.parent.mkdir(parents=True)
        path.write_bytes(found.SerializeToString())
    (folder / "statistics").mkdir()
    context = BaseBeamExecutor.Context(
        beam_pipeline_args=["--sdk_container_image=none"], tmp_dir=str(folder / "tmp"), unique_id="1"
    )
    Executor(context).Do(
        {"examples": [artifacts["examples"]], "anomalies": [artifacts["anomalies"]]},
        {"statistics": [artifacts["statistics"]]},
        {"label_map": LABEL_MAP.model_dump_json(), **properties},
    )
    return read_statistics(artifacts["statistics"].uri)


def test_statistics_are_those_of_the_masks(tmp_path):
    generator = np.random.default_rng(0)
    shapes = [(int(height), int(width)) for height, width in generator.integers(5, 40, (50, 2))]
    masks = [generator.choice(np.array([0, 1, 255], np.uint8), shape) for shape in shapes]
    statistics = run(
        tmp_path,
        [serialized(features(mask, f"train_{index}")) for index, mask in enumerate(masks[:40])],
        [serialized(features(mask, "")) for mask in masks[40:]],
    )
    train = statistics["splits"]["train"]
    pixels = np.concatenate([mask.ravel() for mask in masks[:40]])
    labeled = pixels[pixels != 255]
    assert train["examples"] == 40
    assert train["pixels"] == len(pixels)
    assert statistics["splits"]["eval"]["examples"] == 10
    assert train["pixel_shares"] == pytest.approx({"road": (labeled == 0).mean(), "car": (labeled == 1).mean()})
    assert train["ignored_pixel_share"] == pytest.approx((pixels == 255).mean())
    assert train["examples_with_class"] == {
        "road": sum((mask == 0).any() for mask in masks[:40]),
        "car": sum((mask == 1).any() for mask in masks[:40]),
    }
    assert train["smallest_height_and_width"] == np.min(shapes[:40], axis=0).tolist()
    assert train["largest_height_and_width"] == np.max(shapes[:40], axis=0).tolist()
    assert json.loads(json.dumps(statistics)) == statistics


BOTH = np.array([[0, 1]] * 4, np.uint8)


@pytest.mark.parametrize(
    ("record", "fault"),
    [
        (serialized(features(BOTH, **{contract.IMAGE: b"no image"})), "bad: image/encoded is neither a JPEG nor a PNG"),
        (
            serialized(features(BOTH, **{contract.IMAGE: encoded(BOTH, "BMP")})),
            "bad: image/encoded is neither a JPEG nor a PNG",
        ),
        (serialized(features(BOTH, **{contract.IMAGE: cmyk()})), "bad: image/encoded has four channels"),
        (
            serialized(features(BOTH, **{contract.IMAGE: encoded(BOTH, "JPEG")[:-300]})),
            "bad: image/encoded is not an image",
        ),
        (serialized(features(BOTH, **{contract.MASK: b"no image"})), f"bad: {contract.MASK} is not a PNG"),
        (serialized(features(BOTH, **{contract.MASK: encoded(BOTH, "JPEG")})), f"bad: {contract.MASK} is not a PNG"),
        (serialized(features(BOTH, **{contract.MASK: encoded(BOTH, "BMP")})), f"bad: {contract.MASK} is not a PNG"),
        (serialized(features(BOTH, **{contract.MASK: encoded(BOTH > 0, "PNG")})), f"bad: {contract.MASK} is not a PNG"),
        (
            serialized(features(BOTH, **{contract.MASK: encoded(np.uint16(BOTH), "PNG")})),
            f"bad: {contract.MASK} is not a PNG",
        ),
        (
            serialized(features(BOTH, **{contract.MASK: encode_png(BOTH)[:-20]})),
            f"bad: {contract.MASK} is not an image",
        ),
        (serialized(features(BOTH, **{contract.IMAGE: encode_png(np.zeros((9, 9), np.uint8))})), "bad: sizes differ"),
        (serialized(features(BOTH + 2)), "bad: class id 2, 3 is not in the label map"),
        (serialized(features(BOTH, **{contract.MASK: None})), f"bad: {contract.MASK} must hold one"),
        (serialized(features(BOTH, **{contract.MASK: 3})), f"bad: {contract.MASK} must hold one"),
        (
            serialized(features(BOTH, **{contract.SOURCE_ID: None, contract.MASK: 3})),
            r"\(no image/source_id\)",
        ),
        (b"\xff no example", r"\(no image/source_id\): the record is not a tf.train.Example"),
    ],
)
def test_a_bad_example_among_good_ones_stops_the_run(tmp_path, record, fault):
    good = serialized(features(BOTH))
    record = record.replace(b"one", b"bad")
    with pytest.raises(DataGateError, match=rf"1 example\(s\) cannot be used:\n  split train, example .*{fault}"):
        run(tmp_path, [good] * 20 + [record] + [good] * 20, [good])


def test_a_class_that_never_occurs_and_an_empty_split_stop_the_run(tmp_path):
    with pytest.raises(DataGateError, match="split eval: no example\n  split train: no pixel of class car"):
        run(tmp_path, [serialized(features(BOTH * 0))], [])


def test_features_beyond_the_contract_are_let_through(tmp_path):
    good = serialized(features(BOTH, camera=b"left"))
    anomalies = {"camera": [anomalies_pb2.AnomalyInfo.SCHEMA_NEW_COLUMN]}
    other = serialized(features(BOTH, "two"))
    assert run(tmp_path, [good], [other], anomalies)["splits"]["train"]["examples"] == 1


def test_an_example_in_two_splits_stops_the_run(tmp_path):
    train = [serialized(features(BOTH, name)) for name in ("a", "b", "moved", "", "a")]
    other = [serialized(features(BOTH, name)) for name in ("moved", "c", "")]
    with pytest.raises(
        DataGateError, match=r"1 example.* in more than one split:\n  moved: in train, eval\na model must"
    ):
        run(tmp_path, train, other)


def test_other_anomalies_stop_the_run(tmp_path):
    good = serialized(features(BOTH))
    kinds = [anomalies_pb2.AnomalyInfo.SCHEMA_NEW_COLUMN, anomalies_pb2.AnomalyInfo.ENUM_TYPE_UNEXPECTED_STRING_VALUES]
    with pytest.raises(DataGateError, match="split train, feature image/format: about image/format"):
        run(tmp_path, [good], [good], {"image/format": kinds})


def test_sixteen_bits_need_a_range(tmp_path):
    mask = np.array([[0, 1], [1, 0]], np.uint8)
    deep = encoded(np.array([[0, 500], [1000, 4095]], np.uint16), "PNG")
    records = [serialized(features(mask, name, **{contract.IMAGE: deep})) for name in ("one", "two")]
    with pytest.raises(DataGateError, match=r"16 bits per channel; set preprocessing\.intensity_range: \[LOW, HIGH\]"):
        run(tmp_path / "unknown", records[:1], records[1:])
    run(tmp_path / "known", records[:1], records[1:], takes_16_bits=1)
