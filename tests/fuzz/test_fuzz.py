"""Damaged and hostile input to everything that reads input: by mutation of good files, and by generated ones.

Each case ends within a limit of time and memory: with a result, or with a message that names the input. `make test`
runs 100 cases of each target from fixed seeds; `make test-fuzz` 2,000 from new ones. What TensorFlow reads is tried on
both TFX lines, except damaged models: each takes a second, so there are half as many.
"""

from __future__ import annotations

import base64
import gc
import http.client
import io
import json
import os
import pathlib
import re
import resource
import shutil
import subprocess
import sys
import time

import av
import hypothesis
import numpy as np
import pytest
import tensorflow as tf
import yaml
from hypothesis import strategies as st
from PIL import Image

from components import import_example_gen
from components.data_gate.example import check_example, parse
from data import contract
from data.base.errors import UserError
from data.decoding.images import BadImageError, encode_png, read_image
from data.label_map import LabelMap
from data.masks.class_ids import class_ids, read_mask
from data.writing import WRITERS
from data.writing.folders import annotation_folders
from models.serving import predict
from models.serving.loaded_model import LoadedModel, load_model
from models.serving.results.files import Output
from pipeline.config import load_config
from tests.fuzz.cases import CASES, SECONDS, check_message, fuzz, mutated
from tests.fuzz.values import SCALARS, VALUES

ROOT = pathlib.Path(__file__).parent.parent.parent
FEW = CASES // 10
MEGABYTES = 1500
# TensorFlow keeps this much of a model that it fails to load.
KEPT_MEGABYTES = 4
LABELS = LabelMap.from_names(["nothing", "cat", "dog"])


def pictures(modes, formats):
    """A small picture of each mode in each format that has it."""
    generator = np.random.default_rng(0)
    files = []
    for mode in modes:
        is_mask = mode in ("L", "P", "1")
        pixels = generator.integers(0, 3, (20, 30), np.uint8) if is_mask else generator.bytes(20 * 30 * len(mode))
        image = Image.fromarray(pixels).convert(mode) if is_mask else Image.frombytes(mode, (30, 20), pixels)
        for kind in formats:
            buffer = io.BytesIO()
            try:
                image.save(buffer, kind)
            except (OSError, ValueError):  # The format does not have it.
                continue
            files.append(buffer.getvalue())
    return files


IMAGES = pictures(["L", "RGB", "RGBA", "CMYK"], ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP"])
MASKS = pictures(["L", "P", "1", "RGB"], ["PNG", "GIF", "BMP", "TIFF", "WEBP"])


def videos():
    """Of three small frames, in several containers and codecs."""
    files = []
    for kind, codec in (
        ("mp4", "libx264"),
        ("matroska", "libx264"),
        ("avi", "mjpeg"),
        ("mov", "mpeg4"),
        ("webm", "libvpx"),
    ):
        buffer = io.BytesIO()
        with av.open(buffer, "w", format=kind) as container:
            stream = container.add_stream(codec, rate=5)
            stream.height, stream.width = 32, 48
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            for value in (0, 100, 200):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(np.full([32, 48, 3], value, np.uint8), "rgb24")))
            container.mux(stream.encode(None))
        files.append(buffer.getvalue())
    return files


VIDEOS = videos()


@pytest.fixture(autouse=True)
def _bounded_memory(request):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    yield
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    assert after - before < MEGABYTES + KEPT_MEGABYTES * FEW * (request.function.__name__ == "test_models")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


@pytest.mark.one_line
@hypothesis.settings(fuzz(FEW))
@hypothesis.given(mutated(IMAGES), st.sampled_from([None, (30, 20)]))
def test_images(content, size):
    try:
        image = read_image(content, size, 1_000_000)
    except BadImageError as error:
        check_message(error)
        return
    assert (image.format, image.height * image.width > 0) == ({"jpeg": "jpeg"}.get(image.format, "png"), True)


@pytest.mark.one_line
@hypothesis.settings(fuzz(FEW))
@hypothesis.given(mutated(MASKS))
def test_masks(content):
    try:
        ids = class_ids(read_mask(content, 1_000_000), LABELS)
    except BadImageError as error:
        check_message(error)
        return
    assert set(np.unique(ids)) <= {0, 1, 2, 255}


CONFIGS = [path.read_bytes() for path in sorted((ROOT / "configs").glob("*.yaml"))]
SECTIONS = ["data", "preprocessing", "model", "train", "gate", "kubeflow", "metadata", "notify", "tune", "beam", "name"]
KEYS = st.sampled_from(
    [
        "data.input",
        "train.epochs",
        "train.loss",
        "gate.min",
        "gate.slices.*",
        "model.depth",
        "tune",
        "metadata.password",
        "",
        ".",
    ]
)


