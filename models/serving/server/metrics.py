"""What the server tells Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import prometheus_client

from models.exports import FORMATS, SAVED_MODEL
from models.serving.loaded_model import LoadedModel


class Metrics:
    """Metrics for Prometheus.

    Attributes:
      registry: all of them.
      requests: answered, by status.
      seconds: that they took.
      batch: images that went through the model at once.

    Args:
      waiting: how many requests wait.
      model: what answers now.
      others: metrics that others keep.
    """

    def __init__(self, waiting: Callable[[], int], model: Callable[[], LoadedModel], others: Iterable[Any] = ()):
        self.registry = prometheus_client.CollectorRegistry()
        for other in others:
            self.registry.register(other)
        self.requests = prometheus_client.Counter(
            "segpipe_requests", "Requests for predictions, by status.", ["status"], registry=self.registry
        )
        self.seconds = prometheus_client.Histogram(
            "segpipe_request_seconds", "From a request's first byte to its answer.", registry=self.registry
        )
        self.batch = prometheus_client.Histogram(
            "segpipe_batch_images", "Images in a batch.", buckets=(1, 2, 4, 8, 16, 32, 64), registry=self.registry
        )
        queue = prometheus_client.Gauge(
            "segpipe_waiting_requests", "Requests waiting for the model.", registry=self.registry
        )
        queue.set_function(waiting)
        version = prometheus_client.Gauge("segpipe_model_version", "The version that answers.", registry=self.registry)
        version.set_function(lambda: model().version)
        runtime = prometheus_client.Gauge(
            "segpipe_model_runtime",
            "1 for what answers, the SavedModel or an export.",
            ["name"],
            registry=self.registry,
        )
        for name in (SAVED_MODEL, *FORMATS):
            runtime.labels(name).set_function(lambda name=name: model().runtime.name == name)  # type: ignore[misc]
