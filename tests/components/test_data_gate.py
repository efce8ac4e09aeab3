import dataclasses
import io
import json
import logging

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.types import artifact_utils, standard_artifacts

from components.data_gate import DataGateError, DataStatistics, Executor, read_statistics
from components.data_gate.checking import Checker
from components.data_gate.counting import Findings, Pair
from components.data_gate.doubts import near_duplicates
from components.data_gate.example import Checked, check_example, parse
from data import contract
from data.base.errors import UserError
from data.decoding.image_type import of_report
from data.decoding.images import encode_png, encoded_values
from data.decoding.label_png import encode_labels
from data.label_map import LabelMap
from data.near_duplicates import near_pairs

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


def run(
    folder,
    train,
    evaluation,
    anomalies=(),
    test=None,
    newest=None,
    near_duplicates="warn",
    label_map=LABEL_MAP,
    images=None,
    has_objects=None,
):
    records_of = {"train": train, "eval": evaluation, "test": test, "newest": newest}
    records_of = {split: records for split, records in records_of.items() if records is not None}
    artifacts = {}
    for kind, artifact in (
        ("examples", standard_artifacts.Examples()),
        ("anomalies", standard_artifacts.ExampleAnomalies()),
        ("statistics", DataStatistics()),
    ):
        artifact.uri = str(folder / kind)
        artifacts[kind] = artifact
    for kind in ("examples", "anomalies"):
        artifacts[kind].split_names = artifact_utils.encode_split_names(list(records_of))
    for split, records in records_of.items():
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
        {
            "label_map": label_map.model_dump_json(),
            "near_duplicates": near_duplicates,
            "images": images and json.dumps({"image": images}),
            "has_objects": has_objects,
        },
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
        (serialized(features(BOTH, **{contract.IMAGE: b"no image"})), "image/encoded is neither a JPEG nor a PNG"),
        (
            serialized(features(BOTH, **{contract.IMAGE: encoded(BOTH, "BMP")})),
            "image/encoded is neither a JPEG nor a PNG",
        ),
        (serialized(features(BOTH, **{contract.IMAGE: cmyk()})), "image/encoded has four channels"),
        (
            serialized(features(BOTH, **{contract.IMAGE: encoded(BOTH, "JPEG")[:-300]})),
            "image/encoded is not an image",
        ),
        (serialized(features(BOTH, **{contract.MASK: b"no image"})), f"{contract.MASK} is not a PNG"),
        (serialized(features(BOTH, **{contract.MASK: encoded(BOTH, "JPEG")})), f"{contract.MASK} is not a PNG"),
        (serialized(features(BOTH, **{contract.MASK: encoded(BOTH, "BMP")})), f"{contract.MASK} is not a PNG"),
        (serialized(features(BOTH, **{contract.MASK: encoded(BOTH > 0, "PNG")})), f"{contract.MASK} is not a PNG"),
        (
            serialized(features(BOTH, **{contract.MASK: encoded(np.uint16(BOTH), "PNG")})),
            f"{contract.MASK} is not a PNG",
        ),
        (
            serialized(features(BOTH, **{contract.MASK: encode_png(BOTH)[:-20]})),
            f"{contract.MASK} is not an image",
        ),
        (serialized(features(BOTH, **{contract.IMAGE: encode_png(np.zeros((9, 9), np.uint8))})), "sizes differ"),
        (serialized(features(BOTH + 2)), "class id 2, 3 is not in the label map"),
        (serialized(features(BOTH, **{contract.MASK: None})), f"{contract.MASK} must hold one"),
        (serialized(features(BOTH, **{contract.MASK: 3})), f"{contract.MASK} must hold one"),
        (b"\xff no example", "the record is not a tf.train.Example"),
    ],
)
def test_what_is_wrong_with_an_example_is_said(record, fault):
    with pytest.raises(ValueError, match=f"^{fault}"):
        check_example(parse(record), 2, with_hash=True)


def test_bad_examples_among_good_ones_stop_the_run(tmp_path):
    good = [serialized(features(BOTH, f"good_{index}")) for index in range(20)]
    bad = [
        serialized(features(BOTH, "bad", **{contract.IMAGE: b"no image"})),
        serialized(features(BOTH, **{contract.SOURCE_ID: None, contract.MASK: 3})),
        b"\xff no example",
    ]
    with pytest.raises(DataGateError) as caught:
        run(tmp_path, [*good[:10], *bad, *good[10:]], [serialized(features(BOTH))])
    assert str(caught.value).splitlines() == [
        "3 example(s) cannot be used:",
        f"  split train, example (no image/source_id): {contract.MASK} must hold one string of bytes; it has 0",
        "  split train, example (no image/source_id): the record is not a tf.train.Example",
        "  split train, example bad: image/encoded is neither a JPEG nor a PNG image nor an array in NumPy's format",
    ]


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


