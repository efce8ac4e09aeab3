"""The model server as a process, with real models that are as small as can be."""

import base64
import contextlib
import http.client
import io
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

from data.base.errors import UserError
from data.contract import SegmentationExample
from data.decoding.images import encode_png
from models.serving.loaded_model import LoadedModel
from models.serving.predict import predict
from models.serving.server.examples import read_examples
from tests.pages import faults, forms

pytestmark = pytest.mark.one_line
ROOT = pathlib.Path(__file__).parents[3]
SIZE = 16
# Generous: what must be bounded takes a second or two.
SECONDS = 60


class Server:
    """`segpipe serve` in a process of its own."""

    def __init__(self, destination, *options):
        self.log = destination.parent / "server.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "pipeline.cli", "serve", "--model", str(destination), "--port", "0", *options],
                cwd=ROOT,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.port = int(self.wait_for(r"Serving version \d+ at http://127.0.0.1:(\d+)/")[1])

    def wait_for(self, pattern):
        """Waits for a line of the log."""
        end = time.monotonic() + SECONDS
        while time.monotonic() < end and self.process.poll() is None:
            found = re.search(pattern, self.log.read_text())
            if found:
                return found
            time.sleep(0.02)
        pytest.fail(f"no {pattern} in the log:\n{self.log.read_text()}")

    def request(self, method, path, body=None):
        """Status, headers and JSON (or text) of an answer."""
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)) as connection:
            connection.request(method, path, body)
            response = connection.getresponse()
            content = response.read().decode()
            is_json = response.headers["Content-Type"].startswith("application/json")
            return response.status, response.headers, json.loads(content) if is_json else content

    def predict(self, *images):
        """Status, headers and JSON of a prediction."""
        body = json.dumps({"instances": [encoded(image) for image in images]})
        return self.request("POST", "/v1/models/segpipe:predict", body)

    def peak_megabytes(self):
        """Of its resident memory so far."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) / 1000

    def stop(self):
        """Asks it to end, and waits."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(SECONDS)


def encoded(image):
    return {"b64": base64.b64encode(image).decode()}


def picture(brightness, size=(30, 20), file_format="PNG"):
    buffer = io.BytesIO()
    Image.new("RGB", size, (brightness,) * 3).save(buffer, file_format)
    return buffer.getvalue()


def png_header(width, height):
    """A PNG of two kilobytes that says it is that large."""

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    pixels = chunk(b"IDAT", zlib.compress(bytes(2_000_000), 9))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)) + pixels


def truncated():
    """A JPEG that breaks off in the middle of its pixels."""
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, [60, 60, 3]).astype(np.uint8)
    Image.fromarray(noise).save(buffer, "JPEG")
    return buffer.getvalue()[:-1000]


BRIGHT, DARK, TRUNCATED = picture(200), picture(20, file_format="JPEG"), truncated()


@pytest.fixture(scope="module")
def destination(tmp_path_factory, push):
    folder = tmp_path_factory.mktemp("pushed") / "serving"
    push(folder, 1, 1)
    return folder


@pytest.fixture(scope="module")
def server(destination, tmp_path_factory):
    examples = tmp_path_factory.mktemp("examples")
    half = Image.new("RGB", (64, 32))
    half.paste((220, 220, 220), (0, 0, 32, 32))
    half.save(examples / "half.tif")
    started = Server(
        destination,
        "--example",
        str(examples),
        "--receive-seconds",
        "2",
        "--max-body-megabytes",
        "1",
        "--max-pixels",
        "1000000",
        "--max-request-pixels",
        "3000000",
    )
    yield started
    assert started.stop() == 0


def test_the_page_lets_the_server_read_what_a_browser_cannot(server):
    tiff = picture(200, file_format="TIFF")
    status, _, found = server.request("POST", "/v1/models/segpipe:read", tiff)
    assert (status, set(found)) == (200, {"b64", "png"})
    stored, shown = (base64.b64decode(found[name]) for name in ("b64", "png"))
    assert Image.open(io.BytesIO(shown)).size == (30, 20)
    assert server.predict(stored)[2] == server.predict(BRIGHT)[2]
    assert server.request("GET", "/v1/models/segpipe/facts")[2]["takes_pictures"] is True
    for broken in (b"", tiff[:100], b"no image", png_header(20_000, 20_000)):
        status, _, found = server.request("POST", "/v1/models/segpipe:read", broken)
        assert (status, list(found)) == (400, ["error"])


