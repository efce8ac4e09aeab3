"""Four weeks with real commands and no hand in between: a model meets a breed that it has never seen."""

import datetime
import json
import random
import shlex
import shutil
import sys

import numpy as np
import pytest
import yaml
from PIL import Image

from data.label_map import LabelMap
from data.writing import WRITERS, AnnotatedImage
from data.writing.outlines.regions import find_regions
from models.evaluation.metrics import class_totals, confusion_matrix, mean_iou
from models.serving.versions import numbers
from tests.models.serving.test_server import Server

# Twenty minutes on two cores.
pytestmark = [pytest.mark.nightly, pytest.mark.one_line]
OLD, NEW = ("Abyssinian", "Bengal"), "american_bulldog"
CLASSES = ("background", "pet")
WRITE = "import sys; open(sys.argv[1], 'a').write(sys.stdin.read() + chr(10))"


class Pets:
    """The photographs, and their masks with 1 for the pet and its border."""

    def __init__(self, folder):
        self._folder = folder

    def names(self, breed):
        """Of a breed's photographs, in random order: those with higher numbers are smaller."""
        found = sorted(path.stem for path in (self._folder / "images").glob(f"{breed}_*.jpg"))
        readable = [name for name in found if self.photograph(name)[:2] == b"\xff\xd8"]
        return random.Random(0).sample(readable, len(readable))

    def photograph(self, name):
        return (self._folder / "images" / f"{name}.jpg").read_bytes()

    def mask(self, name):
        trimap = np.asarray(Image.open(self._folder / "annotations" / "trimaps" / f"{name}.png"))
        return (trimap != 2).astype(np.uint8)

    def write(self, folder, splits):
        """Writes images and masks below folders of splits."""
        for split, names in splits.items():
            for kind in ("images", "masks"):
                (folder / kind / split).mkdir(parents=True)
            for name in names:
                (folder / "images" / split / f"{name}.jpg").write_bytes(self.photograph(name))
                Image.fromarray(self.mask(name)).save(folder / "masks" / split / f"{name}.png")


class Loop:
    """A folder with all that the weeks leave."""

    def __init__(self, folder, pets, segpipe):
        self.folder, self.pets, self._segpipe = folder, pets, segpipe
        self.config, self.kept, self.serving = folder / "loop.yaml", folder / "kept", folder / "output" / "serving"
        self.name_of = {}

    def call(self, *arguments, code=0):
        """Runs a command, which must end with that exit code."""
        finished = self._segpipe(*map(str, arguments))
        assert finished.returncode == code, finished.stdout + finished.stderr
        return finished.stdout

    def convert(self, source, span, *options):
        return self.call("convert", "--span", span, *options, source, self.folder / "records")

    def serve_a_day(self, names, days_ago):
        """Serves photographs, and calls the day that they were kept on by an earlier date."""
        before = set(self.kept.iterdir()) if self.kept.exists() else set()
        server = Server(self.serving, "--keep", str(self.kept), "--keep-share", "1")
        for name in names:
            status, headers, _ = server.predict(self.pets.photograph(name))
            assert status == 200
            self.name_of[headers["X-Request-Id"]] = name
        assert server.stop() == 0
        day = datetime.date.today() - datetime.timedelta(days_ago)
        for folder in set(self.kept.iterdir()) - before:
            for path in folder.iterdir():
                (self.kept / day.isoformat()).mkdir(exist_ok=True)
                path.rename(self.kept / day.isoformat() / path.name)
            folder.rmdir()

    def measure(self, version, names):
        """Mean IoU of a version on photographs, at their own size."""
        images, output = self.folder / "measured", self.folder / "predictions"
        for folder in (images, output):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
        for name in names:
            (images / f"{name}.jpg").write_bytes(self.pets.photograph(name))
        self.call("predict", "--quiet", "--model", self.serving / str(version), "--output", output, images)
        total = sum(
            confusion_matrix(self.pets.mask(name), np.asarray(Image.open(output / f"{name}_mask.png")), len(CLASSES))
            for name in names
        )
        return float(mean_iou(class_totals(total)))

    def notified(self):
        """What was sent to people, in order."""
        return [json.loads(line) for line in (self.folder / "notified.jsonl").read_text().splitlines()]


