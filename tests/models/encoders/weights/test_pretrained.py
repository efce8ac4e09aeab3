"""Where weights are looked for, and what is said if they are not there."""

import functools
import hashlib
import http.server
import importlib
import threading

import pytest

from data.base.errors import UserError
from models.encoders.weights import files
from models.encoders.weights.files import KerasFile, PackagedFile
from models.encoders.weights.pretrained import PretrainedEncoder
from models.settings import ModelSettings

CONTENT = b"weights"


class _Encoder(PretrainedEncoder):
    """Loads nothing; it shows what it was given."""

    def build(self, image, output_stride, dtype):
        return []

    def load_file(self, model, path):
        model.append(path)


class Packaged(_Encoder):
    """Weights in a package."""

    packaged = PackagedFile("some_weights", "models/a.pth", hashlib.sha256(CONTENT).hexdigest())


class Published(_Encoder):
    """Weights of Keras."""

    published = KerasFile("a_notop.h5", "folder/", hashlib.md5(CONTENT).hexdigest())


@pytest.fixture
def package(tmp_path, monkeypatch):
    """The installed package; returns its file of weights."""
    path = tmp_path / "site" / "some_weights" / "models" / "a.pth"
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    (tmp_path / "site" / "some_weights" / "__init__.py").write_text("raise RuntimeError('imported')")
    info = tmp_path / "site" / "some_weights-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: some-weights\nVersion: 0.1.0\n")
    monkeypatch.syspath_prepend(tmp_path / "site")
    importlib.invalidate_caches()
    return path


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """The file's place in an empty cache of Keras."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setattr(files, "_FALLBACK", str(tmp_path / "nowhere"))
    folder = tmp_path / "keras" / "models"
    folder.mkdir(parents=True)
    return folder / Published.published.name


@pytest.fixture
def server(tmp_path, monkeypatch):
    """The folder that a server of this machine publishes."""
    folder = tmp_path / "published" / "folder"
    folder.mkdir(parents=True)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Quiet, directory=str(folder.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        monkeypatch.setattr(files, "PUBLISHED", f"http://127.0.0.1:{running.server_port}/")
        yield folder
        running.shutdown()


def loaded(encoder):
    found = []
    encoder.load_weights(found)
    return found


@pytest.mark.parametrize("option", ["auto", "imagenet"])
def test_those_of_the_extra_are_found_without_importing_it(package, option):
    encoder = Packaged(encoder_weights=option)
    assert encoder.starting_weights().words == "ImageNet's weights (some_weights 0.1.0)"
    assert loaded(encoder) == [str(package)]


@pytest.mark.parametrize("option", ["auto", "imagenet"])
def test_those_in_keras_cache_are_found(cache, option):
    cache.write_bytes(CONTENT)
    encoder = Published(encoder_weights=option)
    assert encoder.starting_weights().words == "ImageNet's weights (a_notop.h5 of keras.applications)"
    assert loaded(encoder) == [str(cache)]


def test_without_any_training_starts_from_random_weights_and_says_what_would_help():
    assert Packaged().starting_weights(download=True).words == (
        "random weights (ImageNet's are not here; "
        "install segpipe's extra pretrained, or the package some-weights alone)"
    )
    assert Published().starting_weights(download=True).words == (
        "random weights (ImageNet's are not here; model.encoder_weights: imagenet downloads them)"
    )
    assert loaded(Packaged()) == loaded(Published()) == loaded(Published(encoder_weights="none")) == []


def test_none_and_a_file_are_taken_as_they_are(package):
    assert Packaged(encoder_weights="none").starting_weights().words == "random weights"
    encoder = Packaged(encoder_weights="here/a.pth")
    assert encoder.starting_weights().words == "the weights in here/a.pth"
    assert loaded(encoder) == ["here/a.pth"]


def test_a_damaged_file_is_named_where_its_weights_are_asked_for(package, cache):
    for path, kind, digest, remedy in (
        (package, Packaged, hashlib.sha256(b"other").hexdigest(), r"install some-weights again"),
        (cache, Published, hashlib.md5(b"other").hexdigest(), r"delete it, so that it can be downloaded again"),
    ):
        path.write_bytes(b"other")
        problem = f"{path} is not the file that was published: its .* is {digest}, not .*; {remedy}"
        with pytest.raises(UserError, match=problem):
            kind(encoder_weights="imagenet").starting_weights()
        assert kind().starting_weights().words.startswith(f"random weights (model.encoder_weights: {path} is not")
    package.unlink()
    with pytest.raises(UserError, match=r"a\.pth cannot be read .*; install some-weights again"):
        Packaged(encoder_weights="imagenet").starting_weights()


def test_imagenet_downloads_and_checks(server, cache):
    encoder = Published(encoder_weights="imagenet")
    with pytest.raises(UserError, match=r"ImageNet's weights are not here; fetch http://.*/folder/a_notop.h5 else"):
        encoder.starting_weights()
    (server / cache.name).write_bytes(b"other")
    with pytest.raises(UserError, match=r"a_notop.h5 cannot be downloaded \(Incomplete or corrupted file"):
        encoder.starting_weights(download=True)
    cache.unlink()
    (server / cache.name).write_bytes(CONTENT)
    assert encoder.starting_weights(download=True).path == str(cache)
    assert cache.read_bytes() == CONTENT


def test_without_network_one_sentence_says_what_would_help(monkeypatch, cache):
    monkeypatch.setattr(files, "PUBLISHED", "http://127.0.0.1:9/")
    with pytest.raises(UserError) as raised:
        Published(encoder_weights="imagenet").starting_weights(download=True)
    assert str(raised.value) == (
        "model.encoder_weights: a_notop.h5 cannot be downloaded ([Errno 111] Connection refused); fetch "
        f"http://127.0.0.1:9/folder/a_notop.h5 elsewhere and put it into {cache.parent}, or write "
        "model.encoder_weights: none to start from random weights"
    )
    with pytest.raises(UserError, match=r"ImageNet's weights are not here; install segpipe's extra pretrained, or"):
        Packaged(encoder_weights="imagenet").starting_weights(download=True)


def test_a_missing_file_is_noticed_before_anything_runs(tmp_path):
    settings = ModelSettings(encoder="resnet50", encoder_weights=str(tmp_path / "a.h5"))
    with pytest.raises(UserError, match=r"there is no file .*a\.h5; correct the path, or take auto, imagenet or none"):
        settings.prepare_weights()
    (tmp_path / "a.h5").touch()
    settings.prepare_weights()
    ModelSettings(encoder="resnet50").prepare_weights()
    ModelSettings(encoder="plain").prepare_weights()
