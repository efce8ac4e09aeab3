"""What users of a model that tells objects apart get: from predict, and from the server."""

import gzip
import io
import json

import keras
import numpy as np
import orjson
import pytest
import tensorflow as tf
from PIL import Image
from pycocotools import mask as coco_masks
from pycocotools.coco import COCO

from data import contract
from data.contract import SegmentationExample
from data.decoding.arrays import encode_array
from data.decoding.images import encode_png
from data.decoding.label_png import encode_labels
from data.label_map import LabelMap
from data.writing.objects import FoundObjects, is_edge, panoptic_colors, panoptic_ids
from models.evaluation.objects.segments import keys, overlaps
from models.inputs import arrays, preprocessing
from models.instances.scale import ObjectScale
from models.serving import signatures
from models.serving.loaded_model import LoadedModel
from models.serving.predict import predict
from models.serving.server.batching import Answer
from models.serving.server.server import _encode

RED, BLUE = (255, 0, 0), (0, 0, 255)
NAMES = ["nothing", "cat", "dog"]


def scene():
    """[40, 60] of two cats that touch, a dog, and a speck; and the number of the object that each pixel belongs to."""
    image, numbers = np.zeros([40, 60, 3], np.uint8), np.zeros([40, 60], int)
    for number, (rows, columns, color) in enumerate(
        [(np.s_[2:11], np.s_[3:12], RED), (np.s_[2:11], np.s_[12:21], RED), (np.s_[20:35], np.s_[30:51], BLUE)], start=1
    ):
        image[rows, columns], numbers[rows, columns] = color, number
        image[(rows.start + rows.stop) // 2, (columns.start + columns.stop) // 2, 1] = 255
    image[38, 58:] = RED  # Without a center.
    return image, numbers


@pytest.fixture(scope="module")
def predicted(of_objects, tmp_path_factory):
    home = tmp_path_factory.mktemp("predicted")
    (home / "photos").mkdir()
    Image.fromarray(scene()[0]).save(home / "photos" / "scene.png")
    Image.fromarray(np.zeros([20, 30, 3], np.uint8)).save(home / "photos" / "empty.png")
    inputs = {str(home / "photos" / f"{name}.png"): f"sub/{name}" for name in ("scene", "empty")}
    found = list(predict(str(of_objects), inputs, str(home / "out"), formats=["coco"], tolerance=0.0))
    assert [prediction.error for prediction in found] == [None, None]
    return home / "out", found


def test_objects_are_numbered_in_16_bits_and_counted(predicted):
    folder, (found, empty) = predicted
    numbers = Image.open(folder / "sub" / "scene_instances.png")
    assert numbers.mode == "I;16"
    np.testing.assert_array_equal(np.asarray(numbers), scene()[1])
    assert found.object_counts == {"cat": 2, "dog": 1}
    assert [item["class"] for item in found.objects] == ["cat", "cat", "dog"]
    assert found.objects[1]["box"] == [2, 12, 11, 21]
    assert [item["area"] for item in found.objects] == [81, 81, 315]
    assert (empty.object_counts, empty.objects) == ({}, [])
    lines = [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]
    assert lines[0]["object_counts"] == found.object_counts
    assert lines[0]["instances"].endswith("scene_instances.png")


def test_overlays_have_white_edges(predicted):
    folder, _ = predicted
    overlay = np.asarray(Image.open(folder / "sub" / "scene_overlay.png"))
    edges = is_edge(scene()[1])
    assert (overlay[edges] == 255).all()
    assert not (overlay[~edges] == 255).all(axis=-1).any()
    # Also where the two cats touch.
    assert edges[5, 11]
    assert edges[5, 12]
    assert not edges[5, 9]


def test_coco_takes_the_results(predicted):
    folder, (found, _) = predicted
    panoptic = json.loads((folder / "objects_panoptic.json").read_text())
    truth = COCO()
    truth.dataset = {"images": panoptic["images"], "categories": panoptic["categories"], "annotations": [], "info": {}}
    truth.createIndex()
    results = truth.loadRes(str(folder / "objects_coco.json"))
    numbers = np.zeros([40, 60], int)
    for index, annotation in enumerate(results.loadAnns(results.getAnnIds(1)), start=1):
        pixels = coco_masks.decode(annotation["segmentation"]).astype(bool)
        assert annotation["score"] == pytest.approx(found.objects[index - 1]["score"], abs=1e-3)
        assert annotation["category_id"] == NAMES.index(found.objects[index - 1]["class"])
        assert coco_masks.toBbox(annotation["segmentation"]).tolist() == annotation["bbox"]
        numbers[pixels] = index
    np.testing.assert_array_equal(numbers, scene()[1])
    assert results.getAnnIds(2) == []


def test_panoptic_files_cover_each_pixel(predicted):
    folder, _ = predicted
    content = json.loads((folder / "objects_panoptic.json").read_text())
    assert [(category["name"], category["isthing"]) for category in content["categories"]] == [
        ("nothing", 0), ("cat", 1), ("dog", 1),
    ]  # fmt: skip
    for image, annotation in zip(content["images"], content["annotations"], strict=True):
        colors = np.asarray(Image.open(folder / annotation["file_name"])).astype(int)
        ids = colors @ [1, 256, 65536]
        assert ids.shape == (image["height"], image["width"])
        assert {item["id"]: item["area"] for item in annotation["segments_info"]} == dict(
            zip(*(values.tolist() for values in np.unique(ids, return_counts=True)), strict=True)
        )
        for item in annotation["segments_info"]:
            rows, columns = np.nonzero(ids == item["id"])
            left, top, width, height = item["bbox"]
            assert (top, left) == (rows.min(), columns.min())
            assert (top + height, left + width) == (rows.max() + 1, columns.max() + 1)


def test_annotations_have_a_region_for_each_object(predicted):
    content = json.loads((predicted[0] / "annotations_coco" / "annotations.json").read_text())
    regions = [(item["category_id"], item["area"]) for item in content["annotations"]]
    # What is background is called nothing here, so it is a region too.
    assert [region for region in regions if region[0]] == [(1, 81), (1, 81), (2, 315)]


def test_the_server_answers_with_objects_as_the_signature_does(of_objects):
    model = LoadedModel(str(of_objects), 1)
    images = [encode_png(scene()[0]), encode_png(np.zeros([20, 30, 3], np.uint8))]
    found = model.segment(images, [(40, 60), (20, 30)])
    # All are parts of one copy of the batch.
    assert found[0].objects.numbers.base is found[1].objects.numbers.base is not None
    outputs = model.signatures["serving_default"](tf.constant(images))
    rows = orjson.loads(_encode(Answer(model, found), by_rows=True))["predictions"]
    assert rows[0].keys() == outputs.keys()
    assert [row["object_count"] for row in rows] == outputs["object_count"].numpy().tolist() == [3, 0]
    np.testing.assert_array_equal(rows[0]["instance_ids"], scene()[1])
    np.testing.assert_array_equal(rows[0]["object_boxes"], outputs["object_boxes"][0])
    assert rows[1]["object_boxes"] == []
    columns = orjson.loads(_encode(Answer(model, found), by_rows=False))["outputs"]
    assert columns["object_count"] == [3, 0]


def test_objects_that_another_size_leaves_no_pixel_are_left_out():
    numbers = np.array([[0, 3, 3], [1, 1, 0]])
    found = FoundObjects.measured(numbers, np.array([1, 2, 2]), np.array([0.5, 0.6, 0.7]))
    assert found.numbers.tolist() == [[0, 2, 2], [1, 1, 0]]
    assert found.class_ids.tolist() == [1, 2]
    assert found.scores.tolist() == [0.5, 0.7]
    assert found.boxes.tolist() == [[1, 0, 2, 2], [0, 1, 1, 3]]
    assert found.areas.tolist() == [2, 2]
    assert found.counts(LabelMap.from_names(NAMES)) == {"cat": 1, "dog": 1}
    none = FoundObjects.measured(np.zeros([2, 2], int), np.zeros(0, int), np.zeros(0))
    assert (none.boxes.shape, none.areas.shape) == ((0, 4), (0,))


def test_numbers_beyond_8_bits_survive_as_colors():
    objects = FoundObjects.measured(
        np.arange(70_000, dtype=np.int32).reshape(700, 100), np.ones(69_999, int), np.ones(69_999)
    )
    colors = panoptic_colors(panoptic_ids(np.zeros([700, 100], np.uint8), objects)).astype(int)
    np.testing.assert_array_equal((colors @ [1, 256, 65536]).ravel()[1:], np.arange(1, 70_000))


def test_a_semantic_model_writes_no_objects(push, tmp_path):
    push(tmp_path / "serving", 1, 1)
    buffer = io.BytesIO()
    Image.new("RGB", (30, 20), (200,) * 3).save(buffer, "PNG")
    (tmp_path / "one.png").write_bytes(buffer.getvalue())
    list(predict(str(tmp_path / "serving"), {str(tmp_path / "one.png"): "one"}, str(tmp_path / "out")))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "one_mask.png", "one_overlay.png", "predictions.jsonl",
    ]  # fmt: skip
    (line,) = (tmp_path / "out" / "predictions.jsonl").read_text().splitlines()
    assert json.loads(line).keys() == {
        "image", "mask", "overlay", "height", "width", "class_shares", "confidence",
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "array", "gzipped array"])
def test_what_is_found_in_padding_is_no_object(padding, kind):
    """Its padding is red with a center, as is a strip at the top of the image, whose other center is beyond its end."""
    image = np.zeros([10, 30, 3], np.uint8)
    image[:5, 2:12] = RED
    image[2, 6, 1] = 255
    served = padding.signatures["serving_default"](tf.constant([_saved(image, kind)]))
    assert served["object_count"].numpy().tolist() == [1]
    numbers = np.zeros([20, 30], int)
    numbers[5:10, 2:12] = 1
    if kind != "JPEG":
        np.testing.assert_array_equal(served["instance_ids"][0], numbers)
        np.testing.assert_array_equal(served["class_ids"][0], numbers)
    assert served["instance_ids"].numpy()[0, [*range(5), *range(15, 20)]].max() == 0
    example = SegmentationExample(
        encode_png(image),
        "png",
        10,
        30,
        encode_png(numbers[5:15].astype(np.uint8)),
        "one",
        instances=encode_labels(numbers[5:15].astype(np.uint16)),
    )
    for signature in signatures.EVALUATION.values():
        measured = padding.signatures[signature](tf.constant([example.serialize()]))
        assert (measured["object_scores"].numpy() > 0).sum() == 1
        counted = measured["segment_overlaps"].numpy()[0]
        is_object = (counted[:, 0] % 65536 > 0) | (counted[:, 1] % 65536 > 0)
        assert counted[is_object].tolist() == [[65537, 65537, 50]]