def label(pets, annotations, name_of):
    """Corrects each file of labelme as a person would who draws the true mask."""
    label_map = LabelMap.from_names(list(CLASSES))
    for path in sorted(annotations.rglob("*.json")):
        suggested = json.loads(path.read_text())
        mask = pets.mask(name_of[path.stem])
        writer = WRITERS["labelme"](str(path.parent / "true"), str(path.parent / "true"), label_map.classes)
        regions = find_regions(mask, [1], 0.0)
        writer.add(AnnotatedImage(path.name, path.stem, "", *mask.shape, regions))
        (true,) = (path.parent / "true").glob("*.json")
        path.write_text(json.dumps({**suggested, "shapes": json.loads(true.read_text())["shapes"]}))
        shutil.rmtree(path.parent / "true")


def test_a_new_breed_is_noticed_labeled_and_learned(tmp_path, pets, segpipe):
    loop = Loop(tmp_path, Pets(pets), segpipe)
    old = [loop.pets.names(breed) for breed in OLD]
    new = loop.pets.names(NEW)

    # Week 1: a first model.
    splits = {"train": np.s_[:44], "eval": np.s_[44:54], "test": np.s_[54:80]}
    loop.pets.write(
        tmp_path / "labeled", {split: [name for names in old for name in names[part]] for split, part in splits.items()}
    )
    loop.convert(tmp_path / "labeled", 1, "--format", "mask-folder", "--classes", ",".join(CLASSES))
    settings = {
        "name": "loop",
        "output": str(tmp_path / "output"),
        "data": {"input": f"{tmp_path}/records/{{SPAN}}"},
        "preprocessing": {"height": 96, "width": 96, "channels": 3, "resize": "stretch"},
        "model": {"encoder": "efficientnet_lite0", "filters": 8},
        "train": {"epochs": 12, "batch_size": 8, "small_sizes": 0, "warm_start": "deployed"},
        "gate": {"regression": 0.02},
        "monitor": {"kept": str(loop.kept)},
        "notify": {
            "command": [sys.executable, "-c", WRITE, str(tmp_path / "notified.jsonl")],
            "states": ["pushed", "drift"],
        },
    }
    loop.config.write_text(yaml.safe_dump(settings))
    loop.call("retrain", "--config", loop.config)
    (first,) = numbers(str(loop.serving))

    # Week 2: the same breeds.
    loop.serve_a_day([name for names in old for name in names[80:]], days_ago=15)
    loop.call("monitor", "--config", loop.config)

    # Week 3: another one.
    loop.serve_a_day(new[:60], days_ago=8)
    loop.call("monitor", "--config", loop.config, code=3)
    assert [message["state"] for message in loop.notified()] == ["pushed", "drift"]

    # Week 4: what would help most is labeled, and comes back.
    suggested = tmp_path / "suggested"
    printed = loop.call(
        *("suggest", "--config", loop.config, "--from", loop.kept, "--count", 40),
        *("--output", suggested, "--write", "labelme"),
    )
    label(loop.pets, suggested, loop.name_of)
    # What it says comes next.
    (command,) = (line for line in printed.splitlines() if " convert --format labelme --span 2 " in line)
    loop.call(*shlex.split(command)[1:])
    loop.call("retrain", "--config", loop.config)
    second = numbers(str(loop.serving))[-1]
    assert second != first

    test = [name for names in old for name in names[54:80]]
    figures = {
        breed: {version: loop.measure(version, names) for version in (first, second)}
        for breed, names in (("old", test), ("new", new[60:]))
    }
    print(json.dumps(figures))
    assert figures["new"][second] > figures["new"][first] + 0.03
    assert figures["old"][second] > figures["old"][first] - 0.02