def test_the_documented_request_takes_a_photograph_of_several_megabytes(destination, tmp_path):
    """As the shell of docs/serving.md sends it, to a server with default limits."""
    (command,) = re.findall(r"^    (.*curl .*)$", (ROOT / "docs" / "serving.md").read_text(), re.MULTILINE)
    noise = np.random.default_rng(0).integers(0, 256, [1500, 2000, 3]).astype(np.uint8)
    Image.fromarray(noise).save(tmp_path / "photo.jpg", quality=95)
    assert 3e6 < (tmp_path / "photo.jpg").stat().st_size < 10e6
    started = Server(destination)
    try:
        # Where the documented port may be taken.
        command = command.replace("127.0.0.1:8501", f"127.0.0.1:{started.port}")
        finished = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False)
    finally:
        assert started.stop() == 0
    assert finished.returncode == 0, finished.stderr
    (prediction,) = json.loads(finished.stdout)["predictions"]
    assert np.shape(prediction["class_ids"]) == (SIZE, SIZE)


def test_each_way_gives_the_map_that_the_evaluator_measures(server, destination, tmp_path):
    """At the image's own size: REST, the page, `segpipe predict`, and the evaluator, of a model that sees 16x16."""
    generator = np.random.default_rng(0)
    model = LoadedModel(str(destination / "1"), 1)
    images = [
        np.array(Image.fromarray(generator.integers(0, 256, [5, 4, 3]).astype(np.uint8)).resize(size[::-1]))
        for size in ((40, 61), (90, 20), (7, 9))
    ]
    pngs = [encode_png(image) for image in images]
    for index, png in enumerate(pngs):
        (tmp_path / f"{index}.png").write_bytes(png)
    files = {str(tmp_path / f"{index}.png"): str(index) for index in range(len(pngs))}
    masks = [np.array(Image.open(done.mask)) for done in predict(str(destination), files, str(tmp_path / "out"))]
    body = json.dumps({"signature_name": "serving_at_original_size", "instances": [encoded(png) for png in pngs]})
    status, _, found = server.request("POST", "/v1/models/segpipe:predict", body)
    assert status == 200
    by_signature = model.signatures["serving_at_original_size"](tf.constant(pngs))
    for index, (image, png) in enumerate(zip(images, pngs, strict=True)):
        height, width, _ = image.shape
        class_ids = np.array(found["predictions"][index]["class_ids"], np.uint8)
        confidence = np.array(found["predictions"][index]["confidence"])
        assert class_ids.shape == confidence.shape == (height, width)
        # A step of the model's pixels would be as long as the image's are many.
        steps = _enlarged(model.segment([png], [(height, width)])[0].class_ids, height, width)
        assert (steps != class_ids).any() or height < 16
        status, _, shown = server.request("POST", "/v1/models/segpipe:show", png)
        assert status == 200
        by_page = np.array(Image.open(io.BytesIO(base64.b64decode(shown["class_ids"]))))
        by_bands = model.segment_whole(png, height, width)
        padded = by_signature["class_ids"].numpy()[index]
        for other in (by_page, masks[index], by_bands.class_ids, padded[:height, :width]):
            np.testing.assert_array_equal(other, class_ids)
        assert (padded[height:] == 255).all()
        assert (padded[:, width:] == 255).all()
        assert list(shown["shares"]) == ["nothing", "cat", "dog"]
        assert shown["shares"]["cat"] == pytest.approx((class_ids == 1).mean())
        assert shown["confidence"] == pytest.approx(confidence.mean(), abs=1e-5)
        assert by_bands.confidence == pytest.approx(confidence.mean(), abs=1e-5)
        # All is right, and nothing wrong, of labels that are the map.
        example = SegmentationExample(png, "png", height, width, encode_png(class_ids), "one").serialize()
        matrix = model.signatures["examples_at_original_size"](tf.constant([example]))["confusion_matrix"].numpy()[0]
        np.testing.assert_array_equal(matrix, np.diag(np.bincount(class_ids.ravel(), minlength=3)))
    for broken in (b"", b"no image", png_header(20_000, 20_000)):
        assert server.request("POST", "/v1/models/segpipe:show", broken)[0] in (400, 413)


def _enlarged(class_ids, height, width):
    return np.array(Image.fromarray(class_ids).resize((width, height), Image.Resampling.NEAREST))


def is_alive(server):
    status, _, content = server.predict(BRIGHT)
    assert status == 200
    assert np.unique(content["predictions"][0]["class_ids"]).tolist() == [1]


