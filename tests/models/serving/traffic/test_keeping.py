"""What a server keeps of its requests, by its own process, and by a keeper alone."""

import datetime
import io
import json
import os
import pathlib
import resource
import signal
import time

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from data import contract
from data.base.errors import UserError
from models.serving.loaded_model import LoadedModel
from models.serving.server.batching import Answer
from models.serving.traffic.keeping import Keeper
from models.serving.traffic.records import KeptImage, kept_days, read_kept
from tests.models.serving.test_server import BRIGHT, DARK, TRUNCATED, Server, encoded, picture

pytestmark = pytest.mark.one_line
SECONDS = 30


def today(days_before=0):
    now = datetime.datetime.now(datetime.timezone.utc)
    return (now.date() - datetime.timedelta(days=days_before)).isoformat()


def kept(folder):
    return [image for paths in kept_days(str(folder)).values() for path in paths for image in read_kept(path)]


def wait_until(is_true):
    end = time.monotonic() + SECONDS
    while not is_true():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture(scope="module")
def model(tmp_path_factory, push):
    folder = tmp_path_factory.mktemp("pushed") / "serving"
    push(folder, 3, 1)
    return LoadedModel(str(folder / "3"), 3)


def offer(keeper, model, *images):
    """Offers an answered request with images of 30 x 20 pixels."""
    sizes = [(20, 30)] * len(images)
    return keeper.offer(images, sizes, Answer(model, model.segment(images, sizes)))


def value(keeper, name):
    return next(
        sample.value for metric in keeper.metrics for family in metric.collect() for sample in family.samples
        if sample.name == name
    )  # fmt: skip


def test_a_server_keeps_what_it_answered_and_nothing_else(model, tmp_path):
    folder = tmp_path / "kept"
    server = Server(pathlib.Path(model.folder).parent, "--keep", str(folder), "--keep-share", "1")
    before = time.time()
    try:
        _, headers, answer = server.predict(BRIGHT, DARK)
        status, other_headers, _ = server.request("POST", "/v1/models/segpipe:show", DARK)
        assert status == 200
        assert server.predict(TRUNCATED)[0] == 400
        assert "segpipe_keeping 1.0" in server.request("GET", "/metrics")[2]
    finally:
        assert server.stop() == 0
    found = {image.source_id: image for image in kept(folder)}
    request_id = headers["X-Request-Id"]
    assert list(found) == [request_id, f"{request_id}-2", other_headers["X-Request-Id"]]
    bright, dark, shown = found.values()
    assert [bright.image, dark.image, shown.image] == [BRIGHT, DARK, DARK]
    assert [bright.image_format, dark.image_format] == ["png", "jpeg"]
    assert (bright.height, bright.width, bright.version) == (20, 30, 3)
    np.testing.assert_array_equal(Image.open(io.BytesIO(bright.class_ids)), answer["predictions"][0]["class_ids"])
    assert Image.open(io.BytesIO(shown.class_ids)).size == (30, 20)
    assert bright.class_shares == [0, 1, 0]
    assert bright.confidence == pytest.approx(np.mean(answer["predictions"][0]["confidence"]))
    assert before - 1 < bright.time < time.time() + 1
    assert request_id.startswith(datetime.datetime.fromtimestamp(bright.time, datetime.timezone.utc).strftime("%Y%m"))
    assert os.listdir(folder) == [today()]
    # An answer is no label, by any name that is read as one.
    (path,) = kept_days(str(folder))[today()]
    (record, *_) = tf.data.TFRecordDataset(path).as_numpy_iterator()
    assert contract.MASK not in tf.train.Example.FromString(record).features.feature


@pytest.mark.parametrize("share", [0, 0.3])
def test_a_share_of_the_requests_is_kept(model, tmp_path, share):
    keeper = Keeper(str(tmp_path / "kept"), share, 30, 10)
    answer = Answer(model, model.segment([BRIGHT], [(20, 30)]))
    ids = {keeper.offer([BRIGHT], [(20, 30)], answer) for _ in range(1000)}
    keeper.close()
    assert len(ids) == 1000
    assert abs(len(kept(tmp_path / "kept")) - 1000 * share) < 5 * (1000 * share * (1 - share)) ** 0.5 + 1


