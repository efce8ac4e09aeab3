"""Where a pipeline stands, as a page in its output folder: what is deployed, how runs went, and what to do next."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import json
import logging
import os
import pathlib
import shlex
import urllib.parse
import uuid
from collections.abc import Sequence
from typing import Any

from data.base import pages
from data.base.errors import UserError
from data.base.files import exists, is_remote, read_bytes
from data.base.links import without_link
from data.contract import REPORT_FILE
from data.spans import SPAN, find_spans
from models.evaluation.metric_table import format_value, in_words
from models.evaluation.settings import WATCHED
from models.serving.versions import is_model, numbers, rollbacks, rolled_back_path, version_path
from pipeline.config import Config
from pipeline.records.pages.next_steps import Facts, next_steps
from pipeline.records.runs import Run, log_name, own_runs, pushed_runs

PAGE = "index.html"
# What `segpipe monitor` leaves in the output folder.
_ALERTS, _MONITOR_PAGE = os.path.join("monitor", "alerts.jsonl"), os.path.join("monitor", PAGE)
_DAYS = os.path.join("monitor", "days.json")
# And `segpipe audit`.
_AUDIT_PAGE = os.path.join("audit", PAGE)
_LOG = logging.getLogger("segpipe.overview")
_TEMPLATE_PATH = pathlib.Path(__file__).with_name("overview.html")
# Of runs, spans and alerts, the newest are shown, and the others on request.
_SHOWN = 10


@dataclasses.dataclass(frozen=True)
class Span:
    """Data that was added: a span, or the whole data set where there are none.

    Attributes:
      name: number of the span, or the folder's name.
      folder: where it is.
      images: how many there are in each split, if a conversion made it.
      first: the run that was the first to train on it, or None.
      is_used: whether the newest run that read data trained on it.
    """

    name: str
    folder: str
    images: dict[str, int]
    first: Run | None
    is_used: bool


def overview_path(config: Config) -> str:
    """The page of a pipeline."""
    return os.path.join(os.path.abspath(config.output), PAGE)


def write_overview(config: Config) -> None:
    """Writes the page anew, at once and whole, if there is a run.

    A run must not fail because of it: what goes wrong is a warning.
    """
    path = overview_path(config)
    unfinished = f"{path}.{uuid.uuid4().hex}"
    try:
        if runs := own_runs(config):
            pathlib.Path(unfinished).write_text(render(config, runs), encoding="utf-8")
            os.replace(unfinished, path)
    except Exception as error:
        pathlib.Path(unfinished).unlink(missing_ok=True)
        _LOG.warning("the overview %s was not written: %s: %s", path, type(error).__name__, error)


def render(config: Config, runs: Sequence[Run]) -> str:
    """The page as HTML that needs nothing else.

    Args:
      config: of the pipeline.
      runs: its runs in the output folder, at least one, oldest first.
    """
    runs = [dataclasses.replace(run, reasons=list(map(config.without_secrets, run.reasons))) for run in runs]
    destination = config.push_destination
    by_version = pushed_runs(list(runs), destination)
    # Not `servable_versions`, which loads TensorFlow: a turn of a schedule without a reason to train takes no time.
    deployed = max((one for one in numbers(destination) if is_model(version_path(destination, one))), default=None)
    watched = WATCHED[config.task]
    spans, alerts = _spans(config, runs), _alerts(config)
    events = [event for event in rollbacks(destination) if event["to"] == deployed]
    aside = [version for version in sorted(by_version) if is_model(rolled_back_path(destination, version))]
    facts = Facts(
        run=runs[-1],
        decided=next((run for run in reversed(runs) if run.metrics), None),
        deployed=deployed,
        rolled_back=aside[-1] if aside and deployed is not None and aside[-1] > deployed else None,
        new_data=[span.name for span in spans if span.first is None],
        alerts=[alert for alert in alerts if alert["version"] == deployed and alert["day"] == _newest_day(config)],
        kept=shlex.quote(config.monitor.kept) if config.monitor.kept else "",
    )
    pushing = by_version.get(deployed) if deployed is not None else None
    kinds = {run.run_id: _kind(run, deployed) for run in runs}
    shown = [_row(config, run, watched, kinds[run.run_id]) for run in reversed(runs)]
    return pages.template(_TEMPLATE_PATH).render(
        name=config.name,
        output=os.path.abspath(config.output),
        written=f"{datetime.datetime.now():%Y-%m-%d %H:%M}",
        watched=in_words(watched),
        deployed=deployed,
        since=f"since the rollback of {events[-1]['time'][:16].replace('T', ' ')} UTC"
        if events
        else (f"since {_time(pushing)}" if pushing else ""),
        of_deployed=_row(config, pushing, watched, "deployed") if pushing else None,
        steps=next_steps(facts, watched),
        chart=_chart(config, runs, watched, kinds),
        changed=len({_images(run) for run in runs if run.metrics.get(watched) is not None}) > 1,
        alerts=list(reversed(alerts)),
        monitor_page=_link(config, os.path.join(os.path.abspath(config.output), _MONITOR_PAGE)),
        audit_page=_link(config, os.path.join(os.path.abspath(config.output), _AUDIT_PAGE)),
        spans=[
            {
                "name": span.name,
                "folder": span.folder,
                "images": span.images,
                "first": _time(span.first) if span.first else "",
                "is_used": span.is_used,
            }
            for span in reversed(spans)
        ],
        splits=[split for split in ("train", "eval", "test") if any(split in span.images for span in spans)],
        runs=shown,
        shown=_SHOWN,
    )


def _time(run: Run) -> str:
    return run.run_id[:16].replace("T", " ")


def _kind(run: Run, deployed: int | None) -> str:
    """What became of a run's model, as charts.KINDS has it."""
    if run.pushed_version is None:
        return "not pushed"
    return "deployed" if run.pushed_version == deployed else "passed"


