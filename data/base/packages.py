"""Versions of the packages that results depend on."""

from __future__ import annotations

import contextlib
import importlib.metadata
import platform
from collections.abc import Iterable

_PACKAGES = ("tfx", "tensorflow", "keras", "tensorflow-transform", "tensorflow-model-analysis", "apache-beam")


def package_versions(others: Iterable[str] = ()) -> dict[str, str]:
    """The installed versions by package, Python's first; of other packages, those that are installed."""
    versions = {
        "Python": platform.python_version(),
        **{package: importlib.metadata.version(package) for package in _PACKAGES},
    }
    for package in others:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return versions