IGNORED = np.full((4, 2), 255, np.uint8)


def some(mask, start, count=2, **values):
    values = {key.replace("_", "/", 1): value for key, value in values.items()}
    return [serialized(features(mask, f"{start}_{index}", **values)) for index in range(count)]


def refusal(folder, *arguments, **settings):
    with pytest.raises(DataGateError) as caught:
        run(folder, *arguments, **settings)
    return str(caught.value)


@pytest.mark.parametrize(
    ("train", "evaluation", "test", "line"),
    [
        (BOTH, IGNORED, BOTH, "split eval: all pixels of all its masks (2) are 255, which means ignore"),
        (BOTH, BOTH, IGNORED, "split test: all pixels of all its masks (2) are 255, which means ignore"),
        (IGNORED, BOTH, BOTH, "split train: all pixels of all its masks (2) are 255, which means ignore"),
        (BOTH, BOTH * 0, BOTH, "split eval: all labeled pixels are of class road"),
        (BOTH, BOTH, BOTH * 0 + 1, "split test: all labeled pixels are of class car"),
    ],
)
def test_a_split_that_says_nothing_stops_the_run(tmp_path, train, evaluation, test, line):
    message = refusal(tmp_path, some(train, "a"), some(evaluation, "b"), test=some(test, "c"))
    first, found, *remedies = message.splitlines()
    assert first == "the data lacks what training needs:"
    assert found == f"  {line}"
    assert len(remedies) == 1


def test_the_test_split_of_the_newest_span_may_say_nothing(tmp_path):
    statistics = run(tmp_path, some(BOTH, "a"), some(BOTH, "b"), test=some(BOTH, "c"), newest=some(IGNORED, "d"))
    assert statistics["warnings"] == [
        "split newest: 2 of 2 masks are 255 (ignore) all over; nothing is learned or measured on them"
    ]


THREE = LabelMap.from_names(("road", "car", "sky"))
ALL = np.array([[0, 1, 2]] * 4, np.uint8)
# Of slice `day` with cars, `night` without, and `dusk` with nothing.
OF_SLICES = [
    *some(BOTH, "day", 3, image_slice=b"day"),
    *some(BOTH * 0, "night", 1, image_slice=b"night"),
    *some(IGNORED, "dusk", 1, image_slice=b"dusk"),
    *some(BOTH, "none", 1),
]


def test_what_is_missing_and_need_not_be_there_is_a_warning(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "segpipe"):
        statistics = run(tmp_path, some(ALL, "a"), some(BOTH, "b"), test=OF_SLICES, label_map=THREE)
    assert statistics["warnings"] == [
        "split test: 1 of 6 masks are 255 (ignore) all over; nothing is learned or measured on them",
        "split eval: no pixel of sky; which epoch is best is decided without them",
        "split test: no pixel of sky; the model's quality on them is not measured",
    ]
    assert caplog.messages == statistics["warnings"]


def test_the_slices_of_test_are_counted(tmp_path):
    statistics = run(tmp_path, some(ALL, "a"), some(BOTH, "b"), test=OF_SLICES, label_map=THREE)
    assert statistics["splits"]["test"]["slices"] == {
        "day": {"examples": 3, "pixels": {"road": 12, "car": 12, "sky": 0}},
        "dusk": {"examples": 1, "pixels": {"road": 0, "car": 0, "sky": 0}},
        "night": {"examples": 1, "pixels": {"road": 8, "car": 0, "sky": 0}},
    }


def test_a_group_in_two_splits_stops_the_run(tmp_path):
    message = refusal(
        tmp_path,
        [*some(BOTH, "a", image_group=b"patient_1"), *some(BOTH, "b", image_group=b"patient_2")],
        some(BOTH, "c", image_group=b"patient_3"),
        test=[*some(BOTH, "d", image_group=b"patient_2"), *some(BOTH, "e", image_group=b"patient_4")],
        newest=some(BOTH, "f", image_group=b"patient_4"),  # In test, too.
    )
    first, found, remedy = message.splitlines()
    assert first == "1 group(s) are in more than one split:"
    assert found == "  patient_2: in train, test"
    assert "segpipe convert --group-by" in remedy


