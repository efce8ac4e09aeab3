"""Exports give what the SavedModel gives, say what they are, and are refused when they are damaged or lose too much."""

import ast
import base64
import functools
import hashlib
import http.server
import io
import json
import pathlib
import shutil
import subprocess
import sys
import textwrap
import threading
import zipfile

import keras
import numpy as np
import onnxruntime
import pytest
import tensorflow as tf
from PIL import Image
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from data import contract
from data.base.errors import UserError
from data.decoding.images import encode_png
from models.ensemble.average import average
from models.evaluation.metrics import class_totals, confusion_matrix, mean_iou
from models.exports import FORMATS
from models.exports.exports import (
    FOLDER,
    SAVED_MODEL,
    MeasuredExport,
    check_exports,
    check_files,
    lossy,
    make_exports,
    read_examples,
    read_exports,
)
from models.exports.network import Network
from models.serving import signatures
from models.serving.loaded_model import LoadedModel
from models.serving.versions import fingerprint, is_same_model
from tests.models.exports import small
from tests.models.serving.conftest import TILE, transform


@pytest.fixture(scope="module")
def network(exported):
    return Network(str(exported))


@pytest.fixture(scope="module")
def pixels(network):
    """Three images as the network takes them."""
    return np.concatenate([network.pixels(image) for image, _ in small.examples(3)])


@pytest.fixture
def copy(exported, tmp_path):
    """The same model, to be damaged."""
    return shutil.copytree(exported, tmp_path / "model")


def test_what_the_network_sees_is_what_clients_get(network, exported):
    served = LoadedModel(str(exported))
    for image, mask in small.examples(3):
        expected = small.transform({contract.IMAGE: tf.constant([image]), contract.MASK: tf.constant([mask])})
        np.testing.assert_array_equal(network.pixels(image), expected["pixels"])
        np.testing.assert_array_equal(network.labels(mask), expected["label"])
        (answer,) = served.segment([image], [(1, 1)])
        found = network.segment(network.pixels(image))
        np.testing.assert_array_equal(found["class_ids"][0], answer.class_ids)
        np.testing.assert_array_equal(found["confidence"][0], answer.confidence)
        assert len(np.unique(answer.class_ids)) > 1


def test_all_forms_are_measured_on_the_same_pixels(network, exported):
    found = read_exports(str(exported))
    assert list(found) == [SAVED_MODEL, *FORMATS]
    confusion = np.zeros([3, 3], np.int64)
    for image, mask in small.examples(12):
        ids = network.segment(network.pixels(image))["class_ids"].numpy()
        confusion += confusion_matrix(network.labels(mask), ids, 3)
    expected = mean_iou(class_totals(confusion))
    assert found[SAVED_MODEL].mean_iou == pytest.approx(expected)
    for name in ("tflite", "onnx"):
        assert found[name].mean_iou == pytest.approx(expected, abs=1e-3)
        assert found[name].agreement > 0.999
    assert found["tflite_float16"].agreement > 0.99
    assert found["tflite_int8"].agreement > 0.9
    assert all(item.milliseconds > 0 for item in found.values())
    for name, kind in FORMATS.items():
        assert found[name].bytes == (exported / FOLDER / kind.file).stat().st_size > 1000


@pytest.mark.parametrize("name", FORMATS)
def test_a_batch_has_any_size(exported, network, pixels, name):
    path = str(exported / FOLDER / FORMATS[name].file)
    segment = FORMATS[name]().load(path)
    expected = network.segment(pixels)
    for count in (3, 1, 2):
        class_ids, confidence, logits = segment(pixels[:count])
        assert (class_ids.dtype, confidence.dtype, logits.dtype) == (np.uint8, np.float32, np.float32)
        np.testing.assert_array_equal(logits.argmax(axis=-1), class_ids)
        assert (class_ids == expected["class_ids"][:count]).numpy().mean() > 0.9
        assert np.abs(confidence - expected["confidence"][:count]).max() < 0.2


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("value", [0, 255], ids=["black", "white"])
def test_a_constant_image_gets_the_same_class(exported, network, name, value):
    constant = np.full([1, *small.SIZE, 3], value, np.uint8)
    class_ids = FORMATS[name]().load(str(exported / FOLDER / FORMATS[name].file))(constant).class_ids
    # Away from the edge, where padding plays a part.
    inner = np.s_[0, 8:-8, 8:-8]
    expected = network.segment(constant)["class_ids"].numpy()[inner]
    assert (class_ids[inner] == expected).mean() > 0.9


