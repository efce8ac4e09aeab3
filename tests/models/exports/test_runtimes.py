"""A version answers in any runtime that it holds as it does in TensorFlow, and by itself in the fastest."""

import asyncio
import copy as copying
import hashlib
import io
import json
import logging
import shutil
import time

import numpy as np
import pytest
from aiohttp.test_utils import TestClient, TestServer
from click.testing import CliRunner
from PIL import Image

from data.base.errors import UserError
from data.decoding.images import BadImageError, encode_png
from models.exports import FORMATS, SAVED_MODEL
from models.exports.exports import FOLDER, read_exports
from models.exports.runtimes import AUTO, NoRuntimeError, choose
from models.serving.loaded_model import LoadedModel
from models.serving.server.follower import Follower
from models.serving.server.server import ModelServer
from pipeline.cli import cli
from tests.models.exports import small


def photograph(height, width):
    coarse = np.random.default_rng(height).integers(0, 256, [7, 5, 3]).astype(np.uint8)
    return encode_png(np.asarray(Image.fromarray(coarse).resize((width, height))))


SIZES = [(40, 61), (90, 20), (7, 9), (small.SIZE[0], small.SIZE[1])]
IMAGES = [photograph(*size) for size in SIZES]


@pytest.fixture(scope="module")
def by_tensorflow(exported):
    return LoadedModel(str(exported))


@pytest.fixture
def copy(exported, tmp_path):
    """The same as a version at a push destination, to be changed."""
    return shutil.copytree(exported, tmp_path / "serving" / "1")


def break_onnx(version):
    """Its file is what was written, and yet no model."""
    (version / FOLDER / "model.onnx").write_bytes(b"no model")
    path = version / FOLDER / "exports.json"
    listed = json.loads(path.read_text())
    listed["onnx"]["sha256"] = hashlib.sha256(b"no model").hexdigest()
    path.write_text(json.dumps(listed))


@pytest.mark.parametrize("name", FORMATS)
def test_each_runtime_answers_as_tensorflow_does(exported, by_tensorflow, name):
    model = copying.copy(by_tensorflow)
    model.runtime = choose(name, str(exported), [SAVED_MODEL, name], lambda segment: None)
    assert (model.runtime.name, model.runtime.lines()) == (name, [f"Running as {name}"])
    # In 32 bits hardly a pixel differs; in integers as many as were measured.
    least = {"onnx": 0.999, "tflite": 0.999, "tflite_float16": 0.99}.get(
        name, read_exports(str(exported))[name].agreement
    )
    equal = total = 0
    for at_original_size in (False, True):
        expected = by_tensorflow.segment(IMAGES, SIZES, at_original_size)
        found = model.segment(IMAGES, SIZES, at_original_size)
        for one, other, size in zip(found, expected, SIZES, strict=True):
            assert one.class_ids.shape == (size if at_original_size else small.SIZE)
            assert (one.class_ids.dtype, one.confidence.dtype) == (np.uint8, np.float32)
            assert one.confidence.shape == one.class_ids.shape == other.class_ids.shape
            equal += (one.class_ids == other.class_ids).sum()
            total += one.class_ids.size
            assert np.abs(one.confidence - other.confidence).max() < (1e-4 if least > 0.99 else 0.2)
    assert equal / total > least - 0.02 * (least < 0.999)
    # Its own ways give one map.
    for image, size, one in zip(IMAGES, SIZES, model.segment(IMAGES, SIZES, at_original_size=True), strict=True):
        shares = []
        whole = model.segment_whole(image, *size, shares.append)
        np.testing.assert_array_equal(whole.class_ids, one.class_ids)
        assert whole.confidence == pytest.approx(one.confidence.mean(), abs=1e-5)
        assert shares[-1] == 1
    for damaged in (b"", b"no image", IMAGES[0][:-30]):
        with pytest.raises(BadImageError, match="cannot be decoded"):
            model.segment([damaged], [(1, 1)])
        with pytest.raises(BadImageError, match="cannot be decoded"):
            model.segment_whole(damaged, 1, 1)


def test_the_fastest_is_taken(exported):
    names = list(read_exports(str(exported)))

    def seconds_of(fast):
        return lambda segment: time.sleep(0.0 if (segment is None) == fast else 0.05)

    found = choose(AUTO, str(exported), names, seconds_of(fast=True))
    assert "tflite_int8" in names, "which may have lost something, and is taken only if it is asked for"
    compared = [name for name in names if name != "tflite_int8"]
    assert (found.name, found.segment, list(found.milliseconds)) == (SAVED_MODEL, None, compared)
    assert found.milliseconds["onnx"] >= 50 > found.milliseconds[SAVED_MODEL]
    found = choose(AUTO, str(exported), names, seconds_of(fast=False))
    assert found.name in FORMATS
    assert found.describe().startswith(f"{found.name}, ")
    assert f"({SAVED_MODEL} 50." in found.describe() or f"({SAVED_MODEL} 5" in found.describe()
    pixels = np.zeros([1, *small.SIZE, 3], np.uint8)
    assert found.segment(pixels).logits.shape == (1, *small.SIZE, 3)