def test_it_answers_as_tensorflow_serving_does(server):
    path = "/v1/models/segpipe"
    status, headers, content = server.predict(BRIGHT, DARK)
    assert (status, headers["Model-Version"]) == (200, "1")
    bright, dark = content["predictions"]
    assert np.array_equal(bright["class_ids"], np.ones([SIZE, SIZE]))
    assert np.array_equal(dark["class_ids"], np.zeros([SIZE, SIZE]))
    assert np.allclose(bright["confidence"], 1)
    for signature in ("serving_default", "", None):
        named = json.dumps({"signature_name": signature, "instances": [{"image_bytes": encoded(BRIGHT)}]})
        assert server.request("POST", f"{path}/versions/1:predict", named)[2] == {"predictions": [bright]}
    broken_lines = json.dumps({"instances": [{"b64": base64.encodebytes(BRIGHT).decode().rstrip("=\n")}]})
    assert server.request("POST", f"{path}:predict", broken_lines)[2] == {"predictions": [bright]}
    for inputs in ([encoded(BRIGHT)], {"image_bytes": [encoded(BRIGHT)]}):
        found = server.request("POST", f"{path}:predict", json.dumps({"inputs": inputs}))[2]
        assert found == {"outputs": {name: [bright[name]] for name in ("class_ids", "confidence")}}
    version = {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    for place in (path, f"{path}/versions/1"):
        assert server.request("GET", place)[2] == {"model_version_status": [version]}
    metadata = server.request("GET", f"{path}/metadata")[2]
    assert metadata["model_spec"] == {"name": "segpipe", "signature_name": "", "version": "1"}
    signature = metadata["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["inputs"]["image_bytes"]["dtype"] == "DT_STRING"
    assert set(signature["outputs"]) == {"class_ids", "confidence"}


def test_health_and_metrics(server):
    assert server.request("GET", "/healthz")[::2] == (200, "ok\n")
    is_alive(server)
    text = server.request("GET", "/metrics")[2]
    assert float(re.findall(r'^segpipe_requests_total\{status="200"\} (\S+)$', text, re.MULTILINE)[0]) >= 1
    assert "segpipe_model_version 1.0" in text
    assert "segpipe_batch_images_bucket" in text


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ("{", 400, "not JSON"),
        ("[]", 400, "the request must be"),
        ('{"instances": []}', 400, "the request must be"),
        ('{"instances": [1]}', 400, "the request must be"),
        ('{"instances": [{"b64": ""}]}', 400, "instances[0].b64 is empty"),
        ('{"instances": [{"b64": "?"}]}', 400, "not valid base64"),
        ('{"instances": [{"b64": "Zm9v"}], "signature_name": "examples"}', 400, "signature_name must be"),
        (json.dumps({"instances": [encoded(DARK)] * 65}), 400, "more than the limit of 64"),
        (json.dumps({"instances": [encoded(b"a text that is named photo.jpg")]}), 400, "not a JPEG or PNG image"),
        (json.dumps({"instances": [encoded(TRUNCATED)]}), 400, "cannot be decoded"),
        (json.dumps({"instances": [encoded(png_header(40_000, 40_000))]}), 413, "the image has 40000x40000 pixels"),
        (json.dumps({"instances": [encoded(png_header(1000, 1000))]}), 400, "cannot be decoded"),
        (json.dumps({"instances": [encoded(picture(0, (1000, 900)))] * 4}), 413, "--max-request-pixels"),
        (" " * 1_100_000, 413, "--max-body-megabytes"),
    ],
)
def test_a_bad_request_gets_its_status_and_costs_little(server, body, status, message):
    is_alive(server)
    before = server.peak_megabytes()
    found = server.request("POST", "/v1/models/segpipe:predict", body)
    assert found[0] == status
    assert message in found[2]["error"]
    assert server.peak_megabytes() - before < 100
    is_alive(server)


def test_what_is_not_there_is_not_found(server):
    for path in ("/v1/models/other", "/v1/models/segpipe/versions/7", "/elsewhere"):
        status, _, content = server.request("GET", path)
        assert (status, "error" in content) == (404, True)
    status, headers, _ = server.request("GET", "/v1/models/segpipe:predict")
    assert (status, headers["Allow"]) == (405, "POST")


def test_a_slow_client_is_let_go(server):
    with socket.create_connection(("127.0.0.1", server.port), SECONDS) as slow:
        slow.sendall(b"POST /v1/models/segpipe:predict HTTP/1.1\r\nHost: here\r\nContent-Length: 1000\r\n\r\n{")
        answer = slow.makefile("rb").read().decode()
    assert answer.startswith("HTTP/1.1 408 ")
    assert "did not arrive within 2 s" in answer
    with socket.create_connection(("127.0.0.1", server.port), SECONDS) as slower:
        slower.sendall(b"POST /v1/models/segpipe:predict HTTP/1.1\r\nHo")
        assert slower.makefile("rb").read() == b""
    is_alive(server)