def test_a_file_says_by_itself_what_it_is(exported):
    with zipfile.ZipFile(exported / FOLDER / "model_int8.tflite") as archive:
        facts = json.loads(archive.read("segpipe.json"))
    assert [label["name"] for label in facts["label_map"]] == list(small.NAMES)
    assert facts["input"] == {
        "name": "pixels",
        "shape": ["batch", *small.SIZE, 3],
        "type": "uint8",
        "padding": list(small.MEAN),
    }
    assert facts["outputs"]["logits"] == {"shape": ["batch", *small.SIZE, 3], "type": "float32"}
    assert facts["preprocessing"]["resize"] == "stretch"
    for kind in FORMATS.values():
        assert kind().description(str(exported / FOLDER / kind.file)) == facts


def test_tiles_show_each_pixel_of_a_mask_once(tmp_path):
    model = keras.Sequential([keras.Input([*TILE, 3]), keras.layers.Conv2D(3, 1)])
    facts = {
        "label_map": [{"id": i, "name": name, "color": [i, 90 * i, 200]} for i, name in enumerate(small.NAMES)],
        "preprocessing": {"height": TILE[0], "width": TILE[1], "channels": 3, "resize": "none"},
    }
    signatures.export(model, transform, str(tmp_path / "model"), facts)
    network = Network(str(tmp_path / "model"))
    for height, width in ((16, 12), (5, 40), (33, 30), (17, 3)):
        label = np.arange(height * width).reshape(height, width) % 3
        image = np.arange(height * width * 3).reshape(height, width, 3) % 256
        tiles = network.pixels(encode_png(image.astype(np.uint8)))
        labels = network.labels(encode_png(label.astype(np.uint8)))
        assert tiles.shape[:3] == labels.shape == (len(tiles), *TILE)
        counts = np.bincount(labels.ravel(), minlength=256)
        assert counts[:3].tolist() == np.bincount(label.ravel(), minlength=3).tolist()
    # A pixel and its label lie at the same place.
    marked, mask = np.zeros([33, 30, 3], np.uint8), np.zeros([33, 30], np.uint8)
    marked[31, 28], mask[31, 28] = 255, 2
    tiles, labels = network.pixels(encode_png(marked)), network.labels(encode_png(mask))
    assert tiles[labels == 2].tolist() == [[255, 255, 255]]


def test_a_damaged_or_missing_file_is_refused_by_name(copy):
    assert check_files(str(copy)) == check_exports(str(copy)) == read_exports(str(copy))
    file = copy / FOLDER / "model.onnx"
    whole = file.read_bytes()
    file.write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
    with pytest.raises(UserError, match=r"exports/model\.onnx is damaged"):
        LoadedModel(str(copy))
    file.unlink()
    with pytest.raises(UserError, match=r"exports/model\.onnx is missing"):
        LoadedModel(str(copy))
    # What was written was no model.
    file.write_bytes(b"no model")
    listed = json.loads((copy / FOLDER / "exports.json").read_text())
    listed["onnx"]["sha256"] = "9e7bb0c2f3a6e1d0"
    (copy / FOLDER / "exports.json").write_text(json.dumps(listed))
    with pytest.raises(UserError, match="is damaged"):
        check_files(str(copy))
    listed["onnx"]["sha256"] = hashlib.sha256(b"no model").hexdigest()
    (copy / FOLDER / "exports.json").write_text(json.dumps(listed))
    check_files(str(copy))
    with pytest.raises(UserError, match=r"model\.onnx does not run: .*; push the model again"):
        check_exports(str(copy))
    before = fingerprint(str(copy))
    for text in ("", "{", "[]", '{"onnx": {"color": 1}}', '{"onnx": 1}'):
        (copy / FOLDER / "exports.json").write_text(text)
        with pytest.raises(UserError, match=r"exports\.json is damaged"):
            LoadedModel(str(copy))
        # It still counts as a version, which can be rolled back.
        assert fingerprint(str(copy)) != before
        assert is_same_model(fingerprint(str(copy)), before)


def test_other_exports_make_another_version(copy):
    before = fingerprint(str(copy))
    (copy / FOLDER / "model.onnx").unlink()
    listed = json.loads((copy / FOLDER / "exports.json").read_text())
    listed["tflite"]["sha256"] = "made anew"
    (copy / FOLDER / "exports.json").write_text(json.dumps(listed))
    assert fingerprint(str(copy)) == before
    del listed["onnx"]
    (copy / FOLDER / "exports.json").write_text(json.dumps(listed))
    fewer = fingerprint(str(copy))
    shutil.rmtree(copy / FOLDER)
    assert before.startswith(fingerprint(str(copy)))
    assert len({before, fewer, fingerprint(str(copy))}) == 3
    assert is_same_model(before, fewer)
    assert is_same_model(before, fingerprint(str(copy)))
    assert not is_same_model(before, f"0-{fewer}")