def test_an_image_that_exif_turns_is_kept_as_it_was_seen(model, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    pixels = np.zeros([20, 30, 3], np.uint8)
    pixels[:, 15:] = 255
    Image.fromarray(pixels).save(buffer, "PNG", exif=exif)
    keeper = Keeper(str(tmp_path / "kept"), 1, 30, 10)
    sizes = [(30, 20)]
    keeper.offer([buffer.getvalue()], sizes, Answer(model, model.segment([buffer.getvalue()], sizes, True)))
    keeper.close()
    (found,) = kept(tmp_path / "kept")
    assert Image.open(io.BytesIO(found.image)).size == (found.width, found.height) == (20, 30)
    is_bright = np.array(Image.open(io.BytesIO(found.image)))[..., 0] > 127
    assert (np.array(Image.open(io.BytesIO(found.class_ids))) == is_bright).mean() > 0.9


def test_the_oldest_goes_first_and_bytes_are_never_more(model, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, [20, 30, 3]).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "PNG")
    limit = 20_000
    keepers = [Keeper(str(tmp_path), 1, 30, limit / 1e6) for _ in range(2)]
    ids = [offer(keepers[index % 2], model, buffer.getvalue()) for index in range(40)]
    for keeper in keepers:
        keeper.close()
    files = [path for paths in kept_days(str(tmp_path)).values() for path in paths]
    # The other server may have written one file since this one looked.
    assert limit / 2 < sum(os.path.getsize(path) for path in files) <= 1.25 * limit
    found = {image.source_id for image in kept(tmp_path)}
    assert ids[0] not in found
    assert {ids[-1], ids[-2]} <= found


def test_an_image_larger_than_the_limit_is_not_kept(model, tmp_path):
    keeper = Keeper(str(tmp_path), 1, 30, 0.0001)
    offer(keeper, model, BRIGHT)
    keeper.close()
    assert not kept(tmp_path)
    assert (keeper.is_keeping, value(keeper, "segpipe_kept_missed_total")) == (True, 1)


def test_days_that_are_over_are_deleted_and_nothing_that_is_not_ours(model, tmp_path, monkeypatch):
    first = Keeper(str(tmp_path), 1, 30, 10)
    offer(first, model, BRIGHT)
    first.close()
    for days_before in (1, 2, 30):
        (tmp_path / today(days_before)).mkdir()
        (path,) = kept_days(str(tmp_path))[today()]
        (tmp_path / today(days_before) / "0.tfrecord").write_bytes(pathlib.Path(path).read_bytes())
        (tmp_path / today(days_before) / ".0.partial").write_bytes(b"half")
    (tmp_path / today(30) / "notes.txt").write_text("mine")
    (tmp_path / "2020-01-01.txt").write_text("mine")
    monkeypatch.setattr("models.serving.traffic.keeping._EXPIRE_SECONDS", 0.0)
    keeper = Keeper(str(tmp_path), 1, 2, 10)
    wait_until(lambda: sum(map(len, kept_days(str(tmp_path)).values())) == 2 and not (tmp_path / today(2)).exists())
    # Also while it runs and no request comes.
    (tmp_path / today(1)).rename(tmp_path / today(2))
    wait_until(lambda: not (tmp_path / today(2)).exists())
    keeper.close()
    assert sorted(os.listdir(tmp_path)) == sorted(["2020-01-01.txt", today(30), today()])
    assert os.listdir(tmp_path / today(30)) == ["notes.txt"]


def test_what_a_killed_server_left_goes_after_a_while(tmp_path):
    (tmp_path / today()).mkdir()
    old, new = (tmp_path / today() / f".{name}.partial" for name in ("old", "new"))
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    keeper = Keeper(str(tmp_path), 1, 30, 10)
    wait_until(lambda: not old.exists())
    keeper.close()
    assert new.exists()
    assert kept_days(str(tmp_path)) == {today(): []}