def test_one_bad_image_fails_for_its_client_alone(server):
    """However they are batched: the others get their answers."""
    found = []

    def send(image, expected):
        for _ in range(20):
            found.append(server.predict(image)[0] == expected)

    threads = [threading.Thread(target=send, args=args) for args in [(BRIGHT, 200), (TRUNCATED, 400)] * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 160


def test_too_many_requests_are_sent_away(destination):
    server = Server(destination, "--max-waiting", "1", "--max-batch", "1")
    body = json.dumps({"instances": [encoded(picture(200, (2000, 2000)))]})
    answers, together = [], threading.Barrier(12)

    def send():
        together.wait()
        answers.append(server.request("POST", "/v1/models/segpipe:predict", body))

    threads = [threading.Thread(target=send) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {status for status, _, _ in answers} == {200, 503}
    assert {headers["Retry-After"] for status, headers, _ in answers if status == 503} == {"1"}
    is_alive(server)
    assert server.stop() == 0


def test_versions_are_switched_under_load_without_losing_a_request(tmp_path, push):
    destination = tmp_path / "serving"
    push(destination, 1, 1)
    server = Server(destination, "--poll-seconds", "0.1")
    answers, stop = [], threading.Event()

    def send():
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=SECONDS)) as connection:
            body = json.dumps({"instances": [encoded(BRIGHT)]})
            while not stop.is_set():
                connection.request("POST", "/v1/models/segpipe:predict", body)
                response = connection.getresponse()
                content = json.loads(response.read())
                classes = np.unique(content["predictions"][0]["class_ids"]).tolist()
                answers.append((response.status, response.headers["Model-Version"], classes))

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()

    def answered_by(version):
        end, start = time.monotonic() + SECONDS, len(answers)
        while not any(answer[1] == version for answer in answers[start:]):
            assert time.monotonic() < end
            time.sleep(0.02)

    answered_by("1")
    push(destination, 2, 2)
    answered_by("2")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "saved_model.pb").write_bytes(b"no model")
    (tmp_path / "broken").rename(destination / "3")
    server.wait_for("version 3 is passed over until its files change")
    answered_by("2")
    # A roll-back.
    shutil.rmtree(destination / "2")
    answered_by("1")
    stop.set()
    for thread in threads:
        thread.join()
    assert {answer[0] for answer in answers} == {200}
    assert {(version, tuple(classes)) for _, version, classes in answers} == {("1", (1,)), ("2", (2,))}
    assert server.log.read_text().count("version 3 is passed over") == 1
    assert server.stop() == 0


def test_it_finishes_what_it_has_begun(destination):
    server = Server(destination)
    answers = []
    many = [picture(200, (2000, 2000))] * 24
    thread = threading.Thread(target=lambda: answers.append(server.predict(*many)))
    thread.start()
    end = time.monotonic() + SECONDS
    while 'le="+Inf"} 0.0' in re.findall("segpipe_batch_images_bucket.*Inf.*", server.request("GET", "/metrics")[2])[0]:
        assert time.monotonic() < end
    assert server.stop() == 0
    thread.join()
    assert (answers[0][0], len(answers[0][2]["predictions"])) == (200, 24)


def test_a_mistake_is_answered_with_one_line(segpipe, destination, tmp_path):
    for arguments, message in {
        ("--model", str(tmp_path / "nowhere")): "is not a folder",
        ("--model", str(tmp_path)): "holds no model that can be served; a run whose model passes the gate says where",
        ("--model", str(destination), "--name", "a/b"): "--name may consist of letters",
    }.items():
        finished = segpipe("serve", *arguments)
        assert finished.returncode == 1
        assert message in finished.stderr.splitlines()[-1]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        finished = segpipe("serve", "--model", str(destination), "--port", str(port))
    assert finished.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in finished.stderr.splitlines()[-1]


