"""Fixtures: the offline sample, converted once, and a small configuration that runs in seconds."""

from __future__ import annotations

import dataclasses
import fcntl
import gc
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

ROOT = pathlib.Path(__file__).parent.parent
PETS = ROOT.parent / "shared" / "data" / "oxford_iiit_pet"
FRUITS = ROOT.parent / "shared" / "data" / "fruits_coco"


# What no program of a test takes; one that hangs fails its test.
_LIMIT_SECONDS = 1800
# They go on from one run; those of the report come before those that push another model.
_SHARING_FIRST = ("e2e/test_report.py", "e2e/test_run.py")
# Files of labels and annotations are read and written without TFX; of commands and pictures, others tell on both lines.
_ON_ONE_LINE = (
    *("data/annotations", "data/formats", "data/inspection", "data/writing", "fuzz"),
    *("models/encoders/applications", "pipeline/cli", "test_documents.py"),
    *(f"models/serving/test_{name}.py" for name in ("annotations", "one_meaning", "predict", "scenes", "videos")),
)
# Tests that take longest: they come first, so that no process is left with one of them at the end.
_LONGEST = (
    "faults", "e2e/test_retraining", "test_benchmarks", "e2e/test_report", "e2e/test_run", "e2e",
    "pipeline/records", "models/training", "fuzz", "data/test_convert", "models",
)  # fmt: skip


def nightly(*values: Any) -> list[Any]:
    """Parameters of a test that CI leaves out, as others stand for them."""
    return [pytest.param(value, marks=pytest.mark.nightly) for value in values]


@pytest.hookimpl(optionalhook=True)  # Not every environment has pytest-xdist.
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Tests of a file stay in one process, as do those of the files that share the run `first`."""
    from xdist.scheduler import LoadFileScheduling

    if config.getvalue("dist") != "loadfile":
        return None

    # By names, as pytest-xdist 3.8 does not see its own groups with pytest 9.2.
    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            path = nodeid.partition("::")[0]
            return "first" if path.endswith(_SHARING_FIRST) else path

    return Scheduling(config, log)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest come first; what needs a browser or other tools, or little of TFX, runs on one TFX line."""
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        needs_others = "labeling_tools" in fixtures or "onnxruntime_web" in fixtures
        if needs_others:
            item.add_marker("other_tools")
        path = str(item.path.relative_to(ROOT / "tests"))
        if "browser" in fixtures or needs_others or path.startswith(_ON_ONE_LINE):
            item.add_marker("one_line")

    def place(item: pytest.Item) -> int:
        path = str(item.path.relative_to(ROOT / "tests"))
        return next((index for index, start in enumerate(_LONGEST) if path.startswith(start)), len(_LONGEST))

    items.sort(key=place)


def pytest_collection_finish() -> None:
    """What the tests have imported is no garbage: Python need not look through it again and again."""
    gc.freeze()


