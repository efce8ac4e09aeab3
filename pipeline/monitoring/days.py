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
    """Alerts, oldest first: `day`, `version`, `what`, `p`, `images`, and whether people were `told`."""
    path = join(folder, ALERTS)
    found = []
    for line in read_bytes(path).decode(errors="replace").splitlines() if exists(path) else ():
        try:
            alert = json.loads(line)
            found.append({key: alert[key] for key in ("day", "version", "what", "p", "images", "told")})
        except (ValueError, TypeError, KeyError):  # Somebody wrote in it; what is damaged is told again.
            continue
    return found


def add_alerts(folder: str, days: list[Day]) -> list[Day]:
    """Notes the alerts of days that were not noted yet, and returns the days of which nobody was told."""
    rows = {(alert["day"], alert["version"]): alert for alert in read_alerts(folder)}
    new = [day for day in days if day.alerts and not rows.get(day.key, {}).get("told")]
    noted = [{**alert_of(day), "told": False} for day in new if day.key not in rows]
    if noted:
        _write_alerts(folder, [*rows.values(), *noted])
    return new


def mark_told(folder: str, days: list[Day]) -> None:
    """Notes that people were told of days."""
    told = {day.key for day in days}
    rows = read_alerts(folder)
    _write_alerts(folder, [{**row, "told": row["told"] or (row["day"], row["version"]) in told} for row in rows])


def _write_alerts(folder: str, rows: list[dict[str, Any]]) -> None:
    _replace(join(folder, ALERTS), "".join(json.dumps(row) + "\n" for row in rows))


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