def photograph(seed, quality=95, side=0):
    """An encoded image with structure of all sizes, and a mask for it."""
    generator = np.random.default_rng(seed)
    layers = [
        np.asarray(Image.fromarray(generator.integers(0, 256, (n, n, 3), np.uint8)).resize((120, 90)), float)
        for n in (4, 9, 20, 45)
    ]
    image = Image.fromarray(np.uint8(np.mean(layers, axis=0)))
    image = image.resize((side, side)) if side else image
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue(), np.arange(image.width * image.height, dtype=np.uint8).reshape(image.height, -1) % 2


def photographs(start, seeds, **changes):
    pairs = [photograph(seed, **changes) for seed in seeds]
    return [
        serialized(features(mask, f"{start}_{index}", **{contract.IMAGE: image}))
        for index, (image, mask) in enumerate(pairs)
    ]


def with_copies():
    return {
        # Black images of two splits, in `some`, are the same and say nothing.
        "train": [*photographs("a", range(8)), *photographs("same", [3]), *some(BOTH, "black_a")],
        "evaluation": [*photographs("b", range(20, 24)), *photographs("resized", [1], side=70), *some(BOTH, "black_b")],
        "test": [*photographs("c", range(30, 34)), *photographs("coarse", [2], quality=40), *photographs("d", [3])],
        "newest": photographs("e", [30, 40]),  # One is in test, too.
    }


def test_near_duplicates_in_two_splits_are_listed(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "segpipe"):
        (warning,) = run(tmp_path, **with_copies())["warnings"]
    assert caplog.messages == [warning]
    first, *found, remedy = warning.splitlines()
    assert first.startswith("3 pair(s) of images in different splits look alike")
    assert found[0] == "  train a_3, test d_0: 0 of 256 bits differ"
    assert {line.partition(":")[0] for line in found[1:]} == {
        "  train a_1, eval resized_0",
        "  train a_2, test coarse_0",
    }
    assert "--group-by" in remedy
    assert "data.near_duplicates: ignore" in remedy
    listed = json.loads((tmp_path / "statistics" / "near_duplicates.json").read_text())
    assert len(listed) == 3
    assert listed[0] == {"names": ["a_3", "d_0"], "splits": ["train", "test"], "distance": 0}


def test_near_duplicates_stop_the_run_or_are_not_looked_for_on_request(tmp_path):
    message = refusal(tmp_path / "error", **with_copies(), near_duplicates="error")
    assert "  train a_3, test d_0: 0 of 256 bits differ" in message
    assert not run(tmp_path / "ignore", **with_copies(), near_duplicates="ignore")["warnings"]


def test_of_many_near_duplicates_some_are_shown():
    pairs = [Pair((f"a_{index}", f"b_{index}"), ("train", "test"), 2) for index in range(100)]
    findings = Findings({}, [], 0, [], 0, [], 0, {}, pairs, 5000)
    lines = near_duplicates(findings, "/output/near_duplicates.json").splitlines()
    assert len(lines) == 13
    assert lines[11] == "  … and 4990 more; /output/near_duplicates.json lists 100"


def test_slices_of_the_offline_sample_are_not_taken_for_copies(brain_mri):
    hashes, splits = [], []
    for number, split in enumerate(contract.SPLITS):
        for record in tf.data.TFRecordDataset(sorted(map(str, brain_mri.glob(f"{split}-*.tfrecord")))):
            hashes.append(check_example(parse(record.numpy()), 4, with_hash=True).hash)
            splits.append(number)
    assert len(hashes) == 105
    assert not len(near_pairs(hashes, parts=splits))
    assert len(near_pairs(hashes)), "neighbors in one slab, 1 mm apart, are"


def is_refused(function, *arguments):
    try:
        function(*arguments)
    except (ValueError, tf.errors.InvalidArgumentError):
        return True
    return False


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}], ids=str)
def test_of_a_jpeg_less_is_computed_and_as_much_damage_found(options):
    """The gate decodes JPEGs in gray, at a fraction of their size; TensorFlow decodes the whole."""
    generator = np.random.default_rng(0)
    buffer = io.BytesIO()
    pixels = np.kron(generator.integers(0, 255, [24, 32, 3]), np.ones([12, 12, 1])).astype(np.uint8)
    Image.fromarray(pixels).save(buffer, "JPEG", **options)
    whole, refused = buffer.getvalue(), []
    for index in range(150):
        damaged = bytearray(whole)
        if index % 3:
            places = generator.integers(2, len(whole), generator.choice([1, 5, 50]))
            damaged[places[0]] ^= 255
            for place in places:
                damaged[place] = generator.integers(256)
        if index % 3 != 1:
            del damaged[generator.integers(len(whole)) :]
        as_a_whole = is_refused(tf.io.decode_jpeg, bytes(damaged))
        content = {contract.IMAGE: bytes(damaged)}
        example = parse(serialized(features(np.zeros([288, 384], np.uint8), **content)))
        assert is_refused(check_example, example, 2, True) == as_a_whole, index
        refused.append(as_a_whole)
    assert 30 < sum(refused) < 140