def _saved(image, kind):
    if "array" in kind:  # Of four bands.
        content = encode_array(np.concatenate([image, image[..., :1]], axis=-1))
        return content if kind == "gzipped array" else gzip.decompress(content)
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind, **({"quality": 100, "subsampling": 0} if kind == "JPEG" else {}))
    return buffer.getvalue()


@pytest.fixture(scope="module")
def padding(tmp_path_factory):
    """The signatures of a model as `of_objects` that puts images of 10x30 into the middle of 20x30."""

    def padded(values, fill):
        return tf.pad(values, [[5, 5], [0, 0], [0, 0]], constant_values=fill)

    def of_image(encoded):
        pixels = tf.cond(
            tf.reduce_any(tf.strings.substr(encoded, 0, 2) == [b"\x1f\x8b", b"\x93N"]),
            lambda: arrays.decode_array(encoded, "uint8", 4)[..., :3],
            lambda: tf.io.decode_image(encoded, 3, expand_animations=False),
        )
        pixels = tf.cast(pixels, tf.int32)
        channels = [padded(pixels[..., index : index + 1], fill) for index, fill in enumerate(RED)]
        shown = tf.concat(channels, axis=-1)
        # A center right above the object, and higher than its own.
        return tf.tensor_scatter_nd_update(shown, [[4, 6, 1], [17, 20, 1]], [300, 300])

    def transform(features):
        spec = tf.TensorSpec([20, 30, None], tf.int32)
        pixels = tf.map_fn(of_image, features[contract.IMAGE], fn_output_signature=spec)
        found = transformed(tf.ensure_shape(pixels, [None, 20, 30, 3]))
        if contract.MASK in features:
            for name, values, fill, dtype in (
                (preprocessing.LABEL, features[contract.MASK], 255, tf.uint8),
                (preprocessing.OBJECTS, features[contract.INSTANCES].values, 0, tf.uint16),
            ):
                found[name] = tf.map_fn(
                    lambda encoded, dtype=dtype, fill=fill: padded(
                        tf.cast(tf.io.decode_png(encoded, 1, dtype), tf.int32), fill
                    ),
                    values,
                    fn_output_signature=spec,
                )[..., 0]
        return found

    return _exported("pad", transform, (20, 30), tmp_path_factory)