def test_by_itself_a_model_says_what_was_compared(exported, by_tensorflow):
    model = LoadedModel(str(exported), runtime=AUTO)
    times = model.runtime.milliseconds
    assert list(times) == [SAVED_MODEL, "tflite", "tflite_float16", "onnx"]
    assert times[model.runtime.name] == min(times.values())
    (line,) = model.runtime.lines()
    assert line.startswith(f"Running as {model.runtime.name}, {min(times.values()):.1f} ms an image (")
    (found,), (expected,) = (one.segment(IMAGES[:1], SIZES[:1], True) for one in (model, by_tensorflow))
    assert (found.class_ids == expected.class_ids).mean() > 0.999


def test_what_is_missing_is_left_out_or_said_with_the_remedy(exported, copy, monkeypatch):
    monkeypatch.setattr(FORMATS["onnx"], "runtime", "no_such_package")
    assert "onnx" not in LoadedModel(str(exported), runtime=AUTO).runtime.milliseconds
    with pytest.raises(NoRuntimeError, match=r"onnx needs no_such_package, .*: pip install 'segpipe\[export\]'"):
        LoadedModel(str(exported), runtime="onnx")
    shutil.rmtree(copy / FOLDER)
    with pytest.raises(NoRuntimeError, match=r"/1 holds no export tflite, but no other one; `export: \[tflite\]` in"):
        LoadedModel(str(copy), runtime="tflite")
    plain = LoadedModel(str(copy), runtime=AUTO).runtime
    assert (plain.name, dict(plain.milliseconds), plain.lines()) == (SAVED_MODEL, {}, [])


def test_what_does_not_run_here_is_not_taken(copy):
    break_onnx(copy)
    found = LoadedModel(str(copy), runtime=AUTO).runtime
    assert found.name != "onnx"
    assert found.lines()[0].startswith("model.onnx does not run here: ")
    assert len(found.lines()) == 2
    with pytest.raises(UserError, match=r"/1: model.onnx does not run here: .*; choose another --runtime"):
        LoadedModel(str(copy), runtime="onnx")


def test_a_server_follows_versions_with_other_exports(exported, copy, caplog):
    caplog.set_level(logging.INFO)
    destination = str(copy.parent)
    follower = Follower(destination, poll_seconds=3600, runtime="onnx")
    assert (follower.model.version, follower.model.runtime.name) == (1, "onnx")
    assert "serving version 1 as onnx" in caplog.text
    shutil.copytree(exported, copy.parent / "2")
    shutil.rmtree(copy.parent / "2" / FOLDER)
    follower._look()
    assert (follower.model.version, follower.model.runtime.name) == (2, SAVED_MODEL)
    assert "version 2 is served by TensorFlow: " in caplog.text
    # As a rollback does it.
    (copy.parent / "2").rename(copy.parent / "aside")
    follower._look()
    assert (follower.model.version, follower.model.runtime.name) == (1, "onnx")
    follower.stop()
    (copy.parent / "aside").rename(copy.parent / "2")
    for folder in (destination, str(copy.parent / "2")):
        with pytest.raises(NoRuntimeError, match="2 holds no export onnx"):
            Follower(folder, poll_seconds=3600, runtime="onnx")


def test_metrics_and_facts_name_the_runtime_and_requests_go_together(copy, by_tensorflow):
    follower = Follower(str(copy.parent), poll_seconds=3600, runtime="tflite")

    async def ask():
        async with TestClient(TestServer(ModelServer(follower).application)) as client:

            async def show(image):
                return await (await client.post("/v1/models/segpipe:show", data=image)).read()

            facts = await (await client.get("/v1/models/segpipe/facts")).json()
            return facts, await asyncio.gather(*map(show, IMAGES)), await (await client.get("/metrics")).text()

    facts, answers, metrics = asyncio.run(ask())
    follower.stop()
    assert facts["runtime"] == "tflite"
    assert 'segpipe_model_runtime{name="tflite"} 1.0' in metrics
    assert f'segpipe_model_runtime{{name="{SAVED_MODEL}"}} 0.0' in metrics
    for answer, one in zip(answers, by_tensorflow.segment(IMAGES, SIZES, at_original_size=True), strict=True):
        share = json.loads(answer)["shares"]["cat"]
        assert share == pytest.approx((one.class_ids == 1).mean(), abs=0.01)


def test_predict_says_what_it_took_and_serve_what_it_lacks(copy, tmp_path):
    (tmp_path / "x.png").write_bytes(IMAGES[0])

    def run(*arguments):
        result = CliRunner().invoke(cli, [*map(str, arguments)])
        return result.exit_code, result.output + str(result.exception or "")

    arguments = ("--model", copy.parent, "--output", tmp_path / "out", tmp_path / "x.png")
    code, printed = run("predict", "--runtime", "onnx", *arguments)
    assert (code, "Running as onnx\n" in printed) == (0, True), printed
    by_onnx = (tmp_path / "out" / "x_mask.png").read_bytes()
    code, printed = run("predict", "--runtime", SAVED_MODEL, *arguments)
    assert (code, "Running as" in printed) == (0, False), printed
    masks = [np.asarray(Image.open(io.BytesIO(by_onnx))), np.asarray(Image.open(tmp_path / "out" / "x_mask.png"))]
    assert (masks[0] == masks[1]).mean() > 0.999
    shutil.rmtree(copy / FOLDER)
    for command in (("predict", *arguments), ("serve", "--model", copy.parent, "--port", "0")):
        code, printed = run(command[0], "--runtime", "onnx", *command[1:])
        assert (code, "1 holds no export onnx, but no other one" in printed) == (1, True), printed
    assert run("predict", *arguments)[0] == 0
