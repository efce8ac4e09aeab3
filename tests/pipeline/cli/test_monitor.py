"""`segpipe monitor` over weeks of kept traffic, with a model that is as small as can be."""

import datetime
import io
import json
import re
import shutil
import sys

import numpy as np
import pytest
import tensorflow as tf
import yaml
from click.testing import CliRunner
from PIL import Image

from data.contract import SegmentationExample
from data.decoding.images import encode_png
from data.label_map import LabelMap
from models.serving.traffic.records import SUFFIX, KeptImage
from pipeline.cli import cli
from pipeline.config import Config
from pipeline.retraining.retrain import served_traffic_has_changed
from tests.pages import faults, forms

NAMES = ["nothing", "cat", "dog"]
SIZE = (24, 32)
FIRST = datetime.date(2026, 11, 2)
WRITE = "import sys; open(sys.argv[1], 'a').write(sys.stdin.read() + '\\n')"


def photograph(generator, gain=1.0):
    """Blocks of random colors, some bright ones in which the model finds cats."""
    blocks = generator.integers(0, 200, [6, 8, 3]).repeat(4, axis=0).repeat(4, axis=1)
    noise = generator.normal(0, 5, [*SIZE, 3])
    return encode_png(np.clip(gain * (blocks + noise), 0, 255).astype(np.uint8))