def transformed(pixels):
    """The features of an image whose colors have the mean 100 and the standard deviation 50."""
    rows = [tf.shape(pixels)[0], 3]
    mean, scale = tf.fill(rows, 100.0), tf.fill(rows, 1 / 50)
    image = preprocessing.normalize(pixels, mean, scale)
    found = (image, pixels, mean, scale)
    names = (preprocessing.IMAGE, preprocessing.PIXELS, preprocessing.MEAN, preprocessing.SCALE)
    return dict(zip(names, found, strict=True))


def _exported(resize, transform, size, tmp_path_factory):
    """The signatures of a model that finds cats in red and dogs in blue, with centers in green."""
    layer = keras.layers.Conv2D(6, 1, use_bias=False)
    model = keras.Sequential([keras.Input([*size, 3]), layer])
    kernel = np.zeros([1, 1, 3, 6], np.float32)
    kernel[0, 0, 0, 1], kernel[0, 0, 1, 3], kernel[0, 0, 2, 2] = 5, 1 / 3.1, 5
    layer.set_weights([kernel])
    folder = str(tmp_path_factory.mktemp(resize) / "model")
    facts = {"label_map": [], "preprocessing": {"resize": resize}}
    signatures.export(model, transform, folder, facts, ObjectScale((False, True, True), 1.0, 3, 2))
    return tf.saved_model.load(folder)