def test_a_server_that_is_killed_leaves_complete_files(model, tmp_path):
    folder = tmp_path / "kept"
    server = Server(pathlib.Path(model.folder).parent, "--keep", str(folder), "--keep-share", "1")
    for _ in range(5):  # 160 images: files of 32.
        assert server.predict(*[BRIGHT] * 32)[0] == 200
    wait_until(lambda: any(kept_days(str(folder)).values()))
    server.process.send_signal(signal.SIGKILL)
    server.process.wait(SECONDS)
    paths = [path for of_day in kept_days(str(folder)).values() for path in of_day]
    assert paths
    for path in paths:
        assert sum(1 for _ in read_kept(path)) == 32


def test_a_full_disk_ends_the_keeping_and_not_the_serving(model, tmp_path):
    folder = tmp_path / "kept"
    server = Server(pathlib.Path(model.folder).parent, "--keep", str(folder), "--keep-share", "1")
    try:
        # No file may grow much, which the system answers as a full disk does: with an error.
        size = server.log.stat().st_size + 600
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (size, size))
        body = json.dumps({"instances": [encoded(picture(index)) for index in range(32)]})
        assert server.request("POST", "/v1/models/segpipe:predict", body)[0] == 200
        server.wait_for(r"requests are no longer kept in .*; the server goes on without")
        assert server.request("POST", "/v1/models/segpipe:predict", body)[0] == 200
        assert "segpipe_keeping 0.0" in server.request("GET", "/metrics")[2]
    finally:
        assert server.stop() == 0
    assert server.log.read_text().count("no longer kept") == 1
    assert os.listdir(folder / today()) == []


@pytest.mark.parametrize("what", ["vanished", "in the way"])
def test_a_folder_that_fails_later_ends_the_keeping_with_one_line(model, tmp_path, caplog, what):
    folder = tmp_path / "kept"
    keeper = Keeper(str(folder), 1, 30, 10)
    if what == "vanished":
        folder.rmdir()
    else:
        (folder / today()).write_text("")
    for index in range(40):
        offer(keeper, model, picture(index))
    wait_until(lambda: not keeper.is_keeping)
    offer(keeper, model, BRIGHT)
    keeper.close()
    assert value(keeper, "segpipe_keeping") == 0
    (line,) = [record.getMessage() for record in caplog.records if "no longer kept" in record.getMessage()]
    assert "kept: No such file or directory;" in line or "Not a directory" in line
    assert what == "in the way" or not folder.exists()


def test_what_the_disk_is_too_slow_for_is_missed_and_counted(model, tmp_path, monkeypatch):
    monkeypatch.setattr("models.serving.traffic.keeping._WAITING_BYTES", 1.0)
    keeper = Keeper(str(tmp_path), 1, 30, 10)
    answer = Answer(model, model.segment([BRIGHT], [(20, 30)]))
    for _ in range(200):
        keeper.offer([BRIGHT], [(20, 30)], answer)
    keeper.close()
    missed = value(keeper, "segpipe_kept_missed_total")
    assert missed > 0
    assert len(kept(tmp_path)) == 200 - missed == value(keeper, "segpipe_kept_total") > 0


def test_a_folder_that_cannot_be_written_is_refused_in_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"--keep .*file/kept: Not a directory; name a folder that this user can write"):
        Keeper(str(tmp_path / "file" / "kept"), 1, 30, 10)
    with pytest.raises(UserError, match="must be a folder on this machine"):
        Keeper("gs://bucket/kept", 1, 30, 10)


def test_what_is_no_kept_file_is_named(tmp_path):
    (tmp_path / "a.tfrecord").write_bytes(b"half a record")
    with pytest.raises(UserError, match=r"a\.tfrecord is not what `segpipe serve --keep` wrote"):
        list(read_kept(str(tmp_path / "a.tfrecord")))
    assert KeptImage.parse(KeptImage("x", b"1", "png", 1, 2, b"3", 0.5, [0.25], 4, 5.25).serialize()).time == 5.25
