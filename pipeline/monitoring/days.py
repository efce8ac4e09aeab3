"""What was found of each day: kept beside the runs, without images, for longer than the images."""

from __future__ import annotations

import dataclasses
import json
import os
from typing import Any

from data.base.files import exists, join, read_bytes, write_text
from models.monitoring.comparison import Test
from pipeline.config import Config

FOLDER, PAGE, ALERTS = "monitor", "index.html", "alerts.jsonl"
_DAYS = "days.json"
# Probabilities below are no more than words.
_LEAST = 0.0001


@dataclasses.dataclass(frozen=True)
class Day:
    """What one version of the model was asked on one day.

    Attributes:
      day: such as `2026-11-27`, in UTC.
      version: what answered.
      kept: images that were kept.
      images: different ones that were looked at.
      tests: empty if there were too few.
      level: below which a probability is an alert.
    """

    day: str
    version: int
    kept: int
    images: int
    tests: list[Test]
    level: float

    @property
    def p(self) -> float | None:
        """The smallest probability; None if nothing was tested."""
        return min((test.p for test in self.tests), default=None)

    @property
    def chance(self) -> str:
        """The probability, for people."""
        if self.p is None:
            return ""
        return f"{self.p:.2g}" if self.p >= _LEAST else f"< {_LEAST}"

    @property
    def alerts(self) -> list[Test]:
        """What changed more than chance explains, the least likely first."""
        return sorted((test for test in self.tests if test.p < self.level), key=lambda test: test.p)

    @property
    def key(self) -> tuple[str, int]:
        """What tells it from others."""
        return self.day, self.version


def folder_of(config: Config) -> str:
    """Where all that the monitor writes is."""
    return os.path.abspath(join(config.output, FOLDER))


def read_days(folder: str) -> dict[tuple[str, int], Day]:
    """What earlier calls found, by day and version; nothing if that is damaged, as it can be found again."""
    path = join(folder, _DAYS)
    try:
        rows = json.loads(read_bytes(path)) if exists(path) else []
        days = [Day(**{**row, "tests": [Test(**test) for test in row["tests"]]}) for row in rows]
    except (ValueError, TypeError, KeyError):
        return {}
    return {day.key: day for day in days}


def write_days(folder: str, days: list[Day]) -> None:
    """Writes what is known of all days."""
    _replace(join(folder, _DAYS), json.dumps([dataclasses.asdict(day) for day in days]))


def read_alerts(folder: str) -> list[dict[str, Any]]:
    """Alerts that were told already, oldest first: `day`, `version`, `what`, `p` and `images`."""
    path = join(folder, ALERTS)
    lines = read_bytes(path).decode().splitlines() if exists(path) else []
    return [json.loads(line) for line in lines]


def add_alerts(folder: str, days: list[Day]) -> list[Day]:
    """Notes the alerts of days that were not noted yet, and returns these days."""
    known = read_alerts(folder)
    told = {(alert["day"], alert["version"]) for alert in known}
    new = [day for day in days if day.alerts and day.key not in told]
    if new:
        _replace(join(folder, ALERTS), "".join(json.dumps(row) + "\n" for row in [*known, *map(alert_of, new)]))
    return new


def alert_of(day: Day) -> dict[str, Any]:
    """An alert, for programs."""
    return {
        "day": day.day,
        "version": day.version,
        "what": "; ".join(test.words for test in day.alerts),
        "p": day.p,
        "images": day.images,
    }


def _replace(path: str, text: str) -> None:
    """Writes a file that is never seen half."""
    write_text(f"{path}.unfinished", text)
    os.replace(f"{path}.unfinished", path)
