"""Tells people and programs what the monitor found."""

from __future__ import annotations

import os

from data.base.files import write_text
from pipeline.config import Config
from pipeline.monitoring.days import PAGE, alert_of, folder_of, mark_told
from pipeline.monitoring.metrics import write_metrics
from pipeline.monitoring.monitor import Watched
from pipeline.monitoring.page import render
from pipeline.records.pages.overview import write_overview
from pipeline.retraining.notifications import notify

METRICS = "segpipe.prom"


def report(config: Config, found: Watched) -> list[str]:
    """Writes the page, the metrics and the overview, and notifies of alerts that were not told before.

    Returns:
      What went wrong with the notification.
    """
    folder = folder_of(config)
    page = os.path.join(folder, PAGE)
    write_text(page, render(config.name, found))
    write_metrics(os.path.join(folder, METRICS), config.name, found)
    write_overview(config)
    if not found.new:
        return []
    alerts = [alert_of(day) for day in found.new]
    reasons = [f"{alert['day']}: {alert['what']}" for alert in alerts]
    state = {"pipeline": config.name, "state": "drift", "deployed_version": found.version}
    problems = notify(config.notify, {**state, "alerts": alerts, "reasons": reasons, "page": page})
    if not problems:  # Else the next call tries again.
        mark_told(folder, found.new)
    return problems