def _images(run: Run) -> str:
    return f"{run.test_digest} {run.resolution}"


def _interval(run: Run, watched: str) -> list[float]:
    ends = [run.metrics.get(f"{watched}_{end}") for end in ("lower", "upper")]
    return [end for end in ends if end is not None]


def _bound(run: Run, watched: str) -> float | None:
    """The least value with which a run's model would have passed what the gate asks of all images and classes."""
    bounds = []
    for check in run.checks:
        if check.class_name or check.slice:
            continue
        if check.metric == watched:
            bounds.append(check.bound)
        elif check.metric == f"{watched}_change" and check.deployed is not None:
            bounds.append(check.deployed + check.bound)
    return max(bounds, default=None)


def _row(config: Config, run: Run, watched: str, kind: str) -> dict[str, Any]:
    """What a run's line in the table says."""
    bound = _bound(run, watched)
    return {
        "time": _time(run),
        "run_id": run.run_id,
        "state": run.state,
        "kind": kind,
        "version": run.pushed_version,
        "reasons": run.reasons,
        "value": format_value(watched, run.metrics.get(watched)),
        "interval": " to ".join(format_value(watched, end) for end in _interval(run, watched)),
        "bound": "" if bound is None else format_value(watched, bound),
        "report": _link(config, run.report),
        "log": _link(config, os.path.join(config.logs_path, log_name(run.run_id))),
        "minutes": f"{sum(component.seconds for component in run.components) / 60:.1f}",
    }


def _link(config: Config, path: str | None) -> str:
    """A relative link to a file that is there, else ""."""
    if not path or is_remote(path) or not exists(path):
        return ""
    return urllib.parse.quote(os.path.relpath(without_link(path), os.path.abspath(config.output)))


def _chart(config: Config, runs: Sequence[Run], watched: str, kinds: dict[str, str]) -> str:
    """The watched metric of the runs that measured it; "" if none did."""
    # Matplotlib takes a second to load.
    from components.report.charts import Measurement, over_time

    points = [
        Measurement(
            time=datetime.datetime.fromisoformat(run.run_id),
            kind=kinds[run.run_id],
            value=value,
            interval=_interval(run, watched),
            bound=_bound(run, watched),
            images=_images(run),
            link=_link(config, run.report),
        )
        for run in runs
        if (value := run.metrics.get(watched)) is not None
    ]
    return over_time(points, in_words(watched)) if points else ""


def _alerts(config: Config) -> list[dict[str, Any]]:
    """What the monitor found, oldest first; lines that cannot be read are left out."""
    path = os.path.join(os.path.abspath(config.output), _ALERTS)
    found = []
    for line in read_bytes(path).decode(errors="replace").splitlines() if exists(path) else ():
        try:
            values = json.loads(line)
        except ValueError:
            continue
        if isinstance(values, dict):
            what = values.get("what", "")
            words = ", ".join(map(str, what)) if isinstance(what, list) else str(what)
            found.append({"day": "", "version": "", "p": None, **values, "what": words})
    return found


def _newest_day(config: Config) -> str | None:
    """The last day that the monitor judged; None if that cannot be read."""
    path = os.path.join(os.path.abspath(config.output), _DAYS)
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        return max((day["day"] for day in json.loads(read_bytes(path)) if day["tests"]), default=None)
    return None


def _spans(config: Config, runs: Sequence[Run]) -> list[Span]:
    """The data that there is, or was, in the order in which it came."""
    firsts: dict[str, Run | None] = {}
    for run in runs:
        for folder in run.inputs.get("train", ()):
            firsts.setdefault(_absolute(folder), run)
    newest = next((run for run in reversed(runs) if run.inputs), None)
    used = {_absolute(folder) for folder in newest.inputs.get("train", ())} if newest else set()
    there: dict[str, int] = {}
    if SPAN in config.data.input:
        with contextlib.suppress(UserError):  # Runs, and `segpipe retrain`, say what is wrong with the data.
            there = {_absolute(folder): number for number, folder in find_spans(config.data.input).items()}
    folders = sorted({**firsts, **dict.fromkeys(there)}, key=lambda folder: there.get(folder, -1))
    return [
        Span(
            name=str(there[folder]) if folder in there else os.path.basename(folder),
            folder=folder,
            images=_counts(folder),
            first=firsts.get(folder),
            is_used=folder in used,
        )
        for folder in folders
    ]


def _absolute(folder: str) -> str:
    return folder if is_remote(folder) else os.path.abspath(folder)


def _counts(folder: str) -> dict[str, int]:
    """The images of each split of a folder that a conversion made; nothing of a bucket is read."""
    path = os.path.join(folder, REPORT_FILE)
    if is_remote(folder) or not exists(path):
        return {}
    splits = json.loads(read_bytes(path)).get("splits", {})
    return {split: values["examples"] for split, values in splits.items()}