@pytest.fixture(scope="module")
def resizing(tmp_path_factory):
    """The signatures of a model as `of_objects` that resizes images to 20x30."""
    size = (20, 30)

    def transform(features):
        def resized(name, decode):
            values = features[name].values if name == contract.INSTANCES else features[name]
            return tf.map_fn(
                lambda encoded: tf.image.resize(decode(encoded), size, method="nearest"),
                values,
                fn_output_signature=tf.TensorSpec([*size, None], tf.int32),
            )

        pixels = resized(contract.IMAGE, lambda encoded: tf.cast(tf.io.decode_png(encoded, 3), tf.int32))
        found = transformed(tf.ensure_shape(pixels, [None, *size, 3]))
        if contract.MASK in features:
            found[preprocessing.LABEL] = resized(
                contract.MASK, lambda encoded: tf.cast(tf.io.decode_png(encoded, 1), tf.int32)
            )[..., 0]
            found[preprocessing.OBJECTS] = resized(
                contract.INSTANCES, lambda encoded: tf.cast(tf.io.decode_png(encoded, 1, tf.uint16), tf.int32)
            )[..., 0]
        return found

    return _exported("stretch", transform, size, tmp_path_factory)


@pytest.mark.parametrize("resolution", ["model", "original"])
def test_what_is_measured_of_images_that_are_resized(resizing, resolution):
    image, numbers = scene()
    image[6:8, 6:10, 1] = image[6:8, 16:18, 1] = image[26:30, 40:42, 1] = 255  # Centers that half the size keeps.
    class_ids = np.array([0, 1, 1, 2])[numbers].astype(np.uint8)
    example = SegmentationExample(
        encode_png(image),
        "png",
        40,
        60,
        encode_png(class_ids),
        "one",
        instances=encode_labels(numbers.astype(np.uint16)),
    )
    serialized = tf.constant([example.serialize()])
    served = resizing.signatures["serving_default"](tf.constant([encode_png(image)]))
    measured = resizing.signatures[signatures.EVALUATION[resolution]](serialized)
    half = np.s_[1::2, 1::2]
    found = [served[name].numpy()[0] for name in ("class_ids", "instance_ids")]
    if resolution == "original":
        found, labels = [np.repeat(np.repeat(values, 2, 0), 2, 1) for values in found], (class_ids, numbers)
    else:
        labels = (class_ids[half], numbers[half])
    is_thing = np.array([False, True, True])
    expected = overlaps(keys(*labels, is_thing), keys(*found, is_thing))
    counted = measured["segment_overlaps"].numpy()[0]
    np.testing.assert_array_equal(counted[np.lexsort([counted[:, 1], counted[:, 0]])], expected)
    assert served["object_count"].numpy().tolist() == [3]
    assert measured["image_size"].numpy().tolist() == [[40, 60]]
    assert measured["confusion_matrix"].numpy().sum() == labels[0].size