def test_the_page_shows_the_classes_of_a_picture(server, browser, tmp_path):
    half = Image.new("RGB", (64, 32))
    half.paste((220, 220, 220), (0, 0, 32, 32))
    half.save(tmp_path / "half.png")
    browser.get(f"http://127.0.0.1:{server.port}/")
    browser.find_element(By.ID, "file").send_keys(str(tmp_path / "half.png"))
    WebDriverWait(browser, SECONDS).until(lambda page: page.find_element(By.ID, "result").is_displayed())
    rows = [row.text.split("\n") for row in browser.find_elements(By.CSS_SELECTOR, "#classes li")]
    assert rows == [["nothing", "50.0 %"], ["cat", "50.0 %"], ["dog", "0.0 %"]]

    def color(x):
        return browser.execute_script(
            "const canvas = document.getElementById('canvas');"
            "return [...canvas.getContext('2d').getImageData(arguments[0], 16, 1, 1).data].slice(0, 3)",
            x,
        )

    opacity = browser.find_element(By.ID, "opacity")
    opacity.send_keys(Keys.END)
    assert color(8) == [230, 159, 0]
    opacity.send_keys(Keys.HOME)
    assert color(8) == pytest.approx([220] * 3, abs=3)
    opacity.send_keys(Keys.END)
    browser.find_elements(By.CSS_SELECTOR, "#classes input")[1].click()
    assert color(8) == pytest.approx([220] * 3, abs=3)

    (tmp_path / "notes.jpg").write_text("no picture")
    browser.find_element(By.ID, "file").send_keys(str(tmp_path / "notes.jpg"))
    message = browser.find_element(By.ID, "message")
    WebDriverWait(browser, SECONDS).until(lambda _: "notes.jpg is not an image" in message.text)
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


def pixels(file):
    image = Image.open(file)
    return image.mode, np.asarray(image)


def test_an_example_is_tried_with_a_click_and_its_results_are_saved(server, browser, tmp_path):
    browser.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    browser.get(f"http://127.0.0.1:{server.port}/")
    wait = WebDriverWait(browser, SECONDS)
    wait.until(lambda page: page.find_element(By.CSS_SELECTOR, "#examples button").is_displayed())
    assert [item.text for item in browser.find_elements(By.CSS_SELECTOR, "#classes li")] == ["nothing", "cat", "dog"]
    assert "will be here" in browser.find_element(By.ID, "empty").text
    assert not browser.find_element(By.ID, "no-examples").is_displayed()
    assert not browser.find_element(By.ID, "downloads").is_displayed()
    for form in forms(browser):
        assert faults(browser) == [], form

    browser.find_element(By.CSS_SELECTOR, "#examples button").click()
    wait.until(lambda page: page.find_element(By.ID, "downloads").is_displayed())
    assert browser.find_element(By.ID, "message").text == "half"
    assert "50.0 %" in browser.find_element(By.ID, "classes").text
    browser.find_element(By.ID, "save-mask").click()
    browser.find_element(By.ID, "opacity").send_keys(Keys.END)
    browser.find_element(By.ID, "save-picture").click()
    saved = [tmp_path / "half_mask.png", tmp_path / "half_overlay.png"]
    wait.until(lambda _: all(file.exists() for file in saved))
    mode, class_ids = pixels(saved[0])
    assert (mode, class_ids.shape) == ("L", (32, 64))
    assert (class_ids[:, 8].tolist(), class_ids[:, 56].tolist()) == ([1] * 32, [0] * 32)
    _, colors = pixels(saved[1])
    assert (colors.shape[:2], colors[16, 8, :3].tolist()) == ((32, 64), [230, 159, 0])
    for form in forms(browser):
        assert faults(browser) == [], form
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_nobody_gets_an_image_that_was_not_named(server):
    status, _, found = server.request("GET", "/v1/models/segpipe/facts")
    assert (status, [example["name"] for example in found["examples"]]) == (200, ["half"])
    assert server.request("GET", "/v1/models/segpipe/examples/0")[0] == 200
    assert server.request("GET", "/v1/models/segpipe/examples/1")[0] == 404


def test_examples_are_the_first_images_that_the_model_can_take(destination, tmp_path):
    model = LoadedModel(str(destination / "1"), 1)
    for index in range(8):
        Image.new("RGB", (400, 200), (index, 0, 0)).save(tmp_path / f"{index}.png")
    found = read_examples([str(tmp_path)], model.input, 1_000_000)
    assert [example.name for example in found] == ["0", "1", "2", "3", "4", "5"]
    assert max(len(example.small) for example in found) < 5000
    assert read_examples([], model.input, 1_000_000) == []
    with pytest.raises(UserError, match=r"--example .*/0.png: 400x200 pixels are more than the limit of 100"):
        read_examples([str(tmp_path)], model.input, 100)
    with pytest.raises(UserError, match=r"nowhere.png: No such file"):
        read_examples([str(tmp_path / "nowhere.png")], model.input, 100)
