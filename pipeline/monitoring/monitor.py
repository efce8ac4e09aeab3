"""Compares what was kept of served traffic, by the day, with what the deployed model was trained on."""

from __future__ import annotations

import dataclasses
import glob
import hashlib
import os
import random
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from data.base.errors import UserError
from data.base.locking import exclusive
from models.exports.exports import read_examples
from models.monitoring.comparison import compare
from models.monitoring.measures import Measured, Measurer
from models.serving.traffic.records import kept_days, read_kept
from models.serving.versions import deployed_version, fingerprint, version_path
from pipeline.config import Config
from pipeline.monitoring.days import Day, add_alerts, folder_of, read_days, write_days
from pipeline.records.lineage import examples_of

# Changes when other things are measured.
_MEASURES = 1
_SPLITS = ("eval", "test")


@dataclasses.dataclass(frozen=True)
class Watched:
    """What a call of the monitor found.

    Attributes:
      version: the deployed one.
      days: all that is known, oldest first, those of earlier versions too.
      new: days with an alert that was not told before.
      reference: how many images of the training data were compared with.
      remarks: what a person should know.
    """

    version: int
    days: list[Day]
    new: list[Day]
    reference: int
    remarks: list[str]

    @property
    def newest(self) -> Day | None:
        """The newest day of the deployed version that was tested."""
        return next((day for day in reversed(self.days) if day.version == self.version and day.tests), None)

    @property
    def is_alert(self) -> bool:
        """Whether traffic has changed: on the newest day, or on one that nobody was told of."""
        return bool(self.new) or bool(self.newest and self.newest.alerts)


def watch(config: Config, kept: str, log: Callable[[str], None] = lambda line: None) -> Watched:
    """Looks at all kept days that are new, or have more images than at the last look.

    Args:
      config: of the runs.
      kept: folder of `segpipe serve --keep`.
      log: takes lines about the progress.

    Raises:
      UserError: if there is no model, no training data or no folder.
    """
    try:
        paths = kept_days(kept)
    except OSError as error:
        raise UserError(f"{kept}: {error.strerror}; name the folder of `segpipe serve --keep`") from None
    version = deployed_version(config.push_destination)
    if version is None:
        raise UserError(f"no model is deployed at {config.push_destination}; a run that passes the gate deploys one")
    folder = folder_of(config)
    with exclusive(folder, "monitoring"):
        known = read_days(folder)
        watcher = _Watcher(config, version, folder, log)
        for day, of_day in paths.items():
            images, count = watcher.images_of(of_day)
            before = known.get((day, version))
            # Servers delete images of a day that was judged, which must not be judged again by those that are left.
            if count and (before is None or count > before.kept):
                known[day, version] = watcher.judge(day, images, count)
            elif before:
                known[day, version] = dataclasses.replace(before, level=config.monitor.level)
        days = [known[key] for key in sorted(known)]
        write_days(folder, days)
        new = add_alerts(folder, [day for day in days if day.version == version])
    return Watched(version, days, new, watcher.reference_images, watcher.remarks)


class _Watcher:
    """Measures only what has to be measured: loading a model and answering takes time."""

    def __init__(self, config: Config, version: int, folder: str, log: Callable[[str], None]):
        self._config, self._settings, self._version = config, config.monitor, version
        self._folder, self._log = folder, log
        self._model = version_path(config.push_destination, version)
        self._measurer: Measurer | None = None
        self._reference: Measured | None = None
        self.remarks: list[str] = []

    @property
    def reference_images(self) -> int:
        """How many images of the training data were compared with; 0 if nothing was."""
        return len(self._reference) if self._reference else 0

    def images_of(self, paths: list[str]) -> tuple[list[bytes], int]:
        """Different images that this version answered, at most so many as are looked at, and how many there are."""
        count = 0

        def images() -> Iterator[bytes]:
            nonlocal count
            for path in paths:
                try:
                    for image in read_kept(path):
                        if image.version == self._version:
                            count += 1
                            yield image.image
                except UserError as error:
                    if os.path.exists(path):  # Else a server deleted it just now.
                        self.remarks.append(str(error))

        return _drawn(images(), self._settings.max_images), count

    def judge(self, day: str, images: list[bytes], count: int) -> Day:
        """Compares the images of a day with the training data."""
        level = self._settings.level
        if len(images) < self._settings.min_images:
            return Day(day, self._version, count, len(images), [], level)
        reference = self._reference = self._reference or self._measured_reference()
        self._log(f"Looking at {len(images)} images of {day} …")
        found = self._measures().measure(images)
        if len(found) < self._settings.min_images:
            return Day(day, self._version, count, len(found), [], level)
        return Day(
            day, self._version, count, len(found), compare(reference, found, self._measures().class_names), level
        )

    def _measures(self) -> Measurer:
        if self._measurer is None:
            self._measurer = Measurer(self._model)
            self.remarks += [self._measurer.remark] if self._measurer.remark else []
        return self._measurer

    def _measured_reference(self) -> Measured:
        """Of images that the model did not learn from: what it says of those that it did would look too good."""
        files = self._reference_files()
        most = self._settings.max_images
        what = repr((_MEASURES, fingerprint(self._model), most, [(path, os.path.getsize(path)) for path in files]))
        path = os.path.join(self._folder, f"reference-{hashlib.sha256(what.encode()).hexdigest()[:16]}.npz")
        found = _read(path)
        if found is None:
            images = _drawn((image for image, _ in read_examples(files)), most)
            self._log(f"Looking at {len(images)} images of the training data …")
            found = self._measures().measure(images)
            for old in glob.glob(os.path.join(glob.escape(self._folder), "reference-*")):
                os.remove(old)
            _write(path, found)
        if len(found) < self._settings.min_images:
            raise UserError(
                f"version {self._version} has {len(found)} different images in eval and test, too few to compare with; "
                f"monitor.min_images is {self._settings.min_images}"
            )
        return found

    def _reference_files(self) -> list[str]:
        examples = examples_of(self._config, self._version)
        if examples is not None:
            folders = [os.path.join(examples, f"Split-{split}") for split in _SPLITS]
            files = [path for folder in folders for path in glob.glob(os.path.join(glob.escape(folder), "*"))]
            if files:
                return sorted(files)
        self.remarks.append(
            f"the examples that version {self._version} was evaluated on are gone; traffic is compared with data.input"
        )
        of_split = self._config.data.files_by_split()
        return [path for split in _SPLITS for path in of_split[split]]


def _drawn(images: Iterable[bytes], most: int) -> list[bytes]:
    """Different images, each as likely as the others (Vitter's algorithm R, 1985), and the same ones each time."""
    generator, seen = random.Random(0), set[bytes]()
    drawn: list[bytes] = []
    for image in images:
        digest = hashlib.sha256(image).digest()
        if digest in seen:
            continue
        seen.add(digest)
        if len(drawn) < most:
            drawn.append(image)
        elif (place := generator.randrange(len(seen))) < most:
            drawn[place] = image
    return drawn


def _write(path: str, found: Measured) -> None:
    arrays: dict[str, Any] = {f"statistic {name}": values for name, values in found.statistics.items()}
    with open(f"{path}.unfinished", "wb") as file:
        np.savez(file, class_shares=found.class_shares, embeddings=found.embeddings, **arrays)
    os.replace(f"{path}.unfinished", path)


def _read(path: str) -> Measured | None:
    if not os.path.exists(path):
        return None
    with np.load(path) as found:
        statistics = {
            name.removeprefix("statistic "): found[name] for name in found.files if name.startswith("statistic ")
        }
        return Measured(statistics, found["class_shares"], found["embeddings"])