def test_what_loses_more_than_it_may_is_named_with_numbers():
    found = {
        SAVED_MODEL: MeasuredExport(0.8, 1.0, 5.0),
        "onnx": MeasuredExport(0.8, 1.0, 5.0),
        "tflite": MeasuredExport(0.78, 1.0, 5.0),
        "tflite_int8": MeasuredExport(0.78, 1.0, 5.0),
    }
    limits = {"onnx": 0.0, "tflite": 0.01, "tflite_int8": 0.03, "tflite_float16": 0.01}
    assert lossy(found, limits) == [
        "the export tflite has a mean IoU of 0.7800, 0.0200 below the SavedModel's 0.8000; export.max_loss is 0.01",
        "the export tflite_float16 is missing",
    ]
    assert lossy(found, {"tflite_int8": 0.01}) == [
        "the export tflite_int8 has a mean IoU of 0.7800, 0.0200 below the SavedModel's 0.8000; "
        "export.max_loss_int8 is 0.01"
    ]
    unlabeled = {SAVED_MODEL: MeasuredExport(None, 1.0, 5.0), "onnx": MeasuredExport(None, 1.0, 5.0)}
    assert "no labels" in lossy(unlabeled, {"onnx": 0.01})[0]
    assert lossy({}, {}) == []


def test_without_images_nothing_is_made(network, tmp_path):
    with pytest.raises(UserError, match="needs training images"):
        make_exports(network, ["tflite_int8"], str(tmp_path), [], [network.noise()])
    with pytest.raises(UserError, match="no test image"):
        make_exports(network, ["onnx"], str(tmp_path), [], [])
    assert not (tmp_path / "exports.json").exists()


def test_examples_without_a_mask_are_named(tmp_path):
    path = str(tmp_path / "test.tfrecord")
    image = tf.train.Feature(bytes_list=tf.train.BytesList(value=[small.examples(1)[0][0]]))
    with tf.io.TFRecordWriter(path) as writer:
        writer.write(tf.train.Example(features=tf.train.Features(feature={contract.IMAGE: image})).SerializeToString())
    with pytest.raises(UserError, match=r"test\.tfrecord holds an example without a mask"):
        list(read_examples([path]))


def test_models_that_cannot_be_exported_are_named(tmp_path, of_objects_facts):
    with pytest.raises(UserError, match="tells objects apart"):
        Network(of_objects_facts)
    with pytest.raises(UserError, match="is not a segpipe model"):
        Network(str(tmp_path))


def test_what_has_no_export_is_named(copy):
    path = copy / "assets.extra" / "segpipe.json"
    facts = {**json.loads(path.read_text()), "model": {"encoder": "vgg16", "decoder": "segnet"}}
    path.write_text(json.dumps(facts))
    with pytest.raises(UserError, match="cannot be exported: its pooling indices"):
        Network(str(copy))


@pytest.fixture
def of_objects_facts(copy):
    path = copy / "assets.extra" / "segpipe.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "task": "instance"}))
    return str(copy)


def programs():
    """The programs in docs/exports.md, by the name of the runtime."""
    text = (pathlib.Path(__file__).parents[3] / "docs" / "exports.md").read_text()
    sections = {part.partition("\n")[0]: part for part in text.split("\n### ")[1:]}
    return {
        name: textwrap.dedent("\n".join(line for line in part.splitlines() if line.startswith("    ") or not line))
        for name, part in sections.items()
    }


@pytest.mark.parametrize(
    ("runtime", "file"),
    [("LiteRT", "model_int8.tflite"), ("LiteRT", "model.tflite"), ("ONNX Runtime", "model.onnx")],
)
def test_the_programs_of_the_docs_run(exported, network, tmp_path, runtime, file):
    image, _ = small.examples(1)[0]
    (tmp_path / "photo.png").write_bytes(image)
    arguments = [exported / FOLDER / file, tmp_path / "photo.png", tmp_path / "mask.png"]
    command = [sys.executable, "-c", programs()[runtime], *map(str, arguments)]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    mask = np.asarray(Image.open(tmp_path / "mask.png"))
    expected = network.segment(network.pixels(image))["class_ids"][0].numpy()
    found = np.asarray(Image.fromarray(mask).resize(expected.shape[::-1], Image.Resampling.NEAREST))
    assert (found == expected).mean() > 0.9
    assert sum(ast.literal_eval(printed).values()) == expected.size