@pytest.mark.one_line
@hypothesis.settings(fuzz(FEW))
@hypothesis.given(
    mutated(CONFIGS)
    | st.fixed_dictionaries(
        {"name": SCALARS | st.just("a"), "output": SCALARS | st.just("b"), "data": st.just({"input": "c"}) | VALUES},
        optional=dict.fromkeys(SECTIONS[1:-1], VALUES),
    ).map(lambda value: yaml.safe_dump(value, allow_unicode=True).encode()),
    st.lists(st.tuples(KEYS, SCALARS), max_size=2),
)
def test_configurations(folder, content, overrides):
    path = folder / "run.yaml"
    path.write_bytes(content)
    options = tuple(f"{key}={value}" for key, value in overrides)
    try:
        config = load_config(path, options)
    except UserError as error:
        check_message(error, path, "--set")
        return
    assert json.loads(config.model_dump_json())["name"] == config.name


def example(source_id, image=None, mask=None):
    feature = {
        contract.IMAGE: [image or encode_png(np.zeros((20, 30), np.uint8))],
        contract.MASK: [mask or encode_png(np.ones((20, 30), np.uint8))],
        contract.SOURCE_ID: [source_id],
    }
    return tf.train.Example(
        features=tf.train.Features(
            feature={
                name: tf.train.Feature(bytes_list=tf.train.BytesList(value=values)) for name, values in feature.items()
            }
        )
    ).SerializeToString()


def records(path, contents):
    with tf.io.TFRecordWriter(str(path)) as writer:
        for content in contents:
            writer.write(content)
    return path.read_bytes()


@pytest.fixture(scope="module")
def shards(folder):
    return [
        records(folder / "sample", [example(b"a"), example(b"b")]),
        records(folder / "sample", [example(b"a") * 3]),
        records(folder / "sample", []) or b"\0",
    ]


@hypothesis.settings(fuzz(FEW))
@hypothesis.given(st.data())
def test_shards(folder, shards, data):
    source, destination = folder / "train-0.tfrecord", folder / "copy"
    source.write_bytes(data.draw(mutated(shards)))
    destination.unlink(missing_ok=True)
    problems = list(import_example_gen._check_and_copy(str(source), str(destination)))
    if problems:
        for problem in problems:
            check_message(problem, source)
        assert not destination.exists()
    else:
        assert destination.read_bytes() == source.read_bytes()


EXAMPLES = [example(b"one"), example(b"two", IMAGES[0], MASKS[0]), example(b"")]


@hypothesis.settings(fuzz(FEW))
@hypothesis.given(
    mutated(EXAMPLES)
    | st.builds(example, st.binary(max_size=20), mutated(IMAGES), mutated(MASKS) | st.binary(max_size=99))
)
def test_examples(content):
    try:
        checked = check_example(parse(content), 3, with_hash=True)
    except ValueError as error:
        check_message(error)
    else:
        assert checked.pixels.sum() == checked.height * checked.width


@pytest.fixture(scope="module")
def predictor(model):
    return load_model(str(model))


NAMES = st.sampled_from(
    [b"../../away", b"/tmp/away", b"..", b"a\0b", b"x" * 400, b"", b"\xff\xfe", b"a\nb"]
) | st.binary(max_size=9)


@hypothesis.settings(fuzz(FEW))
@hypothesis.given(st.data())
def test_predictions(folder, predictor, data):
    inside = folder / "predict"
    shutil.rmtree(inside, ignore_errors=True)
    inside.mkdir()
    if data.draw(st.booleans()):
        path = inside / "photo.jpg"
        path.write_bytes(data.draw(mutated(IMAGES)))
    else:
        path = inside / "photos.tfrecord"
        contents = data.draw(st.lists(st.builds(example, NAMES, st.sampled_from(IMAGES) | mutated(IMAGES)), max_size=3))
        records(path, contents)
    outside = set(folder.iterdir())
    output = inside / "out"
    output.mkdir()
    target = Output(str(output), [str(path)], ["photo"])
    formats = data.draw(st.sampled_from([(), tuple(WRITERS)]))
    with annotation_folders(str(output), formats, predictor.label_map, 1.0) as annotations:
        predicting = predict._Predictor(
            predictor,
            target,
            annotations,
            None,
            1_000_000,
            lambda image, share: None,
            False,
            False,
            predict._References({}, {}),
        )
        found = list(predicting.predictions({str(path): "photo"}))
    assert found or path.suffix == ".tfrecord"
    masks = set()
    for item in found:
        if item.error:
            check_message(item.error)
            assert item.image
        else:
            assert Image.open(item.mask).size == Image.open(item.overlay).size == (item.width, item.height)
            masks |= {pathlib.Path(item.mask), pathlib.Path(item.overlay)}
    # Nothing is anywhere but in its folder, and nothing is left of what failed.
    assert set(folder.iterdir()) == outside
    annotated = [output / f"annotations_{name}" for name in formats]
    assert all(folder.is_dir() for folder in annotated)
    files = {file for file in output.rglob("*") if file.is_file() and not set(annotated) & set(file.parents)}
    assert files == masks