class WarmPython:
    """A Python that has loaded TFX already: see warm_python.py."""

    def __init__(self) -> None:
        self._server: subprocess.Popen[bytes] | None = None

    def __call__(
        self, *arguments: str, folder: pathlib.Path = ROOT, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Runs a program to its end: `-m` a module, `-c` code, or a script, and its arguments."""
        order = {"arguments": arguments, "folder": str(folder), "environment": {**os.environ, **environment}}
        with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
            connection = self._connection()
            socket.send_fds(connection, [json.dumps(order).encode()], [output.fileno(), errors.fileno()])
            try:
                answer = connection.recv(100)
                assert answer, "warm_python.py has ended"
            except (TimeoutError, AssertionError):
                self.close(signal.SIGKILL)
                raise
            output.seek(0)
            errors.seek(0)
            return subprocess.CompletedProcess(arguments, int(answer), output.read(), errors.read())

    def _connection(self) -> socket.socket:
        if self._server is None:
            self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            self._ours.settimeout(_LIMIT_SECONDS)
            with theirs:
                self._server = subprocess.Popen(
                    [sys.executable, "-W", "ignore", "tests/warm_python.py", str(theirs.fileno())],
                    cwd=ROOT,
                    pass_fds=[theirs.fileno()],
                )
        return self._ours

    def close(self, signal_number: int = 0) -> None:
        """Lets it end, or sends it a signal."""
        if self._server is not None:
            self._ours.close()
            self._server.send_signal(signal_number)
            self._server.wait()
            self._server = None


class Segpipe:
    """The command line, in processes of its own: what is called begins with TFX loaded, what is started without."""

    def __init__(self, warm_python: WarmPython) -> None:
        self._warm_python = warm_python

    def __call__(
        self, *arguments: str, folder: pathlib.Path = ROOT, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command to its end, in a folder."""
        return self._warm_python("-m", "pipeline.cli", *arguments, folder=folder, **environment)

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
        """Starts a command in a process group of its own; what it prints is in pytest's report of a failure."""
        return subprocess.Popen(
            [sys.executable, "-m", "pipeline.cli", *arguments],
            cwd=ROOT,
            env={**os.environ, **environment},
            start_new_session=True,
        )

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """Sends SIGKILL to a started command and what it started."""
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture(scope="session")
def warm_python() -> Iterator[WarmPython]:
    """A Python whose programs need not load TFX."""
    python = WarmPython()
    yield python
    python.close()


@pytest.fixture(scope="session")
def segpipe(warm_python: WarmPython) -> Segpipe:
    """The command line."""
    return Segpipe(warm_python)


def unavailable(needs: str) -> NoReturn:
    """Ends a test that cannot get what it needs: it fails in CI, which has everything, and is skipped elsewhere."""
    if os.environ.get("CI"):
        pytest.fail(f"needs {needs}")
    pytest.skip(f"needs {needs}")


@pytest.fixture(scope="session")
def pets() -> pathlib.Path:
    """The Oxford-IIIT Pet photographs, which are not part of the repository."""
    if not PETS.is_dir():
        unavailable(f"the Oxford-IIIT Pet photographs in {PETS}")
    return PETS


@pytest.fixture(scope="session")
def fruits() -> pathlib.Path:
    """Photographs of fruits with a COCO file, trainval.json, which are not part of the repository."""
    if not FRUITS.is_dir():
        unavailable(f"the photographs of fruits in {FRUITS}")
    return FRUITS


@pytest.fixture(autouse=True)
def _seeds() -> None:
    """A test draws the same each time, alone and after any other."""
    random.seed(0)
    if "keras" in sys.modules:  # Of tests without models none imports it for this.
        sys.modules["keras"].utils.set_random_seed(0)


@pytest.fixture(scope="session")
def once_for_all(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., pathlib.Path]:
    """Makes what all of pytest's processes share and none changes: `once_for_all(name, make)`, with `make(path)`."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent

    def once_for_all(name: str, make: Callable[[pathlib.Path], object]) -> pathlib.Path:
        made, unfinished = folder / "shared" / name, folder / "shared" / f"{name}.unfinished"
        made.parent.mkdir(exist_ok=True)
        with (folder / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not made.exists():
                make(unfinished)
                unfinished.rename(made)
        return made

    return once_for_all


@pytest.fixture(scope="session")
def brain_mri(once_for_all: Callable[..., pathlib.Path]) -> pathlib.Path:
    """The offline sample as TFRecords, with two slices."""

    def make(destination: pathlib.Path) -> None:
        from data.convert import convert
        from data.formats import Listing
        from data.formats.brain_mri import BrainMriReader

        class SlicedReader(BrainMriReader):
            def listing(self) -> Listing:
                sources = super().listing().sources
                return Listing([dataclasses.replace(item, slice=f"slice_{int(item.image) % 2}") for item in sources])

        convert(SlicedReader(), str(destination))

    return once_for_all("brain_mri", make)


@pytest.fixture(scope="session")
def small_config(brain_mri: pathlib.Path) -> Callable[..., Any]:
    """Makes a configuration of a small, quick run: `small_config(output, **keys)`."""
    from pipeline.config import Config

    def make(output: pathlib.Path, **sections: Any) -> Config:
        values: dict[str, Any] = {
            "name": "small",
            "output": str(output),
            "data": {"input": str(brain_mri)},
            "preprocessing": {"height": 48, "width": 40, "channels": 1, "resize": "pad"},
            "model": {"encoder": "plain", "filters": 8, "depth": 2},
            # At one size: the steps of each are traced anew, which takes longer than to train.
            "train": {
                "epochs": 6,
                "batch_size": 8,
                "learning_rate": 0.01,
                "precision": "float32",
                "small_sizes": 0,
            },
            "gate": {"min": {"mean_iou": 0.2}, "regression": 0.02},
        }
        for section, settings in sections.items():
            values[section] = {**values.get(section, {}), **settings} if isinstance(settings, dict) else settings
        return Config.model_validate(values)

    return make


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The bucket `segpipe` of a Google Cloud Storage emulator, which Beam's own client talks to."""
    from apache_beam.internal.gcp import auth
    from google.cloud import storage

    # No machine of Google's is asked for credentials, and nothing waits for them.
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setattr(auth._Credentials, "_credentials_init", True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "gcp_storage_emulator", "start", "--host", "127.0.0.1", "--port", str(port)]
    server = subprocess.Popen([*command, "--in-memory", "--default-bucket", "segpipe"], stderr=subprocess.DEVNULL)
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            break
        except OSError:
            assert server.poll() is None
            time.sleep(0.05)
    yield storage.Client.create_anonymous_client().bucket("segpipe")
    server.terminate()
    server.wait()


@pytest.fixture(scope="session")
def _chromium() -> Iterator[Any]:
    from selenium import webdriver

    driver, chromium = shutil.which("chromedriver"), shutil.which("chromium")
    if not (driver and chromium):
        unavailable("chromium and chromedriver, which Debian has in the package chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    with webdriver.Chrome(options, webdriver.ChromeService(driver)) as started:
        yield started


@pytest.fixture
def browser(_chromium: Any) -> Any:
    """Chromium, headless, with empty logs of messages and of requests."""
    # Pages of other tests may still load, and log.
    _chromium.get("about:blank")
    for log in ("browser", "performance"):
        _chromium.get_log(log)
    return _chromium


@pytest.fixture(scope="session")
def push() -> Callable[..., None]:
    """Puts a model into a folder, at once, that finds one class in bright pixels, and `nothing` in dark ones."""
    import keras
    import numpy as np
    import tensorflow as tf

    from data.contract import IMAGE, MASK
    from models.inputs import preprocessing
    from models.serving import signatures

    size, names = 16, ("nothing", "cat", "dog")

    def transform(features: Any, evaluated_as: Callable[[Any], Any]) -> Any:
        """Stands for the transform graph; the evaluator gets `evaluated_as` of the images."""

        def read(encoded: Any) -> Any:
            pixels = tf.io.decode_image(encoded, channels=3, expand_animations=False)
            return tf.ensure_shape(tf.image.resize(pixels, [size, size]), [size, size, 3])

        images = tf.map_fn(read, features[IMAGE], fn_output_signature=tf.float32)
        if MASK not in features:
            rows = [tf.shape(images)[0], 3]
            statistics = {preprocessing.MEAN: tf.zeros(rows), preprocessing.SCALE: tf.ones(rows)}
            return {preprocessing.PIXELS: images, **statistics}
        labels = tf.zeros([tf.shape(images)[0], size, size], tf.int64)
        return {preprocessing.IMAGE: evaluated_as(images), preprocessing.LABEL: labels}

    def push(
        destination: pathlib.Path,
        version: int,
        class_id: int,
        evaluated_as: Callable[[Any], Any] = lambda images: images,
    ) -> None:
        layer = keras.layers.Conv2D(3, 1)
        model = keras.Sequential([keras.Input([size, size, 3]), layer])
        kernel, bias = np.zeros([1, 1, 3, 3], np.float32), np.zeros(3, np.float32)
        kernel[..., class_id], bias[0] = 1 / 3, 128
        layer.set_weights([kernel, bias])
        colors = ([0, 0, 0], [230, 159, 0], [86, 180, 233])
        facts = {
            "label_map": [{"id": i, "name": name, "color": colors[i]} for i, name in enumerate(names)],
            "preprocessing": {"height": size, "width": size, "channels": 3, "resize": "stretch"},
        }
        unfinished = destination.parent / f"unfinished-{version}"
        signatures.export(model, lambda features: transform(features, evaluated_as), str(unfinished), facts)
        destination.mkdir(exist_ok=True)
        unfinished.rename(destination / str(version))

    return push


ONNXRUNTIME_WEB = ROOT / ".tools" / "onnxruntime-web"


@pytest.fixture(scope="session")
def onnxruntime_web() -> pathlib.Path:
    """Folder of the package from npm."""
    if not ONNXRUNTIME_WEB.exists():
        unavailable("ONNX Runtime Web, which tools/onnxruntime_web.sh fetches")
    return ONNXRUNTIME_WEB


LABELING_TOOLS = ROOT / ".tools" / "labeling-tools" / "bin" / "python"


@pytest.fixture(scope="session")
def labeling_tools() -> Callable[..., str]:
    """Runs code, with arguments, where labelme, cityscapesScripts, Label Studio's SDK, OpenCV, pycocotools and Triton's
    schema are."""
    if not LABELING_TOOLS.exists():
        unavailable("other tools' own code, which tools/labeling_tools.sh installs")

    def run(code: str, *arguments: str) -> str:
        command = [str(LABELING_TOOLS), "-c", code, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    return run