def test_the_page_of_the_docs_runs_in_a_browser(exported, browser, onnxruntime_web, tmp_path):
    site = tmp_path / "site"
    (site / "node_modules").mkdir(parents=True)
    (site / "node_modules" / "onnxruntime-web").symlink_to(onnxruntime_web)
    (site / "index.html").write_text(programs()["A browser"])
    shutil.copy(exported / FOLDER / "model.onnx", site)
    height, width = small.SIZE
    # Of the model's size, so that nothing is resized, which a browser does otherwise.
    same = np.random.default_rng(0).integers(0, 256, [height, width, 3]).astype(np.uint8)
    Image.fromarray(same).save(tmp_path / "same.png")
    Image.fromarray(same).resize((300, 200)).save(tmp_path / "large.jpg")
    class_ids = FORMATS["onnx"]().load(str(site / "model.onnx"))(same[None]).class_ids
    counts = np.bincount(class_ids.ravel(), minlength=3)
    assert np.count_nonzero(counts) > 1
    colors = np.array([[i, 90 * i, 200] for i in range(3)])

    def segmented(path):
        """Counts by name, and [height, width, 3] what the page shows."""
        size = Image.open(path).size
        browser.find_element(By.ID, "file").send_keys(str(path))
        get_size = "const { width, height } = document.getElementById('canvas'); return [width, height]"
        WebDriverWait(browser, 60).until(lambda page: page.execute_script(get_size) == list(size))
        shown = browser.execute_script("return document.getElementById('canvas').toDataURL()")
        picture = Image.open(io.BytesIO(base64.b64decode(shown.partition(",")[2]))).convert("RGB")
        return json.loads(browser.find_element(By.ID, "counts").text), np.asarray(picture).astype(int)

    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=site)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            browser.get(f"http://127.0.0.1:{server.server_port}/")
            WebDriverWait(browser, 60).until(lambda page: page.find_element(By.ID, "file").is_enabled())
            found, picture = segmented(tmp_path / "same.png")
            resized, large = segmented(tmp_path / "large.jpg")
        finally:
            server.shutdown()
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
    assert list(found) == list(small.NAMES)
    # The two runtimes round in their own ways, which decides where two classes are as likely.
    assert np.abs(np.array(list(found.values())) - counts).sum() <= 2
    is_right = np.abs(picture - (same + colors[class_ids[0]]) / 2).max(axis=-1) < 2
    assert is_right.sum() >= height * width - 2
    assert (sum(resized.values()), large.shape) == (height * width, (200, 300, 3))


# Prints Triton's configuration as JSON, as Triton reads it.
_TRITON = """
import importlib.util, pathlib, runpy, sys
from google.protobuf import json_format, text_format
(folder,) = importlib.util.find_spec("tritonclient").submodule_search_locations
# Its package imports more than the schema needs.
schema = runpy.run_path(folder + "/grpc/model_config_pb2.py")
config = text_format.Parse(pathlib.Path(sys.argv[1]).read_text(), schema["ModelConfig"]())
print(json_format.MessageToJson(config, preserving_proto_field_name=True))
"""


def test_tritons_configuration_is_that_of_the_model(exported, labeling_tools):
    config = json.loads(labeling_tools(_TRITON, str(exported / FOLDER / "config.pbtxt")))
    assert (config["backend"], config["dynamic_batching"]) == ("onnxruntime", {})
    assert config["max_batch_size"] > 1
    session = onnxruntime.InferenceSession(str(exported / FOLDER / "model.onnx"))
    types = {"TYPE_UINT8": "tensor(uint8)", "TYPE_FP32": "tensor(float)"}
    for values, expected in ((config["input"], session.get_inputs()), (config["output"], session.get_outputs())):
        # Triton's sizes, which JSON has as strings, are those of one image.
        found = {item["name"]: (types[item["data_type"]], ["batch", *map(int, item["dims"])]) for item in values}
        assert found == {item.name: (item.type, item.shape) for item in expected}


@pytest.mark.one_line
def test_several_models_and_mirrored_images_are_exported_too(tmp_path, monkeypatch):
    one = small.build_model
    monkeypatch.setattr(small, "build_model", lambda *options: average([one(*options), one(*options)], 3, "horizontal"))
    small.make_model(tmp_path / "model")
    (tmp_path / "exports").mkdir()
    network = Network(str(tmp_path / "model"))
    found = make_exports(network, ["onnx", "tflite"], str(tmp_path / "exports"), [], network.seen(small.examples(2)))
    assert found["onnx"].agreement > 0.999
    assert found["tflite"].agreement > 0.999