def odd_examples(count):
    """Serialized examples, good and bad; each third is as most are."""
    generator = np.random.default_rng(0)
    for index in range(count):
        height, width = generator.integers(1, 300, 2)
        pixels = np.kron(generator.integers(0, 255, [height, width // 8 + 1, 3]), np.ones([1, 8, 1]))
        image = Image.fromarray(pixels[:, :width].astype(np.uint8))
        mask = generator.integers(0, 2, [height, width]).astype(np.uint8)
        mode, kind, changes = "RGB", str(generator.choice(["JPEG", "PNG"])), {}
        fault = generator.integers(12) if index % 3 else 0
        if fault == 1:
            mode = str(generator.choice(["L", "CMYK"] if kind == "JPEG" else ["L", "P", "1", "LA", "RGBA"]))
        elif fault == 2:
            mask[0, 0] = generator.choice([2, 99, 254, 255])
        elif fault == 3:
            mask = mask[: generator.integers(height)] if height > 1 else mask.T
        image.convert(mode).save(buffer := io.BytesIO(), kind)
        content, stored = bytearray(buffer.getvalue()), bytearray(encode_png(mask))
        if fault in (4, 5):
            damaged = (content, stored)[fault - 4]
            damaged[generator.integers(len(damaged))] ^= 255
        elif fault in (6, 7):
            damaged = (content, stored)[fault - 6]
            del damaged[generator.integers(len(damaged)) :]
        elif fault == 8:
            changes = {contract.SOURCE_ID: None, contract.GROUP: b"group", contract.SLICE: "é".encode()}
        elif fault == 9:
            changes = {(contract.IMAGE, contract.MASK)[index % 2]: None}
        values = features(mask, f"example {index}", **{contract.IMAGE: bytes(content), contract.MASK: bytes(stored)})
        record = serialized({key: value for key, value in {**values, **changes}.items() if value is not None})
        yield bytes(255 - byte for byte in record) if fault == 10 else record


@pytest.mark.parametrize("with_hashes", [True, False])
def test_the_graph_finds_good_what_python_does(tmp_path, with_hashes):
    records = list(odd_examples(300))
    with tf.io.TFRecordWriter(str(tmp_path / "records")) as writer:
        for record in records:
            writer.write(record)
    checker, in_python = (Checker(2, with_hashes, None, None) for _ in range(2))
    in_python._in_graph = None
    dataset, described = tf.data.TFRecordDataset(str(tmp_path / "records")), []
    for one in (checker, in_python):
        results = [
            (names, dataclasses.replace(result, pixels=tuple(result.pixels)) if isinstance(result, Checked) else result)
            for names, result in one.results(dataset)
        ]
        described.append(sorted(map(repr, results)))
        one.close()
    assert described[0] == described[1]
    usual = [result is not None for _, result in checker._usual(dataset, checker._in_graph)]
    assert len(described[0]) == len(usual) == len(records)
    assert 100 < sum(usual) < 200


DEEP = np.arange(24, dtype=np.uint16).reshape(2, 2, 6) * 900


@pytest.mark.parametrize(
    ("values", "images"),
    [
        (DEEP[..., 0], {"type": "uint16", "bands": 1}),
        (DEEP[..., :3], {"type": "uint16", "bands": 3}),
        (DEEP, {"type": "uint16", "bands": 6, "nodata": 0}),
        (DEEP.astype(np.float32) / 7, {"type": "float32", "bands": 6}),
    ],
)
def test_images_have_to_be_what_the_model_takes(tmp_path, values, images):
    content, expected = encoded_values(values).encoded, of_report({"image": images})

    def check(content, images=None):
        record = serialized(features(np.array([[0, 1], [1, 0]], np.uint8), **{contract.IMAGE: content}))
        return check_example(parse(record), 2, with_hash=True, images=images)

    assert check(content, expected).height == 2
    message = (
        f"has {images['bands']} bands? of {images['type']}, and images have to have 3 bands of uint8.*processing.type"
    )
    with pytest.raises(ValueError, match=message):
        check(content)
    for broken in (content[: len(content) // 2], encode_png(np.zeros([2, 2], np.uint8))):
        with pytest.raises(ValueError, match=r"^image/encoded(: | has | is )"):
            check(broken, expected)


def test_the_gate_takes_what_the_configuration_says(tmp_path):
    mask = np.array([[0, 1], [1, 0]], np.uint8)
    content = encoded_values(DEEP).encoded
    records = [serialized(features(mask, name, **{contract.IMAGE: content})) for name in ("one", "two")]
    with pytest.raises(DataGateError, match="has 6 bands of uint16, and images have to have 3 bands of uint8"):
        run(tmp_path / "unknown", records[:1], records[1:])
    known = run(tmp_path / "known", records[:1], records[1:], images={"type": "uint16", "bands": 6})
    assert known["splits"]["train"]["examples"] == 1


def with_objects(mask, objects, name="one", **changes):
    instances = encode_labels(np.asarray(objects, np.uint16))
    return serialized(features(np.asarray(mask, np.uint8), name, **{contract.INSTANCES: instances, **changes}))


MASK, OBJECTS = [[0, 0, 1, 1], [1, 1, 1, 255]], [[0, 0, 7, 7], [9, 9, contract.CROWD, 7]]


def test_objects_are_counted_by_class_and_size_where_the_task_has_them(tmp_path):
    records = [with_objects(MASK, OBJECTS, name) for name in ("one", "two", "three")]
    statistics = run(tmp_path / "with", records[:1], records[1:2], test=records[2:], has_objects=1)["splits"]["train"]
    assert statistics["objects"] == {"road": 0, "car": 2}
    assert statistics["objects_by_pixels"] == {"2": 2}
    assert statistics["objects_by_share"] == {"0.125": 2}  # From a quarter on, and less than a half: 2 of 8 pixels.
    assert statistics["objects_by_aspect"] == {"2": 2}  # Both in an image of 4x2 pixels.
    without = run(tmp_path / "without", records[:1], records[1:2], test=records[2:])["splits"]["train"]
    assert not [key for key in without if key.startswith("objects")]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (with_objects(MASK, OBJECTS, **{contract.INSTANCES: None}), "is missing, .* set task: semantic"),
        (
            with_objects(MASK, [[7, 7, 7, 7], [9, 9, 0, 7]]),
            "object 7 has pixels of the classes road and car, .* number its parts apart",
        ),
        (
            with_objects(MASK, [[3, 3, 7, 7], [9, 9, 0, 7]]),
            "object 3 is of the class road, whose kind is stuff .* kind: thing",
        ),
        (with_objects(MASK, [[7, 7], [9, 9]]), "sizes differ: the mask has 4x2 pixels, .* 2x2"),
        (
            with_objects(MASK, OBJECTS, **{contract.INSTANCES: encode_png(np.zeros([2, 4], np.uint8))}),
            "is not a PNG with one 16-bit channel",
        ),
    ],
)
def test_objects_that_contradict_the_mask_stop_the_run(tmp_path, record, message):
    entries = LABEL_MAP.model_dump()
    entries[0]["kind"] = "stuff"
    good = [with_objects(MASK, OBJECTS, name) for name in ("a", "b")]
    with pytest.raises(DataGateError, match=message):
        run(tmp_path, [record], good[:1], test=good[1:], has_objects=1, label_map=LabelMap.model_validate(entries))


def test_a_task_with_objects_needs_some(tmp_path):
    records = [with_objects(MASK, np.zeros([2, 4]), name) for name in ("one", "two", "three")]
    with pytest.raises(UserError, match="no image of the split train has an object"):
        run(tmp_path, records[:1], records[1:2], test=records[2:], has_objects=1)


def test_a_split_without_objects_is_told(tmp_path, caplog):
    records = [
        with_objects(MASK, OBJECTS if name == "one" else np.zeros([2, 4]), name) for name in ("one", "two", "three")
    ]
    run(tmp_path, records[:1], records[1:2], test=records[2:], has_objects=1)
    for split in ("eval", "test"):
        assert f"split {split}: no object, so how well objects are told apart is not measured there" in caplog.text
    assert "split train: no object" not in caplog.text


def test_objects_of_a_class_that_has_none_in_train_are_told(tmp_path, caplog):
    mask = [[0, 0, 1, 1], [1, 1, 1, 0]]
    cars = with_objects(mask, [[0, 0, 7, 7], [9, 9, 9, 0]], "cars")
    roads = [with_objects(mask, [[3, 3, 7, 7], [9, 9, 9, 0]], name) for name in ("roads", "more")]
    run(tmp_path / "told", [cars], roads[:1], test=roads[1:], has_objects=1)
    assert "split test: objects of road, of which train has none" in caplog.text
    assert "objects of car" not in caplog.text
