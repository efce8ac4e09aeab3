"""What the monitor tells Prometheus, as a file for node_exporter's textfile collector."""

from __future__ import annotations

import prometheus_client

from pipeline.monitoring.monitor import Watched


def write_metrics(path: str, pipeline: str, found: Watched) -> None:
    """Writes the metrics of the newest day that was tested; the file is never seen half.

    Args:
      path: of the file, whose name must end in `.prom`.
      pipeline: its name.
      found: what the monitor found.
    """
    registry = prometheus_client.CollectorRegistry()

    def gauge(name: str, help_text: str, value: float, **labels: str) -> None:
        if name not in gauges:
            names = ["pipeline", *labels]
            gauges[name] = prometheus_client.Gauge(f"segpipe_drift_{name}", help_text, names, registry=registry)
        gauges[name].labels(pipeline, *labels.values()).set(value)

    gauges: dict[str, prometheus_client.Gauge] = {}
    gauge("alert", "1 if served traffic has changed.", found.is_alert)
    gauge("model_version", "The version whose traffic it is.", found.version)
    newest = found.newest
    if newest:
        gauge("images", "Different images of the newest day that were looked at.", newest.images)
        for test in newest.tests:
            gauge("p", "Probability that chance makes such a difference.", test.p, what=test.name)
            gauge("now", "Median of the day, or distance of vectors.", test.now, what=test.name)
            gauge("before", "Median of the training data, or distance by chance.", test.before, what=test.name)
    prometheus_client.write_to_textfile(path, registry)
