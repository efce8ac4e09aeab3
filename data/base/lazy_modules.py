"""Modules that TensorFlow, Beam and TFX import but hardly use: they are loaded once somebody does."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

# Plots, notebooks, services of one cloud, and Kubernetes' client.
SELDOM_USED = frozenset(
    {
        "IPython",
        "google.cloud.bigquery",
        "google.cloud.bigquery_storage_v1",
        "google.cloud.pubsub",
        "matplotlib.pyplot",
        "tfx.components.infra_validator.model_server_runners.kubernetes_runner",
    }
)


class _LazyFinder:
    """Finds what is seldom used as Python would, but has it executed when an attribute is asked for."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """The module's spec, or None if somebody else is to find it."""
        spec = PathFinder.find_spec(name, path, target) if name in SELDOM_USED else None
        if spec is not None and spec.loader is not None:
            spec.loader = importlib.util.LazyLoader(spec.loader)
        return spec


def load_lazily() -> None:
    """From now on, modules that are seldom used are loaded when they are used."""
    if _LazyFinder not in sys.meta_path:
        sys.meta_path.insert(0, _LazyFinder)