def write_data(folder, images=60):
    folder.mkdir()
    generator = np.random.default_rng(0)
    mask = encode_png(np.zeros(SIZE, np.uint8))
    for split, count in (("train", 2), ("eval", images // 2), ("test", images // 2)):
        with tf.io.TFRecordWriter(str(folder / f"{split}-00000-of-00001.tfrecord")) as writer:
            for number in range(count):
                image = photograph(generator)
                writer.write(SegmentationExample(image, "png", *SIZE, mask, f"{split}/{number}").serialize())
    (folder / "labels.yaml").write_text(LabelMap.from_names(NAMES).to_yaml())


def keep(folder, day, images, version=3, name="0"):
    """As a server keeps them, on a day counted from the first."""
    where = folder / (FIRST + datetime.timedelta(days=day)).isoformat()
    where.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(where / f"{name}{SUFFIX}")) as writer:
        for number, image in enumerate(images):
            record = KeptImage(f"{day}-{number}", image, "png", *SIZE, b"", 0.9, [1.0, 0.0, 0.0], version, 0.0)
            writer.write(record.serialize())


def usual(seed, count=40, gain=1.0):
    generator = np.random.default_rng(100 + seed)
    return [photograph(generator, gain) for _ in range(count)]


class Team:
    """What a team has: a deployed model, its data, and a server that keeps requests."""

    def __init__(self, folder, pushed):
        self.folder, self.kept, self.monitor_folder = folder, folder / "kept", folder / "output" / "monitor"
        write_data(folder / "data")
        shutil.copytree(pushed, folder / "output" / "serving")
        self.kept.mkdir()
        notify = {"command": [sys.executable, "-c", WRITE, str(folder / "told.jsonl")]}
        self.configuration = {
            "name": "cats",
            "output": str(folder / "output"),
            "data": {"input": str(folder / "data")},
            "notify": notify,
        }

    def monitor(self, *options):
        (self.folder / "run.yaml").write_text(yaml.safe_dump(self.configuration))
        command = ["monitor", "--config", str(self.folder / "run.yaml"), "--from", str(self.kept), *options]
        return CliRunner().invoke(cli, command, standalone_mode=False)

    def told(self):
        path = self.folder / "told.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture(scope="module")
def pushed(tmp_path_factory, push):
    folder = tmp_path_factory.mktemp("pushed") / "serving"
    push(folder, 3, 1)
    return folder


@pytest.fixture
def team(tmp_path, pushed):
    return Team(tmp_path, pushed)


@pytest.fixture(scope="module")
def after_weeks(tmp_path_factory, pushed):
    """A team whose camera became brighter on the fourth day; the fifth had few images."""
    team = Team(tmp_path_factory.mktemp("team"), pushed)
    for day in range(3):
        keep(team.kept, day, usual(day))
    quiet = team.monitor()
    shutil.rmtree(team.kept / "2026-11-02")
    keep(team.kept, 2, usual(9, 10), name="1")
    keep(team.kept, 3, usual(3, gain=1.25))
    keep(team.kept, 4, usual(4, 5))
    loud = team.monitor()
    return team, quiet, loud


def test_a_change_is_told_once_with_what_changed(after_weeks):
    team, quiet, loud = after_weeks
    assert quiet.return_value == 0, quiet.output
    assert "Served traffic is like the training data." in quiet.output
    assert loud.return_value == 3, loud.output
    assert "Alert: served traffic has changed." in loud.output
    (alert,) = [json.loads(line) for line in (team.monitor_folder / "alerts.jsonl").read_text().splitlines()]
    assert (alert["day"], alert["version"], alert["images"]) == ("2026-11-05", 3, 40)
    assert alert["p"] < 0.01
    assert "brightness 0." in alert["what"]
    (told,) = team.told()
    assert alert.pop("told")
    assert (told["state"], told["pipeline"], told["alerts"]) == ("drift", "cats", [alert])
    # It is still on, but nobody is told again.
    again = team.monitor("--json")
    assert again.return_value == 3
    found = json.loads(again.stdout[again.stdout.index("{") :])
    assert (found["alert"], found["alerts"], found["version"]) == (True, [], 3)
    assert [len(day["tests"]) > 0 for day in found["days"]] == [True] * 4 + [False]
    assert len(team.told()) == 1


def test_whom_nobody_could_reach_is_told_by_the_next_call(team):
    team.configuration["notify"] = {"command": [sys.executable, "-c", "exit(1)"]}
    keep(team.kept, 0, usual(3, gain=1.25))
    keep(team.kept, 1, usual(1))
    keep(team.kept, 0, usual(2, gain=1.25), name="1")
    first = team.monitor()
    assert "Notification failed" in first.output
    assert first.return_value == 3
    # What a server deletes of a day does not change what was found.
    (team.kept / "2026-11-02" / f"1{SUFFIX}").unlink()
    team.configuration["notify"] = {"command": [sys.executable, "-c", WRITE, str(team.folder / "told.jsonl")]}
    with (team.monitor_folder / "alerts.jsonl").open("a") as file:
        file.write("half a li")
    assert team.monitor().return_value == 3
    ((alert,),) = [told["alerts"] for told in team.told()]
    assert (alert["day"], alert["images"]) == ("2026-11-02", 80)
    assert team.monitor().return_value == 0
    assert len(team.told()) == 1


def test_metrics_are_there_for_prometheus(after_weeks):
    lines = (after_weeks[0].monitor_folder / "segpipe.prom").read_text().splitlines()
    assert 'segpipe_drift_alert{pipeline="cats"} 1.0' in lines
    assert 'segpipe_drift_images{pipeline="cats"} 40.0' in lines
    assert any(line.startswith('segpipe_drift_p{pipeline="cats",what="brightness"} ') for line in lines)


def test_the_page_can_be_read_on_any_screen(after_weeks, browser):
    browser.get((after_weeks[0].monitor_folder / "index.html").as_uri())
    text = browser.execute_script("return document.body.innerText")
    assert "Served traffic has changed." in text
    assert re.search("2026-11-05: .*brightness 0", text)
    assert "too few images" in text
    assert len(browser.find_elements("css selector", ".chart svg")) == 8
    for form in forms(browser):
        assert not faults(browser), form
    assert not browser.get_log("browser")


def test_what_was_looked_at_is_not_looked_at_again(after_weeks):
    _, quiet, loud = after_weeks
    assert "Looking at 60 images of the training data" in quiet.output
    assert "training data …" not in loud.output
    looked_at = re.findall(r"Looking at (\d+) images of (\S+)", loud.output)
    # Of the third day, more had come.
    assert looked_at == [("50", "2026-11-04"), ("40", "2026-11-05")]
    # The first day's images were deleted; what was found stays.
    assert "2026-11-02" in loud.output


def test_copies_other_versions_and_damaged_files_are_no_evidence(team):
    odd = usual(50, 1, gain=1.3)[0]
    again = io.BytesIO()
    Image.open(io.BytesIO(odd)).save(again, "JPEG", quality=98)
    keep(team.kept, 0, [*usual(0), *[odd] * 100, again.getvalue()])
    keep(team.kept, 1, usual(1, gain=1.3), version=2)
    keep(team.kept, 2, [odd] * 100)
    (team.kept / "2026-11-02" / "broken.tfrecord").write_bytes(b"half a record")
    finished = team.monitor("--json")
    assert finished.return_value == 0, finished.output
    assert "broken.tfrecord is not what `segpipe serve --keep` wrote" in finished.stdout
    days = json.loads(finished.stdout[finished.stdout.index("{") :])["days"]
    assert [(day["day"], day["kept"], day["images"]) for day in days] == [
        ("2026-11-02", 141, 41),
        ("2026-11-04", 100, 1),
    ]


def test_a_schedule_learns_of_changed_traffic(after_weeks):
    team, *_ = after_weeks

    def has_changed(**settings):
        lines = []
        config = Config.model_validate({**team.configuration, "monitor": settings})
        return served_traffic_has_changed(config, lines.append), "\n".join(lines)

    assert has_changed() == (False, "")
    assert has_changed(kept=str(team.kept))[0]
    assert [told["state"] for told in team.told()] == ["drift"]
    # Nothing keeps anybody from training.
    answer, words = has_changed(kept=str(team.folder / "no"))
    assert not answer
    assert words.startswith("Served traffic cannot be compared: ")


def test_mistakes_are_one_sentence(team):
    keep(team.kept, 0, usual(0, 110))
    for options, message in (
        (("--from", str(team.folder / "no")), "No such file or directory; name the folder of `segpipe serve --keep`"),
        (("--set", "push.destination=elsewhere"), "no model is deployed at"),
        (("--set", "monitor.min_images=100"), "too few to compare with; monitor.min_images is 100"),
    ):
        finished = team.monitor(*options)
        assert message in str(finished.exception)
