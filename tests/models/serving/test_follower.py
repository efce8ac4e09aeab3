"""Which version the server takes."""

import shutil
import time

from models.serving.server.follower import Follower

# Generous: what is waited for takes a second or two.
SECONDS = 60


def test_a_version_that_was_seen_half_copied_is_served_once_it_is_whole(tmp_path, push, caplog):
    """As in a bucket, whose files arrive one by one; what marks a model is there, but not yet its weights."""
    destination = tmp_path / "serving"
    push(destination, 1, 1)
    push(tmp_path / "elsewhere", 2, 2)
    follower = Follower(str(destination), poll_seconds=0.05)

    def wait_until(is_so):
        end = time.monotonic() + SECONDS
        while not is_so():
            assert time.monotonic() < end
            time.sleep(0.02)

    shutil.copytree(tmp_path / "elsewhere" / "2", destination / "2", ignore=shutil.ignore_patterns("variables*"))
    wait_until(lambda: "version 2 is passed over until its files change" in caplog.text)
    assert follower.model.version == 1
    shutil.copytree(tmp_path / "elsewhere" / "2" / "variables", destination / "2" / "variables")
    wait_until(lambda: follower.model.version == 2)
    follower.stop()


def test_a_folder_that_becomes_a_model_is_served_and_spoken_of_once_before(tmp_path, push, caplog):
    destination = tmp_path / "serving"
    push(destination, 1, 1)
    push(tmp_path / "elsewhere", 2, 2)
    follower = Follower(str(destination), poll_seconds=3600)
    for name in ("variables", "assets.extra", "saved_model.pb"):
        copy = shutil.copy2 if name.endswith(".pb") else shutil.copytree
        (destination / "2").mkdir(exist_ok=True)
        copy(tmp_path / "elsewhere" / "2" / name, destination / "2" / name)
        follower._look()
        assert follower.model.version == 1
    assert caplog.text.count("version 2 is passed over") == 1
    shutil.copy2(tmp_path / "elsewhere" / "2" / "fingerprint.pb", destination / "2")
    follower._look()
    assert follower.model.version == 2
    follower.stop()