@pytest.mark.one_line
@hypothesis.settings(fuzz(FEW))
@hypothesis.given(mutated(VIDEOS), st.booleans())
def test_videos(folder, predictor, content, frames):
    inside = folder / "video"
    shutil.rmtree(inside, ignore_errors=True)
    (inside / "out").mkdir(parents=True)
    path = inside / "clip.mkv"
    path.write_bytes(content)
    target = Output(str(inside / "out"), [str(path)], ["clip"])
    with annotation_folders(str(inside / "out"), (), predictor.label_map, 1.0) as annotations:
        predicting = predict._Predictor(
            *(predictor, target, annotations, None, 10_000, lambda image, share: None),
            *(False, frames, predict._References({}, {})),
        )
        (found,) = predicting.predictions({str(path): "clip"})
    if found.error:
        check_message(found.error)
    expected = {f"clip_{number:06d}_mask.png" for number in range(1, (found.frames or 0) + 1) if frames}
    if found.frames:
        expected.add("clip_overlay.mp4")
        with av.open(found.overlay) as container:
            assert len(list(container.decode(video=0))) == found.frames
    assert {file.name for file in (inside / "out").iterdir()} == expected


@pytest.mark.one_line
@hypothesis.settings(fuzz(FEW // 4))
@hypothesis.given(st.data())
def test_models(folder, model, data):
    copy = folder / "model" / "1"
    shutil.rmtree(copy.parent, ignore_errors=True)
    shutil.copytree(model / "1", copy)
    files = sorted(path for path in copy.rglob("*") if path.is_file())
    path = data.draw(st.sampled_from(files))
    path.write_bytes(data.draw(mutated([path.read_bytes() or b"\0"])))
    try:
        load_model(str(copy.parent))
    except UserError as error:
        check_message(error, folder / "model")
    try:
        LoadedModel(str(copy), 1)
    except Exception as error:  # What the server makes a line of its log of.
        check_message(type(error).__name__ + str(error))
    gc.collect()  # Models hold themselves in cycles.


@pytest.fixture(scope="module")
def server(model):
    log = model.parent / "server.log"
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "pipeline.cli", "serve", "--model", str(model), "--port", "0",
             "--receive-seconds", "2", "--max-pixels", "1000000", "--max-body-megabytes", "1"],
            cwd=ROOT, env={**os.environ, "PYTHONUNBUFFERED": "1"}, stdout=file, stderr=file,
        )  # fmt: skip
    while not (found := re.search(r"at http://127.0.0.1:(\d+)/", log.read_text())):
        assert process.poll() is None
        time.sleep(0.05)
    yield process, int(found[1])
    process.terminate()
    assert process.wait(60) == 0
    assert "Traceback" not in log.read_text()


def body(image, **keys):
    return json.dumps({"instances": [{"b64": base64.b64encode(image).decode()}], **keys}).encode()


BODIES = [
    body(IMAGES[0]),
    body(MASKS[0], signature_name="serving_at_original_size"),
    json.dumps({"instances": []}).encode(),
]
PATHS = [
    "/v1/models/segpipe:predict",
    "/v1/models/segpipe:show",
    "/v1/models/segpipe",
    "/v1/models/segpipe/versions/1:predict",
    "/metrics",
    "/healthz",
]


@pytest.mark.one_line
@hypothesis.settings(fuzz(FEW))
@hypothesis.given(
    mutated([path.encode() for path in PATHS]) | st.sampled_from([path.encode() for path in PATHS[:2]]),
    mutated([*BODIES, *IMAGES])
    | st.builds(body, mutated(IMAGES))
    | VALUES.map(lambda value: json.dumps({"instances": value}, default=str).encode()),
)
def test_requests(server, path, content):
    process, port = server
    path = "/" + re.sub(r"[^!-~]", "", path.decode("latin-1")).lstrip("/")
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    try:
        connection.request("POST", path, content)
        answer = connection.getresponse()
        text = answer.read().decode()
    finally:
        connection.close()
    assert answer.status in (200, 400, 403, 404, 405, 413), text
    if answer.status != 200:
        check_message(text)
    assert process.poll() is None
    peak = re.findall(r"VmHWM:\s+(\d+) kB", pathlib.Path(f"/proc/{process.pid}/status").read_text())
    assert int(peak[0]) / 1000 < 2 * MEGABYTES
